"""The colouring demo: a world's line art, the embedded toy and the whole engine, nothing downloaded."""

import json
from dataclasses import replace
from fractions import Fraction
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from everanimate_core.longanimation.method import long_animation
from everanimate_core.media.reader import VideoFrames
from everanimate_core.method import each_made
from everanimate_core.runs.store import RunStore
from everanimate_core.studies import colour_demo
from everanimate_core.studies.colour_demo import make_colour_demo
from everanimate_core.toy.network.colour_dit import load_colour
from everanimate_core.toy.network.colour_state import SETTINGS
from everanimate_core.toy.network.engine import WorldFrames
from everanimate_core.toy.world.world import World

FRAMES = 50


@pytest.fixture
def short(monkeypatch):
    """Windows of 33 frames: two of them, a few steps each."""
    settings = replace(SETTINGS, window_frames=33, steps=4, fuse_from=2)
    monkeypatch.setattr(colour_demo, "SETTINGS", settings)
    return settings


def test_the_demo_runs_and_goes_on(tmp_path, short):
    said = []
    numbers = make_colour_demo(tmp_path / "demo", FRAMES / 25, 3, said.append)
    folder, world = tmp_path / "demo", World(3)
    assert {path.name for path in folder.iterdir()} == {
        "coloured.drift.json",
        "coloured.drift.png",
        "coloured.mp4",
        "coloured.run",
        "comparison.mp4",
    }
    assert [line.split(": ")[0] for line in said[:2]] == ["chunk 1/3", "chunk 2/3"]
    model = load_colour()
    method = long_animation(
        WorldFrames(world.lineart, FRAMES),
        world.reference()[None],
        short,
        64,
        64,
        reference_lineart=world.reference_lineart()[None],
    )
    made = list(each_made(method, partial(model.sample_window, settings=short), model.codec))
    store = RunStore(folder / "coloured.run")
    for window in made:
        kept = load_file(store.latents_path(store.read_take(1).chunks[window.index].key))
        assert torch.equal(kept["latents"], window.sampled.latents)
    with VideoFrames(folder / "comparison.mp4") as beside:
        assert (beside.frame_count, beside.fps, beside.width, beside.height) == (FRAMES, Fraction(25), 768, 256)
        shown = beside.read([10])[0, 2::4, 2::4]
    for at, picture in enumerate((world.lineart([10])[0], made[0].frames[10], world.frame(10))):
        assert (shown[:, 64 * at : 64 * at + 64] - picture).abs().mean() < 0.04
    report = json.loads((folder / "coloured.drift.json").read_text())
    assert (report["frames"], report["joins"], report["compared_with"]) == (FRAMES, [33, 49], "truth")
    assert numbers["psnr"] == pytest.approx(report["numbers"]["psnr"])
    # Nothing is sampled again.
    again = []
    make_colour_demo(folder, FRAMES / 25, 3, again.append)
    assert sum(", kept" in line for line in again) == 3
    # Another world makes another take; the video of this one stays in the run's folder.
    video = (folder / "coloured.mp4").read_bytes()
    other = []
    make_colour_demo(folder, FRAMES / 25, 4, other.append)
    assert "take 2 is opened: the reference is another one, world was 3 and is 4" in other
    assert sum(", kept" in line for line in other) == 0
    assert (store.folder / "takes" / "00001.mp4").read_bytes() == video
