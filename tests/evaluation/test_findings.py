"""Faults planted in clean films: each is found at its frame, by its own finder and by no other."""

from dataclasses import asdict, fields

import pytest
import torch
from torch.nn.functional import conv2d, pad

from everanimate_core.evaluation.alignment import Shift
from everanimate_core.evaluation.doubling import Doubled
from everanimate_core.evaluation.evaluate import evaluate
from everanimate_core.evaluation.frame_metrics import colour_cast, to_lab
from everanimate_core.evaluation.report import Findings
from everanimate_core.media.frames import TensorFrames
from everanimate_core.toy.world.world import World

FRAMES, START, JOIN = 160, 70, 96
JOINS = [48, JOIN, 144]
SEEDS = (0, 1, 2, 3)


def box_of(silhouette):
    rows, columns = (silhouette > 0.5).nonzero(as_tuple=True)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


class Film:
    """A clean film of the toy world and what belongs to it."""

    def __init__(self, seed):
        self.world, self.other = World(seed), World(seed + 100)
        self.frames = self.world.frames(range(FRAMES))
        self.boxes = [box_of(silhouette) for silhouette in self.world.silhouette(range(FRAMES))]


@pytest.fixture(scope="module", params=SEEDS)
def film(request):
    return Film(request.param)


def ramp():
    """0 up to START, then linearly to 1 at the end: [F, 1, 1, 1]."""
    return ((torch.arange(FRAMES) - START) / (FRAMES - START)).clamp(min=0).view(-1, 1, 1, 1)


def clean(film):
    return film.frames


def tint(film):
    return (film.frames * (1 + ramp() * torch.tensor([0.12, 0, -0.12]))).clamp(0, 1)


def flash(film):
    frames = film.frames.clone()
    frames[START] = (1.1 * frames[START] + 0.05).clamp(0, 1)
    return frames


def seam(film):
    """From the join on a little brighter, fading away over 8 frames."""
    frames = film.frames.clone()
    frames[JOIN : JOIN + 8] += 0.05 * torch.linspace(1, 0, 9)[:8].view(-1, 1, 1, 1)
    return frames.clamp(0, 1)


def shift(film):
    """From the join on a pixel to the side."""
    frames = film.frames.clone()
    frames[JOIN:] = frames[JOIN:].roll(1, dims=2)
    return frames


def blur(film):
    """Mixed with a blurred copy (sigma 1), more and more."""
    kernel = torch.exp(-torch.arange(-4, 5).square() / 2)
    kernel = kernel / kernel.sum()
    planes = pad(film.frames.movedim(-1, 1), (4, 4, 4, 4), mode="replicate").flatten(0, 1)[:, None]
    planes = conv2d(conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    blurred = planes.view(FRAMES, 3, 64, 64).movedim(1, -1)
    return torch.lerp(film.frames, blurred, ramp())


def late(film):
    """From START on a frame behind."""
    return film.frames[[*range(START), *range(START - 1, FRAMES - 1)]]


def again(film):
    """From the first join on a frame behind, as in a chain whose overlap was not cut off."""
    return film.frames[[*range(JOINS[0]), *range(JOINS[0] - 1, FRAMES - 1)]]


def swap(film):
    """From START on another world's figure before this world's background."""
    late = range(START, FRAMES)
    covered = film.other.silhouette(late)[..., None]
    figure = film.other.frames(late) - (1 - covered) * film.other.background()
    return torch.cat([film.frames[:START], (figure + (1 - covered) * film.world.background()).clamp(0, 1)])


# What is found: the finder and the frame, or the first and last frame at which a ramp may cross the threshold.
EXPECTED = {
    clean: {},
    tint: {"colour": (START + 10, START + 25)},
    flash: {"flashes": [START]},
    seam: {"seams": [JOIN]},
    shift: {"seams": [JOIN]},
    blur: {"sharpness": (START + 15, START + 35)},
    swap: {"identity": START},
    late: {"shifts": [asdict(Shift(START, -1))], "repeats": [START]},
    again: {
        "shifts": [asdict(Shift(JOINS[0], -1))],
        "repeats": [JOINS[0]],
        "doubled": [asdict(Doubled(JOINS[0], 1))],
    },
}


def matches(found, expected):
    if isinstance(expected, tuple):
        return found is not None and expected[0] <= found <= expected[1]
    return found == expected


def check(findings, expected):
    nothing = asdict(Findings(None, None, None, [], []))
    for finder, found in asdict(findings).items():
        assert matches(found, expected.get(finder, nothing[finder])), f"{finder}: {found}"


@pytest.mark.parametrize("fault", EXPECTED)
def test_against_the_true_video(film, fault):
    report = evaluate(
        TensorFrames(fault(film)),
        TensorFrames(film.frames),
        film.frames[0],
        JOINS,
        person_boxes=film.boxes,
        reference_box=film.boxes[0],
    )
    check(report.findings, {finder: at for finder, at in EXPECTED[fault].items() if finder != "doubled"})


@pytest.mark.parametrize("fault", EXPECTED)
def test_alone(film, fault):
    report = evaluate(TensorFrames(fault(film)), reference=film.frames[0], joins=JOINS)
    # A person who turns round and one who is exchanged cannot be told apart without the true video; nor steps counted.
    needs_truth = ("identity", "shifts", "repeats")
    check(report.findings, {finder: at for finder, at in EXPECTED[fault].items() if finder not in needs_truth})


def test_a_flash_of_the_true_video_is_no_fault(film):
    truth = flash(film)
    assert evaluate(TensorFrames(truth), TensorFrames(truth)).findings.flashes == []
    # One that is missing is.
    assert evaluate(TensorFrames(film.frames), TensorFrames(truth)).findings.flashes == [START]


def test_the_tint_is_found_where_it_becomes_noticeable(film):
    frames = tint(film)
    report = evaluate(TensorFrames(frames), TensorFrames(film.frames))
    cast = colour_cast(to_lab(frames), to_lab(film.frames))
    assert report.findings.colour == int((cast <= 2.3).nonzero()[-1]) + 1


def test_slopes_point_the_right_way(film):
    report = evaluate(TensorFrames(blur(film)), TensorFrames(film.frames))
    assert report.slopes["sharpness_ratio"] < -0.2
    assert report.slopes["ssim"] < 0
    assert abs(report.slopes["colour_cast"]) < 0.1


def test_every_finder_has_its_fault():
    assert {finder for faults in EXPECTED.values() for finder in faults} == {field.name for field in fields(Findings)}
