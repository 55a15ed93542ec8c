"""Drift Report: the core's evaluation of what is on the wires, whole or divided by a plan or by numbers."""

import json
import sys
from fractions import Fraction

import pytest
import torch
from base_folder import PACK
from clips import moving_pattern
from graphs import plan
from refusals import refusal

from everanimate_core.evaluation.evaluate import evaluate
from everanimate_core.evaluation.table import as_table
from everanimate_core.media.frames import TensorFrames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.plan import ChunkPlan
from everanimate_core.toy.world.world import World

FRAMES = 24


@pytest.fixture(scope="module")
def clip():
    return World(1).frames(range(FRAMES))


def report(comfy, clip, **inputs):
    return report_and_table(comfy, clip, **inputs)[0]


def report_and_table(comfy, clip, **inputs):
    plot, text, table = comfy.call("EverAnimateDriftReport", **({"video": clip, "reference_images": clip[:1]} | inputs))
    assert plot.ndim == 4 and plot.shape[-1] == 3 and plot.std() > 0
    return json.loads(text), table


def test_it_is_the_cores_evaluation(comfy, clip):
    tinted = (clip * torch.linspace(1, 0.4, FRAMES).view(-1, 1, 1, 1)).clamp(0, 1)
    found = report(comfy, tinted, truth=clip, plan=plan(comfy, total=FRAMES))
    joins = [9, 14, 19]
    expected = evaluate(TensorFrames(tinted), TensorFrames(clip), clip[0], joins)
    expected = json.loads(expected.to_json())
    assert found == expected
    assert found["joins"] == joins and found["findings"]["colour"] is not None


def test_a_video_without_a_plan_is_divided_by_numbers(comfy, clip):
    """The same as with a plan of these numbers; the table is the core's."""
    by_numbers = report_and_table(comfy, clip, chunk_frames=9, overlap=4)
    assert by_numbers == report_and_table(comfy, clip, plan=plan(comfy, total=FRAMES))
    found, table = by_numbers
    chunks = ChunkPlan(FRAMES, 9, 4)
    assert found["joins"] == chunks.joins == [9, 14, 19]
    assert table == as_table(evaluate(TensorFrames(clip), None, clip[0], chunks.joins), chunks)
    assert "read in chunks of 9 frames, overlap 4" in table


def test_a_video_that_is_not_divided(comfy, clip):
    found, table = report_and_table(comfy, clip)
    assert found["joins"] == [] and table == as_table(evaluate(TensorFrames(clip), None, clip[0]))
    assert "not divided into chunks" in table


def test_frames_that_a_chain_shows_twice(comfy, clip, tmp_path):
    """A file chained by hand, whose first frame of each chunk is the last one of the chunk before."""
    from comfy_api.latest import InputImpl

    whole = moving_pattern(FRAMES)
    chained = torch.cat([whole[:9], whole[8:17], whole[16:]])
    with VideoWriter(tmp_path / "chained.mp4", Fraction(16), 64, 64) as file:
        file.write(chained)
    video = InputImpl.VideoFromFile(str(tmp_path / "chained.mp4"))
    found, table = report_and_table(comfy, clip, video=video, chunk_frames=9)
    assert found["findings"]["doubled"] == [{"join": 9, "frames": 1}, {"join": 18, "frames": 1}]
    assert "the last frame is shown again at 9, 18" in table and "at 16 frames a second" in table


def test_chunks_that_cannot_be(comfy, clip):
    for numbers, message in (
        ({"chunk_frames": 10}, "chunk_frames must be 4n + 1 and at least 5 (5, 33, 77, 81); got 10."),
        ({"chunk_frames": 9, "overlap": 8}, "overlap must lie between 0 and chunk_frames - 2 (0..7); got 8."),
        ({"overlap": 1}, "overlap must be 0 without chunk_frames (chunk_frames 81 for overlap 1); got 1."),
        (
            {"chunk_frames": 9, "overlap": 4, "plan": plan(comfy, total=FRAMES)},
            "chunk_frames must be 0 where a plan is connected (one or the other); got 9.",
        ),
    ):
        assert refusal(report, comfy, clip, **numbers) == f"Drift Report: {message}"


def test_without_truth_it_compares_with_the_first_frame(comfy, clip):
    found = report(comfy, clip)
    assert found["compared_with"] == "first frame" and "psnr" not in found["curves"] and found["joins"] == []


def test_it_compares_with_the_first_of_several_references(comfy, clip):
    first = report(comfy, clip)["curves"]["identity"]
    others = (1 - clip[:1], clip[5:6])
    assert report(comfy, clip, reference_images=torch.cat([clip[:1], *others]))["curves"]["identity"] == first
    assert report(comfy, clip, reference_images=torch.cat([*others, clip[:1]]))["curves"]["identity"] != first


def test_another_length_is_refused(comfy, clip):
    with pytest.raises(ValueError, match=r"^Drift Report: plan must be of the video's length \(24 frames\); got 30\.$"):
        report(comfy, clip, plan=plan(comfy, total=30))
    with pytest.raises(ValueError, match="true video must have as many frames"):
        report(comfy, clip, truth=clip[:20])
    with pytest.raises(ValueError, match=r"^Drift Report: video must have at least 1 frame; got 0\.$"):
        report(comfy, clip[:0])


def test_without_its_packages_it_says_what_to_install(comfy, clip, monkeypatch):
    evaluation = comfy.module(PACK, "everanimate_core.evaluation").__name__
    for name in [name for name in sys.modules if name == evaluation or name.startswith(f"{evaluation}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert refusal(report, comfy, clip, kind=ImportError).startswith(
        "Drift Report: evaluation needs scikit-image, torchmetrics and matplotlib (pip install 'everanimate[eval]', "
        "or pip install scikit-image torchmetrics matplotlib); got "
    )
