"""The one pass: that it streams, that blocks leave no trace, and what it refuses."""

import json
import subprocess
import sys
from fractions import Fraction
from math import isnan
from pathlib import Path

import pytest
import torch
from refusals import refusal

from everanimate_core.errors import InputError
from everanimate_core.evaluation import evaluate as module
from everanimate_core.evaluation.drift import seam_index, slope
from everanimate_core.evaluation.evaluate import BLOCK, evaluate
from everanimate_core.evaluation.frame_metrics import (
    colour_cast,
    colour_curves,
    laplacian,
    psnr,
    region_psnr,
    sharpness,
    sharpness_ratio,
    ssim,
    steps,
    to_lab,
)
from everanimate_core.evaluation.frechet import FrechetDistance
from everanimate_core.evaluation.identity import identity_distance, person_colours
from everanimate_core.evaluation.lpips import Lpips
from everanimate_core.evaluation.networks import Networks
from everanimate_core.media.frames import TensorFrames

ROOT = Path(__file__).parents[2]
COUNT = 4 * BLOCK + 5


class Recorded(TensorFrames):
    """Frames that remember how many were asked for at a time."""

    def __init__(self, images):
        super().__init__(images, Fraction(25))
        self.asked = []

    def read(self, indices):
        self.asked.append(len(indices))
        return super().read(indices)


class Means:
    """The simplest features: mean colours, of frames or of clips of 6 frames."""

    size, frames = 3, 6

    def __call__(self, pictures):
        return pictures.mean(dim=(1, 2))


class ClipMeans(Means):
    def __call__(self, clip):
        assert len(clip) == self.frames
        return clip.mean(dim=(0, 1, 2))[None]


@pytest.fixture(scope="module")
def videos(noise):
    truth = noise(COUNT)
    return (truth + 0.1 * (noise(COUNT, 1) - 0.5)).clamp(0, 1), truth


@pytest.fixture(scope="module")
def boxes():
    return [(row % 7, 3, 20 + row, 30) if row < COUNT - 22 else (5, 5, 25, 35) for row in range(COUNT)]


def test_curves_are_those_of_all_frames_at_once(videos, boxes):
    video, truth = videos
    faces = [None, *boxes[1:]]
    network, person = Lpips(), person_colours(truth[0], boxes[0])
    report = evaluate(
        TensorFrames(video), TensorFrames(truth), truth[0], [9, 20], faces, boxes, boxes[0], Networks(network)
    )
    edges, true_edges = laplacian(video), laplacian(truth)
    expected = {
        "psnr": psnr(video, truth),
        "ssim": ssim(video, truth),
        "lpips": network(video, truth),
        "face_psnr": region_psnr(video, truth, faces),
        "identity_from_truth": torch.stack(
            [identity_distance(f, person_colours(t, b), b) for f, t, b in zip(video, truth, boxes, strict=True)]
        ),
        "identity": torch.stack([identity_distance(f, person, b) for f, b in zip(video, boxes, strict=True)]),
        **colour_curves(to_lab(video)),
        "sharpness": sharpness(edges),
        "step": steps(video, video[0]),
        "colour_cast": colour_cast(to_lab(video), to_lab(truth)),
        "sharpness_ratio": sharpness_ratio(edges, true_edges),
    }
    assert set(report.curves) == set(expected) == set(report.slopes)
    for name, curve in expected.items():
        assert report.curves[name] == pytest.approx(curve.tolist(), abs=1e-4, nan_ok=True), name
        assert report.slopes[name] == slope(report.curves[name])
    assert report.truth["sharpness"] == pytest.approx(sharpness(true_edges).tolist())
    of_one_video = {"lightness", "a", "b", "contrast", "saturation", "sharpness", "step", "identity"}
    assert set(report.truth) == of_one_video
    assert report.numbers["psnr"] == pytest.approx(float(expected["psnr"].mean()))
    assert report.numbers["face_psnr"] == pytest.approx(float(expected["face_psnr"][1:].mean()))
    indices = [(seam_index(steps(video, video[0]), join), seam_index(steps(truth, truth[0]), join)) for join in (9, 20)]
    assert [(seam.index, seam.truth) for seam in report.seams] == [pytest.approx(pair, abs=1e-4) for pair in indices]
    assert report.numbers["seam_index"] == pytest.approx(sum(mine / true for mine, true in indices) / 2, abs=1e-4)
    assert (report.frames, report.width, report.height, report.fps) == (COUNT, 56, 40, None)
    assert (report.compared_with, report.joins, set(report.missing)) == ("truth", [9, 20], {"fid", "videomae"})


