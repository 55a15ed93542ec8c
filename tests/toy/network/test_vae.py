"""The toy VAE: Wan's contract, the statistics of its latents, the shipped weights, and that training trains."""

import json

import pytest
import torch
from safetensors.torch import load_file

from everanimate_core.toy.learning.train_vae import Training, loss_of, main, psnr
from everanimate_core.toy.learning.vae_statistics import fold_statistics, start_from_components
from everanimate_core.toy.network.vae import (
    WAN_MEAN,
    WAN_STD,
    WEIGHTS,
    ToyCodec,
    ToyVae,
    from_patches,
    load_vae,
    to_patches,
)
from everanimate_core.toy.world.world import World

FRAMES = 17


@pytest.fixture(scope="module")
def vae():
    return load_vae()


@pytest.fixture(scope="module")
def video():
    """[1, 3, 17, 64, 64] in -1..1, with a turn in it."""
    return World(2).frames(range(60, 60 + FRAMES)).movedim(-1, 0)[None] * 2 - 1


@pytest.fixture(scope="module")
def facts():
    return json.loads(WEIGHTS.with_suffix(".json").read_text())


# --- contract --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 64), (5, 32, 48), (17, 64, 64)])
def test_shapes_both_ways(vae, frames, height, width):
    video = torch.zeros(2, 3, frames, height, width)
    latents = vae.encode(video)
    assert latents.shape == (2, 16, (frames - 1) // 4 + 1, height // 8, width // 8)
    assert vae.decode(latents).shape == video.shape


def test_patches_lose_nothing(video):
    patches = to_patches(video)
    assert patches.shape == (1, 5, 768, 8, 8)
    assert torch.equal(from_patches(patches), video)
    # Patch 1 at the second row, third column: frames 1..4 of that square.
    square = video[0, :, 1:5, 8:16, 16:24]
    assert torch.equal(patches[0, 1, :, 1, 2], square.flatten())


def test_a_frame_alone_is_the_first_latent_of_its_clip(vae, video):
    assert torch.equal(vae.encode(video[:, :, :1]), vae.encode(video)[:, :, :1])
    latents = vae.encode(video)
    assert torch.equal(vae.decode(latents[:, :, :1]), vae.decode(latents)[:, :, :1])


@pytest.mark.parametrize("frame", [1, 4, 5, 8, 16])
def test_a_latent_has_not_seen_later_frames(vae, video, frame):
    other = video.clone()
    other[:, :, frame] = -other[:, :, frame]
    before, after = vae.encode(video), vae.encode(other)
    first = (frame + 3) // 4
    assert torch.equal(before[:, :, :first], after[:, :, :first])
    assert (before[:, :, first] - after[:, :, first]).abs().max() > 0.1


@pytest.mark.parametrize("latent", [1, 2, 4])
def test_a_frame_has_not_seen_later_latents(vae, video, latent):
    latents = vae.encode(video)
    other = latents.clone()
    other[:, :, latent] += 1
    before, after = vae.decode(latents), vae.decode(other)
    first = 4 * latent - 3
    assert torch.equal(before[:, :, :first], after[:, :, :first])
    assert (before[:, :, first : first + 4] - after[:, :, first : first + 4]).abs().amax(dim=(0, 1, 3, 4)).min() > 0.05


def test_later_latents_remember_earlier_frames(vae, video):
    other = video.clone()
    other[:, :, 4] = 0
    assert (vae.encode(video)[:, :, 2] - vae.encode(other)[:, :, 2]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("shape", "told"), [((4, 64, 64), "4n"), ((0, 64, 64), "4n"), ((5, 60, 64), "64x60"), ((5, 64, 60), "60x64")]
)
def test_other_sizes_are_refused(vae, shape, told):
    with pytest.raises(ValueError, match=rf"^(the number of frames|width and height) must be .*{told}"):
        vae.encode(torch.zeros(1, 3, *shape))


# --- latents ---------------------------------------------------------------------------------------------------------


def test_raw_latents_are_normalised_by_wans_statistics(vae, video):
    mean, std = (torch.tensor(values).view(1, 16, 1, 1, 1) for values in (WAN_MEAN, WAN_STD))
    raw = vae.encode(video)
    normalised = ToyCodec(vae).encode((video[0].movedim(0, -1) + 1) / 2)
    assert torch.allclose((raw - mean) / std, normalised, atol=1e-5)
    assert torch.allclose(vae.decode(raw), vae.from_normalised(normalised), atol=1e-5)


def test_wans_statistics_are_those_of_the_reference_implementation():
    config = pytest.importorskip("diffusers").AutoencoderKLWan(base_dim=4, num_res_blocks=1).config
    assert list(WAN_MEAN) == config.latents_mean
    assert list(WAN_STD) == config.latents_std


def test_latents_of_unseen_worlds_have_mean_0_and_variance_1(vae):
    codec = ToyCodec(vae)
    # Many worlds, a moment of each: worlds differ more than moments.
    clips = [range(37 * seed % 600, 37 * seed % 600 + 9) for seed in range(400)]
    latents = [codec.encode(World(seed).frames(clip)) for seed, clip in enumerate(clips)]
    spread, mean = torch.std_mean(torch.cat(latents).double(), dim=(0, 2, 3, 4))
    assert mean.abs().max() < 0.1
    assert (spread.square() - 1).abs().max() < 0.1


def test_codec_speaks_the_methods_shapes_and_ranges(vae):
    frames = World(4).frames(range(9))
    latents = ToyCodec(vae).encode(frames)
    assert latents.shape == (1, 16, 3, 8, 8)
    assert latents.dtype == torch.float32
    back = ToyCodec(vae).decode(latents)
    assert back.shape == frames.shape
    assert back.dtype == torch.float32
    assert back.is_contiguous()
    assert back.min() >= 0
    assert back.max() <= 1
    overdriven = ToyCodec(vae).decode(latents * 4)
    assert overdriven.min() == 0
    assert overdriven.max() == 1


def test_folding_leaves_pictures_as_they_were(vae, video):
    other = load_vae()
    with torch.no_grad():
        # A decoder that takes latents of another scale, whose encoder makes them.
        other.encoder.linear.weight *= 3
        other.encoder.linear.bias.mul_(3).add_(2)
        other.encoder.head.weight *= 3
        other.encoder.head.bias *= 3
    before = other.from_normalised(other.normalised(video))
    fold_statistics(other, [video[0]])
    assert torch.allclose(other.from_normalised(other.normalised(video)), before, atol=1e-3)
    spread, mean = torch.std_mean(other.normalised(video), dim=(0, 2, 3, 4))
    assert torch.allclose(mean, torch.zeros(16), atol=1e-3)
    assert torch.allclose(spread, torch.ones(16), atol=1e-3)


def test_components_are_the_best_linear_code(video):
    start = ToyVae()
    start_from_components(start, [video[0]])
    with torch.no_grad():
        error = (start.decoder(start.encoder(to_patches(video))) - to_patches(video)).square().sum()
        latents = start.normalised(video)
    patches = to_patches(video).movedim(2, -1).flatten(0, 3).double()
    left = torch.linalg.svdvals(patches - patches.mean(0))[16:].square().sum()
    assert torch.allclose(error.double(), left, rtol=1e-3)
    assert torch.allclose(latents.std(dim=(0, 2, 3, 4)), torch.ones(16), atol=0.01)


# --- the shipped weights ---------------------------------------------------------------------------------------------


def test_shipped_weights_are_as_good_as_they_say(vae, facts):
    assert facts["psnr_mean"] >= 27
    assert facts["psnr_mean"] == pytest.approx(sum(facts["psnr"]) / len(facts["psnr"]), abs=0.01)
    seeds = (0, 6, 13, 19)
    measured = [psnr(vae, seed) for seed in seeds]
    for seed, value in zip(seeds, measured, strict=True):
        assert value == pytest.approx(facts["psnr"][seed], abs=0.2)
    assert sum(measured) / len(measured) >= 27


def test_shipped_files_are_small_and_half_precision(facts):
    weights = load_file(WEIGHTS)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert sum(value.numel() for value in weights.values()) == facts["parameters"]
    assert WEIGHTS.stat().st_size < 4.5e6
    assert WEIGHTS.with_suffix(".csv").stat().st_size < 20_000


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Training of the same kind that takes moments."""
    sizes = {"BATCH": 2, "POOL": 4, "FRESH": 1, "WARMUP": 5, "LOG_EVERY": 2}
    sizes |= {"COMPONENTS": 12, "STATISTICS": 4, "UNSEEN": range(2)}
    for name, value in sizes.items():
        monkeypatch.setattr(f"everanimate_core.toy.learning.train_vae.{name}", value)


def test_twenty_steps_reduce_the_loss(small, monkeypatch):
    # The same two clips in every step.
    monkeypatch.setattr("everanimate_core.toy.learning.train_vae.POOL", 2)
    monkeypatch.setattr("everanimate_core.toy.learning.train_vae.FRESH", 0)
    run = Training.start(seed=1, steps=40)
    video = run.clips.batch(0, torch.Generator())

    def average_loss():
        with torch.no_grad():
            return loss_of(run.averaged(), video).item()

    before = average_loss()
    losses = [run.advance() for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]
    assert average_loss() < 0.99 * before


def test_a_resumed_run_equals_an_unbroken_one(small, tmp_path):
    run = Training.start(seed=1, steps=40)
    for _ in range(2):
        run.advance()
    run.learner.save(tmp_path / "state.safetensors")
    again = Training.resume(tmp_path / "state.safetensors", seed=1, steps=40)
    for _ in range(2):
        assert run.advance() == again.advance()
    assert again.learner.step == 4
    for name, value in run.vae.named_parameters():
        assert torch.equal(value, again.vae.get_parameter(name))
        assert torch.equal(run.learner.average[name], again.learner.average[name])
    with pytest.raises(ValueError, match=r"'seed': 2, 'steps': 40.*got .*'seed': 1"):
        Training.resume(tmp_path / "state.safetensors", seed=2, steps=40)


def test_command_line_trains_logs_and_exports(small, tmp_path):
    command = ["--out", str(tmp_path), "--steps", "3"]
    # Time for one step only; the same command goes on from there.
    main([*command, "--minutes", "1e-9"])
    assert json.loads((tmp_path / "vae.json").read_text())["steps"] == 1
    with (tmp_path / "log.csv").open("a") as log:
        # As left by a run that broke off after its last save.
        log.write("2,9.9,\n")
    main(command)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0] == "step,loss,psnr_unseen"
    assert [row.split(",")[0] for row in rows[1:]] == ["2", "3"]
    facts = json.loads((tmp_path / "vae.json").read_text())
    assert (facts["steps"], facts["seed"], len(facts["psnr"])) == (3, 0, 2)
    assert "--seed 0 --steps 3" in facts["command"]
    written = load_vae(tmp_path / "vae.safetensors")
    assert psnr(written, 1) == pytest.approx(facts["psnr"][1], abs=1e-3)
    with pytest.raises(SystemExit):
        main([*command, "--minutes", "0"])
