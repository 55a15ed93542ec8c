"""Training of the colouring toy's VAE: it learns from films and lines, and goes on where it was left."""

import json

import pytest
import torch

from everanimate_core.toy.learning import train_colour_vae as trained
from everanimate_core.toy.learning.train_colour_vae import Clips, Training, export, loss_of, main
from everanimate_core.toy.network.colour_vae import load_vae


@pytest.fixture
def small(monkeypatch):
    """Training of the same kind that takes moments."""
    for name, value in {"POOL": 4, "PARTS": 2, "WHOLES": 1, "WHOLE_FROM": 3, "STEPS": 4, "UNSEEN": range(1)}.items():
        monkeypatch.setattr(trained, name, value)
    monkeypatch.setattr(trained, "UNSEEN_FRAMES", range(9))
    monkeypatch.setattr("everanimate_core.toy.learning.train_vae.UNSEEN", range(1))


def test_parts_first_then_whole_clips(small):
    clips = Clips(0)
    shapes = [clips.batch(step, torch.Generator().manual_seed(step))[0].shape for step in range(4)]
    assert shapes == [(2, 3, 9, 32, 32), (2, 3, 17, 32, 32), (2, 3, 9, 32, 32), (1, 3, 17, 64, 64)]


def test_lines_count_less():
    clips = Clips(0)
    kinds = [clips.has_lines(number) for number in range(200)]
    assert 40 < sum(kinds) < 80
    lines = clips.render(kinds.index(True))
    assert set(lines.unique().tolist()) == {-1.0, 1.0}
    assert len(clips.render(kinds.index(False)).unique()) > 100


def test_the_loss_by_hand(small):
    run = Training(0, 4)
    video, counts = torch.rand(2, 3, 9, 32, 32) * 2 - 1, torch.tensor([1.0, 0.1])

    def loss(counts):
        return loss_of(run.vae, video, counts, torch.Generator().manual_seed(0)).item()

    with torch.no_grad():
        nothing = loss(torch.zeros(2))
        first, second = (loss(torch.eye(2)[index]) - nothing for index in range(2))
        assert loss(counts) == pytest.approx(nothing + first + 0.1 * second, rel=1e-4)


def test_a_resumed_run_equals_an_unbroken_one(small, tmp_path):
    run = Training(1, 4)
    run.advance()
    run.learner.save(tmp_path / "state.safetensors")
    again = Training(1, 4)
    again.learner.resume(tmp_path / "state.safetensors")
    for _ in range(3):
        assert run.advance() == again.advance()
    for name, value in run.vae.named_parameters():
        assert torch.equal(value, again.vae.get_parameter(name))


def test_command_line_trains_logs_and_exports(small, tmp_path):
    main(["--out", str(tmp_path), "--minutes", "1e-9"])
    assert json.loads((tmp_path / "colour_vae.json").read_text())["steps"] == 1
    main(["--out", str(tmp_path)])
    facts = json.loads((tmp_path / "colour_vae.json").read_text())
    assert (facts["steps"], facts["steps_planned"]) == (4, 4)
    assert facts["parameters"] == sum(
        value.numel() for value in load_vae(tmp_path / "colour_vae.safetensors").parameters()
    )
    assert (tmp_path / "log.csv").read_text().startswith("step,loss,psnr_unseen\n")


def test_what_is_written_is_what_was_averaged(small, tmp_path):
    run = Training(0, 4)
    run.advance()
    export(run, tmp_path, "command")
    for name, value in load_vae(tmp_path / "colour_vae.safetensors").state_dict().items():
        # Kernels have 8 bits with a scale for each output, the rest half precision.
        trained = run.averaged().state_dict()[name]
        step = trained.flatten(1).abs().amax(dim=1) / 127 if trained.ndim > 1 else trained.abs() / 1024
        off = (value - trained).abs().flatten(1).amax(dim=1) if trained.ndim > 1 else (value - trained).abs()
        assert (off <= 0.51 * step + 1e-7).all()


def test_a_file_of_something_else_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"must be a \.safetensors file of the colouring toy's VAE .* other tensors"):
        load_vae(tmp_path / "x.safetensors")