def test_without_a_truth_the_first_frame_is_the_measure(videos):
    video, _ = videos
    report = evaluate(Recorded(video))
    assert report.curves["colour_cast"] == pytest.approx(
        colour_cast(to_lab(video), to_lab(video[:1])).tolist(), abs=1e-4
    )
    assert report.curves["colour_cast"][0] == 0
    assert report.curves["sharpness_ratio"] == pytest.approx(
        sharpness_ratio(laplacian(video), laplacian(video[:1])).tolist()
    )
    assert (report.compared_with, report.truth, report.numbers, report.missing) == ("first frame", {}, {}, {})
    assert report.fps == 25


def test_it_streams(videos):
    video, truth = map(Recorded, videos)
    progress = []
    evaluate(video, truth, on_frames=lambda *done: progress.append(done))
    assert max(video.asked + truth.asked) == BLOCK
    assert progress == [(BLOCK * block, COUNT) for block in (1, 2, 3, 4)] + [(COUNT, COUNT)]


def test_it_can_be_cancelled(videos):
    def stop(done, total):
        raise KeyboardInterrupt

    video = Recorded(videos[0])
    with pytest.raises(KeyboardInterrupt):
        evaluate(video, on_frames=stop)
    assert sum(video.asked) < 2 * BLOCK


def test_frechet_distances(videos):
    video, truth = videos
    report = evaluate(*map(Recorded, videos), networks=Networks(fid=Means(), videomae=ClipMeans()))
    frames, clips = FrechetDistance(3), FrechetDistance(3)
    frames.update(video.mean(dim=(1, 2)), truth.mean(dim=(1, 2)))
    whole = COUNT // 6
    clips.update(*(v[: 6 * whole].unflatten(0, (whole, 6)).mean(dim=(1, 2, 3)) for v in videos))
    assert report.numbers["fid"] == pytest.approx(frames.value(), rel=1e-3)
    assert report.numbers["videomae"] == pytest.approx(clips.value(), rel=1e-3)
    assert set(report.missing) == {"lpips"}


def test_equal_videos(videos):
    report = evaluate(*[TensorFrames(videos[1])] * 2, joins=[9], networks=Networks(fid=Means()))
    assert isnan(report.numbers["psnr"]) and isnan(report.slopes["psnr"])
    assert report.equal == {"psnr": COUNT}
    found = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert found["numbers"]["psnr"] is None and found["curves"]["psnr"] == [None] * COUNT
    assert report.numbers["ssim"] == pytest.approx(1)
    assert report.numbers["fid"] == pytest.approx(0, abs=1e-6)
    assert report.numbers["seam_index"] == 1


