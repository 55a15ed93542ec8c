"""Frames that a chunk shows again are found at its join without the true video, and nothing is found elsewhere."""

from fractions import Fraction

import pytest
import torch
from torch.nn.functional import interpolate

from everanimate_core.evaluation.alignment import signatures
from everanimate_core.evaluation.doubling import Doubled, describe_doubled, find_doubled
from everanimate_core.evaluation.evaluate import evaluate
from everanimate_core.evaluation.words import all_found
from everanimate_core.media.frames import TensorFrames
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.toy.world.world import World

CHUNK, CHUNKS = 33, 4
SIZE = 256


def chained(count):
    """The frames of a film that a chain of chunks shows which begins each chunk with the last `count` frames before."""
    order = []
    for _ in range(CHUNKS):
        start = order[-1] + 1 - count if order else 0
        order += range(start, start + CHUNK)
    return order


@pytest.fixture(scope="module", params=[3, 204])
def film(request):
    """A film in which something moves at each join."""
    return World(request.param).frames(range(CHUNK * CHUNKS))


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_at_every_join(film, count):
    joins = [CHUNK * number for number in range(1, CHUNKS)]
    assert find_doubled(signatures(film[chained(count)]), joins) == [Doubled(join, count) for join in joins]


@pytest.mark.parametrize("count", [1, 5])
def test_through_a_file(film, count, tmp_path):
    large = interpolate(film.movedim(-1, 1), SIZE, mode="bilinear").movedim(1, -1)
    joins = [CHUNK * number for number in range(1, CHUNKS)]
    for name, order in (("chained", chained(count)), ("whole", range(len(film)))):
        with VideoWriter(tmp_path / f"{name}.mp4", Fraction(16), SIZE, SIZE) as file:
            file.write(large[list(order)])
        with VideoFrames(tmp_path / f"{name}.mp4") as video:
            report = evaluate(video, joins=joins)
        expected = [Doubled(join, count) for join in joins] if name == "chained" else []
        assert report.findings.doubled == expected
    assert report.findings.repeats == []


def test_nothing_where_nothing_was_doubled(film):
    assert find_doubled(signatures(film), range(1, len(film))) == []


def test_more_frames_than_are_looked_for(film):
    assert find_doubled(signatures(film[chained(17)]), [CHUNK]) == []


def test_of_a_still_scene_nothing_can_be_said(film):
    still = signatures(film[:1]).expand(CHUNK, -1)
    assert find_doubled(still, [10]) == []


def test_a_motion_that_turns_at_the_join_is_not_doubled(film):
    """To and fro: the frame behind the turn shows that before it, but so slowly does nothing else move there."""
    there = torch.linspace(0, 1, 20).mul(torch.pi / 2).sin()
    sway = torch.cat([there, there.flip(0)])
    moving = torch.lerp(film[0], film[60], sway.view(-1, 1, 1, 1))
    assert find_doubled(signatures(moving), [20]) == []


def test_a_motion_that_stops_at_the_join_is_not_doubled(film):
    stops = film[[*range(20), *[19] * 20]]
    assert find_doubled(signatures(stops), [20]) == []


def test_at_the_ends_there_is_nothing_to_compare(film):
    signs = signatures(film[[0, 0, 1, 2, 2]])
    assert find_doubled(signs, [1, 4]) == []
    assert find_doubled(signatures(film[[0, 1, 2, 2, 3, 4]]), [3]) == [Doubled(3, 1)]


def test_with_the_true_video_the_steps_are_told_instead(film):
    order = chained(5)
    report = evaluate(TensorFrames(film[order]), TensorFrames(film), joins=[CHUNK])
    assert report.findings.doubled == []
    assert any("5 frames too many" in said for said in all_found(report.findings))


def test_sentences():
    found = [Doubled(81, 5), Doubled(162, 5), Doubled(243, 1)]
    assert describe_doubled(found) == [
        "the last 5 frames are shown again at 81, 162",
        "the last frame is shown again at 243",
    ]
    assert describe_doubled([]) == []
