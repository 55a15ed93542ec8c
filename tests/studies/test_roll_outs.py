"""A roll-out is measured frame by frame against the truth, and a drift is planted in what one chunk hands on."""

from dataclasses import replace

import pytest
import torch

from everanimate_core.everanimate.context import METHOD
from everanimate_core.everanimate.memory import motion_memory
from everanimate_core.everanimate.perturbation import apply
from everanimate_core.studies.roll_outs import PLANT, PLANTED_CHUNK, against, measure, planter
from everanimate_core.studies.rows import row
from everanimate_core.toy.learning.scores import psnr
from everanimate_core.toy.network.engine import load_toy, roll_out
from everanimate_core.toy.network.state import MEMORY_WEIGHTS, SETTINGS
from everanimate_core.toy.world.scene import Scene
from everanimate_core.toy.world.world import World

FRAMES = 40


@pytest.fixture(scope="module")
def model():
    return load_toy(MEMORY_WEIGHTS)


def test_a_measured_row_is_its_roll_out_against_the_truth(model):
    world, tested = World(3), row("memory", "even_memory")
    found = measure(model, tested, world, 7, FRAMES, None)
    made = [chunk.frames for chunk in roll_out(model, world, FRAMES, replace(SETTINGS, seed=7), METHOD)]
    truth = world.frames(range(FRAMES))
    assert found.chunks == [33, 7] == [len(frames) for frames in made]
    assert list(found.curves) == ["psnr", "ssim", "contrast", "saturation", "colour"]
    frames = torch.cat(made)
    assert found.curves["psnr"][35] == pytest.approx(psnr(frames[35], truth[35]), abs=1e-4)
    off = (frames.mean(dim=(1, 2)) - truth.mean(dim=(1, 2))).abs().mean(dim=1)
    assert found.curves["colour"] == pytest.approx(off.tolist(), abs=1e-5)
    assert measure(model, tested, world, 8, FRAMES, None).curves != found.curves


def test_restoration_acts_from_the_second_chunk_on(model):
    plain, restored = (measure(model, row("", "even_memory", restore=by), World(3), 0, FRAMES, None) for by in (0, 2.0))
    assert plain.curves["psnr"][:33] == restored.curves["psnr"][:33]
    assert plain.curves["psnr"][33:] != restored.curves["psnr"][33:]


def test_the_truth_is_that_of_the_scene(model):
    lit = World(3, scene=Scene(light="constant"))
    found = measure(model, row("", "even_memory"), lit, 0, 9, None)
    made = next(roll_out(model, lit, 9, SETTINGS)).frames
    assert found.curves["psnr"][8] == pytest.approx(psnr(made[8], lit.frame(8)), abs=1e-4)


def test_metrics_by_hand():
    truth = 0.3 + 0.4 * torch.rand(2, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    wider = dict(against(0.5 + 1.2 * (truth - 0.5), truth, None))
    assert wider["contrast"].tolist() == pytest.approx([1.2] * 2, abs=1e-4)
    assert wider["saturation"].tolist() == pytest.approx([1.2] * 2, abs=1e-4)
    tinted = dict(against(truth + torch.tensor([0.06, 0.0, -0.03]), truth, None))
    assert tinted["colour"].tolist() == pytest.approx([0.03] * 2, abs=1e-5)
    grey = (truth * torch.tensor([0.299, 0.587, 0.114])).sum(-1, keepdim=True).expand_as(truth)
    assert dict(against(grey, truth, None))["saturation"].tolist() == pytest.approx([0, 0], abs=1e-5)
    assert dict(against(grey, truth, None))["contrast"].tolist() == pytest.approx([1, 1], abs=1e-4)
    assert dict(against(truth, truth, lambda mine, true: torch.ones(2)))["lpips"].tolist() == [1, 1]


def test_the_drift_is_planted_in_what_the_fifth_chunk_hands_on(model):
    frames = 33 + 29 * (PLANTED_CHUNK + 1)
    plain, planted = (
        list(roll_out(model, World(3), frames, SETTINGS, change=change)) for change in (None, planter(model))
    )
    for before, after in zip(plain[: PLANTED_CHUNK + 1], planted, strict=False):
        assert torch.equal(before.frames, after.frames)
    untouched, changed = (chunks[PLANTED_CHUNK].memory for chunks in (plain, planted))
    assert torch.equal(changed.identity, untouched.identity)
    decoded = apply(PLANT, model.codec.decode(plain[PLANTED_CHUNK].latents))
    assert torch.equal(changed.motion, motion_memory(model.codec.encode(decoded), 1))
    assert torch.equal(changed.last_frames, decoded[-1:])
    assert not torch.equal(plain[-1].frames, planted[-1].frames)
