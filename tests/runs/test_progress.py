"""What is told of a run while it goes."""

import pytest

from everanimate_core.runs.progress import Making, Progress, RemainingTime, in_words
from everanimate_core.runs.takes import TakeChunk

# Of no use to what is tested here: the last frame, and the video so far.
WATCH = (lambda: None, lambda: None)


def record(seconds=2.0):
    return TakeChunk("key", 9, 14, 42, seconds, 0.1234)


def test_progress_is_a_line_per_chunk():
    assert str(Progress(1, 6, record(), False, *WATCH)) == "chunk 2/6: frames 9-13, 2.0 s, drift 0.123"
    assert str(Progress(1, 6, record(), True, *WATCH)) == "chunk 2/6: frames 9-13, kept, drift 0.123"


def test_remaining_time_is_by_the_median_of_the_chunks_made():
    remaining = RemainingTime()
    # What an earlier start took says nothing about this one.
    assert remaining.after(Progress(0, 6, record(500.0), True, *WATCH)) == ""
    assert remaining.after(Progress(1, 6, record(40.0), False, *WATCH)) == ", about 3 min left"
    assert remaining.after(Progress(2, 6, record(20.0), False, *WATCH)) == ", about 2 min left"
    assert remaining.after(Progress(3, 6, record(400.0), False, *WATCH)) == ", about 1 min left"
    assert remaining.after(Progress(5, 6, record(40.0), False, *WATCH)) == ""


class Clock:
    """A clock that stands where it was put."""

    now = 0.0

    def __call__(self):
        return self.now


def test_the_steps_of_the_first_chunk_tell_how_long_the_rest_may_take():
    clock = Clock()
    remaining = RemainingTime(clock)
    remaining.begin(Making(0, 6, 0, 1, left=5))
    # A model is loaded for ten minutes; then a step takes 10 s, and a chunk 4 of them.
    clock.now = 610.0
    assert remaining.at_step(1, 4) == ""
    clock.now = 620.0
    # Two steps and five chunks: 20 s + 5 x 40 s.
    assert remaining.at_step(2, 4) == ", 4 min left"
    clock.now = 640.0
    assert remaining.at_step(4, 4) == ", 3 min left"


def test_later_chunks_are_told_by_those_that_were_made():
    clock = Clock()
    remaining = RemainingTime(clock)
    remaining.after(Progress(0, 3, record(600.0), False, *WATCH))
    clock.now = 1000.0
    remaining.begin(Making(1, 3, 0, 1, left=1))
    clock.now = 1120.0
    # Two minutes of ten are gone, and another ten will follow.
    assert remaining.at_step(1, 20) == ", 18 min left"
    # Slower than the one before: what is left of it is nothing.
    clock.now = 1900.0
    assert remaining.at_step(2, 20) == ", 10 min left"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *[(0, "0 s"), (39.6, "40 s"), (59.4, "59 s"), (59.5, "1 min"), (89, "1 min"), (91, "2 min")],
        *[(2040, "34 min"), (3569, "59 min"), (3571, "1 h 0 min"), (7500, "2 h 5 min"), (360_000, "100 h 0 min")],
    ],
)
def test_a_time_in_words(seconds, words):
    assert in_words(seconds) == words
