"""The colouring toy's memory: its file, and what it keeps of a video."""

import json
from dataclasses import replace

import pytest
import torch
from refusals import refusal
from safetensors.torch import load_file, save_file

from everanimate_core.longanimation.prompt import PREFIX, SUFFIX
from everanimate_core.longanimation.settings import MemorySettings
from everanimate_core.toy.network.colour_dit import load_colour
from everanimate_core.toy.network.colour_memory import (
    DGLM,
    SETTINGS,
    SIDE,
    USED,
    VIDEO,
    WEIGHTS,
    MemoryOfToy,
    load_memory,
    looked_at,
    new_memory,
    write_memory,
)


@pytest.fixture(scope="module")
def memory():
    """Untrained, but for what begins at zero."""
    memory = new_memory(3).eval().requires_grad_(False)
    memory.dglm.proj_out.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    return memory


def frames(count):
    return torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(count))


def test_an_untrained_one_leaves_every_control_as_it_is():
    memory = new_memory(0)
    kept = memory.video.memory(memory.video.crops(frames(3)))
    control = torch.randn(1, 5, DGLM.width)
    assert not memory.dglm(memory.dglm.project(kept), control).any()
    # Seeds differ, and one is one.
    other, same = new_memory(1).state_dict(), new_memory(0).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in memory.state_dict().items())
    assert not torch.equal(other["video.vision.projector.0.weight"], same["video.vision.projector.0.weight"])


def test_what_is_written_is_read_again_with_the_zeros_that_were_left_out(memory, tmp_path):
    path = tmp_path / "memory.safetensors"
    write_memory(path, memory)
    read = load_memory(path).state_dict()
    for name, value in memory.state_dict().items():
        tolerance = float(value.abs().amax()) / 200
        torch.testing.assert_close(read[name], value, rtol=0, atol=tolerance)
    stored = load_file(path)
    for layer in range(3):
        first, second = (f"dglm.layers.{layer}.1.{place}.weight" for place in (1, 3))
        assert stored[first].shape == stored[second].shape == (USED, USED)
        assert read[first][:USED].any() and not read[first][USED:].any()
        assert read[second][:, :USED].any() and not read[second][:, USED:].any()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"dglm.proj_out": None, "dglm.proj_out.scale": None}, "which has no dglm.proj_out"),
        ({"more": torch.zeros(3)}, "which has the unknown more"),
        (
            {"dglm.layers.0.1.1.weight": torch.zeros(8, 256, dtype=torch.int8), "dglm.layers.0.1.1.weight.scale": None}
            | {"dglm.layers.0.1.1.weight": torch.zeros(8, 256)},
            "whose dglm.layers.0.1.1.weight is of shape [8, 256] instead of [1024, 256]",
        ),
    ],
)
def test_other_weights_are_refused_by_name(memory, tmp_path, change, wrong):
    path = tmp_path / "memory.safetensors"
    write_memory(path, memory)
    save_file({name: value for name, value in (load_file(path) | change).items() if value is not None}, path)
    assert wrong in refusal(load_memory, path)


def test_two_beacons_stay_of_a_frame(memory):
    assert VIDEO.vision.tokens == 16 and VIDEO.beacons == 2 and VIDEO.frames_at_once == SETTINGS.memory_frames
    kept = memory.video.memory(memory.video.crops(frames(5)))
    assert kept.shape == (2, 3, len(PREFIX) + 10 + len(SUFFIX), DGLM.kv)


def test_it_looks_at_the_middle_of_a_frame_as_it_is(memory):
    shown = frames(2)
    crops = memory.video.crops(shown)
    assert crops.shape == (2, SIDE, SIDE, 3) and crops.dtype == torch.uint8
    assert torch.equal(crops, (shown[:, 12:52, 12:52] * 255).round().to(torch.uint8))
    assert torch.equal(looked_at(shown), shown[:, 12:52, 12:52])


def test_the_local_part_is_of_the_last_frames_whatever_the_global_one_leaves_out(memory):
    settings = MemorySettings(memory_frames=3, local_frames=2)
    toy = MemoryOfToy(memory.video, settings)
    crops = memory.video.crops(frames(9))
    both, held = toy.remember(crops)
    assert held is None
    expected = [memory.video.memory(crops[[0, 4, 8]]), memory.video.memory(crops[7:])]
    assert torch.equal(both, torch.cat(expected, 2))
    for changes, part in (({"local_frames": 0}, expected[0]), ({"memory_frames": 0}, expected[1])):
        assert torch.equal(replace(toy, settings=replace(settings, **changes)).remember(crops)[0], part)


def test_the_engine_reads_it(memory):
    assert load_colour().memory_net is None
    assert load_colour(memory=memory).memory_net is memory.dglm


def test_the_shipped_memory_is_whole_and_small():
    memory, facts = load_memory(), json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    assert memory.dglm.proj_out.any()
    assert WEIGHTS.stat().st_size < 1.5e6
    parameters = {
        name: sum(value.numel() for value in getattr(memory, name).parameters()) for name in ("video", "dglm")
    }
    assert [facts["colour_video"]["parameters"], facts["colour_memory"]["parameters"]] == list(parameters.values())
    heading, *rows = WEIGHTS.with_suffix(".csv").read_text(encoding="utf-8").splitlines()
    assert heading.startswith("step,loss,unseen_none")
    assert rows[-1].startswith(f"{facts['colour_memory']['steps']},")
