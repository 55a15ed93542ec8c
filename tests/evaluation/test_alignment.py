"""Frames that are dropped, doubled or shifted are found at their place, and nothing is found where nothing is wrong."""

from fractions import Fraction

import pytest
import torch

from everanimate_core.evaluation.alignment import MAX_SHIFT, Shift, describe, find_repeats, find_shifts, signatures
from everanimate_core.evaluation.evaluate import evaluate
from everanimate_core.media.frames import TensorFrames
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.toy.network.engine import load_toy, roll_out
from everanimate_core.toy.world.world import World

FRAMES = 200
DOUBLED, DROPPED = 50, 120
# Of the same length: frame 50 is shown twice, frame 120 is missing.
MIXED = [*range(DOUBLED + 1), *(number for number in range(DOUBLED, FRAMES) if number != DROPPED)]


class Film:
    """A film of the toy world, and what the toy makes of its pose: signatures [200, 768]."""

    def __init__(self, seed):
        self.pictures = World(seed).frames(range(FRAMES))
        self.truth = signatures(self.pictures)
        self.animation = signatures(torch.cat([chunk.frames for chunk in roll_out(load_toy(), World(seed), FRAMES)]))


@pytest.fixture(scope="module", params=[204, 207])
def film(request):
    return Film(request.param)


def found(mine, true):
    return [(shift.frame, shift.ahead) for shift in find_shifts(mine, true)]


def test_clean_videos(film):
    for length in (1, 2, 9, 40, FRAMES):
        for mine in (film.truth, film.animation):
            assert (found(mine[:length], film.truth[:length]), find_repeats(mine[:length], film.truth[:length])) == (
                [],
                [],
            )


def test_a_dropped_and_a_doubled_frame_of_a_copy(film):
    assert find_shifts(film.truth[MIXED], film.truth) == [Shift(DOUBLED + 1, -1), Shift(DROPPED + 1, 0)]
    assert find_repeats(film.truth[MIXED], film.truth) == [DOUBLED + 1]


def test_a_dropped_and_a_doubled_frame_of_an_animation(film):
    """The doubled frame is seen as such; where the dropped one was is told within a second."""
    (doubled, dropped) = find_shifts(film.animation[MIXED], film.truth)
    assert doubled == Shift(DOUBLED + 1, -1)
    assert dropped.ahead == 0 and abs(dropped.frame - DROPPED - 1) <= 25


@pytest.mark.parametrize("shift", [1, 2, 5, -1, -2, -5])
def test_shifted_from_the_start(film, shift):
    for video in (film.truth, film.animation):
        mine, true = (video[shift:], film.truth[:-shift]) if shift > 0 else (video[:shift], film.truth[-shift:])
        assert find_shifts(mine, true) == [Shift(0, shift)]


def test_several_dropped_frames(film):
    kept = [number for number in range(FRAMES) if number not in (40, 90, 91, 130)]
    assert found(film.truth[kept], film.truth[: len(kept)]) == [(40, 1), (89, 3), (127, 4)]


def test_one_frame_is_another_again(film):
    """It is seen, and the video stays in step."""
    order = list(range(FRAMES))
    order[70] = 69
    for video in (film.truth, film.animation):
        assert (found(video[order], film.truth), find_repeats(video[order], film.truth)) == ([], [70])


def test_a_shift_is_at_the_nearest_of_the_frames_that_are_shown_twice(film):
    order = list(MIXED)
    order[DOUBLED - 10] -= 1
    for video in (film.truth, film.animation):
        assert find_repeats(video[order], film.truth) == [DOUBLED - 10, DOUBLED + 1]
        assert found(video[order], film.truth)[0] == (DOUBLED + 1, -1)


def test_colours_that_drift_are_no_shift(film):
    drift = torch.linspace(0, 0.3, FRAMES)[:, None] * torch.randn(1, 768, generator=torch.Generator().manual_seed(0))
    assert found((film.animation + drift).half(), film.truth) == []
    assert found((film.truth[MIXED] + drift).half(), film.truth) == [(DOUBLED + 1, -1), (DROPPED + 1, 0)]


def test_of_a_still_scene_nothing_can_be_said(film):
    still = film.truth[:1].expand(FRAMES, -1).contiguous()
    noise = 0.02 * torch.randn(FRAMES, 768, generator=torch.Generator().manual_seed(0))
    assert found((still + noise).half(), still) == []
    assert found(still, still) == [] == find_repeats(still, still)