def test_equal_frames_are_counted_and_left_out_of_the_mean(videos, boxes):
    """Every second frame is the true one; one more has a true face."""
    video, truth = (pictures.clone() for pictures in videos)
    video[::2] = truth[::2]
    left, top, right, bottom = boxes[1]
    video[1, top:bottom, left:right] = truth[1, top:bottom, left:right]
    report = evaluate(TensorFrames(video), TensorFrames(truth), face_boxes=[None, *boxes[1:]])
    assert report.equal == {"psnr": (COUNT + 1) // 2, "face_psnr": (COUNT + 1) // 2}
    assert report.numbers["psnr"] == pytest.approx(float(psnr(video[1::2], truth[1::2]).mean()))
    faces = region_psnr(video[3::2], truth[3::2], boxes[3::2])
    assert report.numbers["face_psnr"] == pytest.approx(float(faces.mean()))


RATES = {"25": 25, "30": 30, "29.97": Fraction(2997, 100), "ntsc": Fraction(30000, 1001), "none": None}


@pytest.mark.parametrize(("mine", "true"), [("25", "30"), ("30", "29.97"), ("ntsc", "30"), ("29.97", "25")])
def test_other_frame_rates_are_refused(videos, mine, true):
    pair = (TensorFrames(video, RATES[rate]) for video, rate in zip(videos, (mine, true), strict=True))
    rates = [f"{float(RATES[rate]):.6g}" for rate in (mine, true)]
    assert refusal(evaluate, *pair) == (
        f"the true video must have the video's frame rate ({rates[0]} a second); got {rates[1]}."
    )


@pytest.mark.parametrize(("mine", "true"), [("25", "25"), ("ntsc", "29.97"), ("none", "30"), ("25", "none")])
def test_frame_rates_that_agree_or_are_not_known(videos, mine, true):
    report = evaluate(*(TensorFrames(video[:2], RATES[rate]) for video, rate in zip(videos, (mine, true), strict=True)))
    assert report.frames == 2


def test_a_single_picture_has_no_frame_rate(videos):
    assert evaluate(TensorFrames(videos[0][:1], 25), TensorFrames(videos[1][:1], 30)).frames == 1


def test_a_reference_box_is_inside_the_reference(videos):
    with pytest.raises(
        ValueError, match=r"reference_box must be left, top, right, bottom inside 56x40 .* got 0, 0, 57,"
    ):
        evaluate(TensorFrames(videos[0]), reference=videos[1][0], reference_box=(0, 0, 57, 9))


def test_one_frame(videos):
    report = evaluate(TensorFrames(videos[0][:1]), TensorFrames(videos[1][:1]))
    assert len(report.curves["psnr"]) == 1
    assert report.findings == module.find(report.curves, report.truth, [])
    assert report.findings.flashes == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": (0, 40, 56)}, "videos must have at least 1 frame; got 0."),
        ({"truth": (0, 40, 56)}, "videos must have at least 1 frame; got 0."),
        ({"video": (3, 31, 56)}, "the frames must be at least 32x32 (832x480); got 56x31."),
        ({"truth": (3, 56, 40)}, "must be of the video's size (56x40); got 40x56."),
        ({"truth": (4, 40, 56)}, "must have as many frames as the video (3); got 4."),
        ({"joins": [1, 0]}, "joins must be frames within 1..2 (77); got 0."),
        ({"joins": [3]}, "got 3."),
        ({"face_boxes": [None] * 2}, "face_boxes must have an entry for every frame (3); got 2."),
        ({"face_boxes": [None, None, (0, 0, 57, 9)]}, "inside 56x40 (10, 5, 30, 25); got 0, 0, 57, 9."),
        ({"face_boxes": [None, None, (0, 30, 9, 41)]}, "got 0, 30, 9, 41."),
        ({"face_boxes": [None, None, (9, 0, 9, 9)]}, "got 9, 0, 9, 9."),
        ({"person_boxes": [(-1, 0, 9, 9)] * 3}, "person_boxes must be left, top, right, bottom"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    videos = {name: TensorFrames(torch.zeros(*change.get(name, (3, 40, 56)), 3)) for name in ("video", "truth")}
    assert message in refusal(evaluate, kind=InputError, **{**change, **videos})


@pytest.mark.parametrize("name", ["skimage", "torchmetrics", "matplotlib"])
def test_the_extra_is_named(name):
    code = f"import sys; sys.modules[{name!r}] = None; import everanimate_core.evaluation.evaluate"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "(pip install 'everanimate[eval]', or pip install scikit-image torchmetrics matplotlib)" in done.stderr
