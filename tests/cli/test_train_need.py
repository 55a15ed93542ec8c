"""`everanimate train --dry-run`: what it says, of which files, and what it refuses."""

from pathlib import Path

import pytest
from tiny_wan import tiny_wan

from everanimate_core.cli.train_need import Launch, read_launch
from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.training import loop
from everanimate_core.training.records import FilmSet, SetSettings

pytestmark = pytest.mark.usefixtures("new_accelerator")
CONFIGS = Path(loop.__file__).parent / "configs"


@pytest.fixture
def given(tmp_path):
    """The arguments of a training: a set of which only set.json is there, and a model without weights."""
    settings = SetSettings(ChunkGeometry(frames=9), 64, 32, "25", "crop", 6, faces=True, vae="vae")
    (tmp_path / "set").mkdir()
    FilmSet(tmp_path / "set", settings, ("000000.safetensors",)).write()
    tiny_wan(layers=5).save_config(tmp_path / "model" / "transformer")
    return [
        "train",
        "--data",
        str(tmp_path / "set"),
        "--model",
        str(tmp_path / "model"),
        "--out",
        str(tmp_path / "out"),
    ]


def test_it_says_what_a_step_needs_and_does_nothing(command, given, tmp_path):
    code, said, complaints = command([*given, "--stage", "1", "--dry-run", "--rank", "4"])
    assert (code, complaints) == (0, "")
    lines = said.splitlines()
    # N + T = 7 latent frames of 2 x 4 patches.
    assert lines[0] == "56 tokens a sample: 64x32, 9 frames, 4 anchors, with a face"
    assert lines[1] == "8 samples a step: 1 processes x 8 portions x 1"
    names = [line.split("  ")[1] for line in lines if line.startswith("  ")]
    parts = ["inputs", "base", "LoRA", "gradients", "optimiser", "activations", "working"]
    assert names == [*parts, "all of it", "a card for it"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--stage", "2", "--from-scratch"], {"VAE"}),
        (["--stage", "1", "--ema", "0.99"], {"EMA"}),
        (["--stage", "1", "--launch", str(CONFIGS / "8x80gb.yaml")], {"gathered weights"}),
    ],
)
def test_what_an_option_adds_is_a_part(command, given, options, parts):
    plain = command([*given, "--stage", "1", "--dry-run"])[1]
    said = command([*given, *options, "--dry-run"])[1]
    assert all(f"  {part} " in said and f"  {part} " not in plain for part in parts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dry-run", "--model", "toy"], "--dry-run: is for Wan2.2-Animate (the toy fits anywhere); got --model toy."),
        (["--dry-run", "--model", "nowhere"], "--model: must be a folder or file that is there; got nowhere."),
        (["--dry-run", "--launch", "nowhere"], "--launch: must be a settings file of accelerate (8x80gb.yaml); got no"),
        (["--launch", "some.yaml"], "--launch: must be left out without --dry-run (accelerate launch --config_file); "),
        (["--dry-run", "--batch", "3", "--accumulate", "2"], "--batch: must be a multiple of processes x accumulate"),
        (["--dry-run", "--offload", "--no-checkpointing"], "--offload: must be off without checkpointing (--checkp"),
    ],
)
def test_what_cannot_serve_is_refused(command, given, options, message):
    code, said, complaints = command([*given, "--stage", "1", *options])
    assert (code, said) == (2, "")
    assert complaints.startswith(message) and complaints.count("\n") == 1


def test_what_is_read_of_settings_of_accelerate(tmp_path):
    assert read_launch(None) == Launch()
    assert read_launch(CONFIGS / "1x24gb.yaml") == Launch(1, sharded=True, offload_weights=True)
    path = tmp_path / "two.yaml"
    path.write_text(
        "distributed_type: MULTI_GPU\nnum_processes: 2\nmixed_precision: 'no'\ncompute_environment: LOCAL_MACHINE\n"
    )
    assert read_launch(path) == Launch(2, precision="no")