@pytest.mark.parametrize("turn", [8, 24])
def test_a_motion_to_and_fro_is_in_step(film, turn):
    order = [number % (2 * turn) if number % (2 * turn) < turn else -number % (2 * turn) for number in range(FRAMES)]
    for video in (film.truth, film.animation):
        assert found(video[order], film.truth[order]) == []


def test_of_a_motion_that_repeats_the_smallest_shift_is_said(film):
    """9 frames ahead is 3 behind, when the motion repeats after 12."""
    order = [number % 12 for number in range(FRAMES + 9)]
    assert found(film.truth[order[9:]], film.truth[order[:-9]]) == [(0, -3)]


def test_another_film_is_not_out_of_step(film):
    assert found(signatures(World(500).frames(range(FRAMES))), film.truth) == []


def test_frames_without_numbers_are_no_witnesses(film):
    pictures = film.pictures.clone()
    pictures[30:40] = float("nan")
    assert found(signatures(pictures), film.truth) == []


def test_videos_of_any_length():
    """Cut and put together at random: an answer, in order and within the video."""
    generator = torch.Generator().manual_seed(0)
    truth = signatures(World(3).frames(range(64)))
    for _ in range(60):
        length, true_length, start, cut = (int(n) for n in torch.randint(1, 32, (4,), generator=generator))
        mine = torch.cat([truth[start : start + cut], truth[cut : cut + length]])
        shifts = find_shifts(mine, truth[:true_length])
        assert all(0 <= shift.frame < len(mine) and abs(shift.ahead) <= MAX_SHIFT for shift in shifts)
        assert [shift.frame for shift in shifts] == sorted({shift.frame for shift in shifts})


def test_sentences():
    shifts = [Shift(0, -3), Shift(58, -4), Shift(121, -3, 5), Shift(130, 0), Shift(140, 2), Shift(150, 0, 3)]
    assert describe(shifts, [58, 70]) == [
        "the video runs 3 frames behind from its start on",
        "frame 57 is shown twice: from frame 58 on the video runs 4 frames behind",
        "about frame 117 of the true video is missing: from frame 121 on the video runs 3 frames behind",
        "frames 127 to 129 of the true video are missing: from frame 130 on the video is in step again",
        "frames 140 to 141 of the true video are missing: from frame 140 on the video runs 2 frames ahead",
        "2 frames too many at about frame 150: from frame 150 on the video is in step again",
        "frame 70 shows the one before again",
    ]
    assert describe([], [3, 9]) == ["2 frames show the one before again, the first of them frame 3"]


def test_the_report_has_them(film):
    report = evaluate(TensorFrames(film.pictures[MIXED]), TensorFrames(film.pictures))
    assert report.findings.shifts == [Shift(DOUBLED + 1, -1), Shift(DROPPED + 1, 0)]
    assert report.findings.repeats == [DOUBLED + 1]


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ([number for number in range(FRAMES) if number != DROPPED], "Frame 120 of the true video is missing: "),
        (sorted([*range(FRAMES), DOUBLED]), "Frame 50 is shown twice: "),
        (range(FRAMES - MAX_SHIFT), ""),
        (range(FRAMES - MAX_SHIFT - 1), ""),
    ],
)
def test_of_another_length_the_frame_is_named(film, order, told):
    with pytest.raises(ValueError) as refused:
        evaluate(TensorFrames(film.pictures[list(order)]), TensorFrames(film.pictures))
    said = f"the true video must have as many frames as the video ({len(order)}); got {FRAMES}."
    assert str(refused.value).startswith(f"{said} {told}".strip())
    assert told or str(refused.value) == said


def test_through_a_file(film, tmp_path):
    """What a codec leaves of a frame that is shown twice is not exactly the same."""
    for name, order in (("video.mp4", MIXED), ("truth.mp4", range(FRAMES))):
        with VideoWriter(tmp_path / name, Fraction(25), 64, 64) as file:
            file.write(film.pictures[list(order)])
    with VideoFrames(tmp_path / "video.mp4") as video, VideoFrames(tmp_path / "truth.mp4") as truth:
        pair = [signatures(source.read(range(FRAMES))) for source in (video, truth)]
    assert found(*pair) == [(DOUBLED + 1, -1), (DROPPED + 1, 0)]
    assert found(pair[1], film.truth) == []
