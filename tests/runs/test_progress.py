"""What is told of a run while it goes."""

from dataclasses import replace

import pytest

from everanimate_core.runs.progress import Making, Progress, RemainingTime, in_words, is_behind
from everanimate_core.runs.takes import TakeChunk

# Of no use to what is tested here: the last frame, and the video so far.
WATCH = ("drift", lambda: None, lambda: None)


def record(seconds=2.0):
    return TakeChunk("key", 9, 14, 42, seconds, 0.1234, 2.5)


def test_progress_is_a_line_per_chunk():
    assert str(Progress(1, 6, record(), False, *WATCH)) == "chunk 2/6: frames 9-13, 2.0 s, drift 0.123"
    assert str(Progress(1, 6, record(), True, *WATCH)) == "chunk 2/6: frames 9-13, kept, drift 0.123"
    line = "chunk 2/6: frames 9-13, kept, drift 0.123, colour distance"
    assert str(Progress(1, 6, record(), True, "colour distance", *WATCH[1:])) == f"{line} 2.500"
    unknown = replace(record(), score=None)
    assert str(Progress(1, 6, unknown, True, "colour distance", *WATCH[1:])) == f"{line} unknown"


def test_remaining_time_is_by_the_median_of_the_chunks_made():
    remaining = RemainingTime()
    # What an earlier start took says nothing about this one.
    assert remaining.after(Progress(0, 6, record(500.0), True, *WATCH)) == ""
    assert remaining.after(Progress(1, 6, record(40.0), False, *WATCH)) == ", about 3 min left"
    assert remaining.after(Progress(2, 6, record(20.0), False, *WATCH)) == ", about 2 min left"
    assert remaining.after(Progress(3, 6, record(400.0), False, *WATCH)) == ", about 1 min left"
    assert remaining.after(Progress(5, 6, record(40.0), False, *WATCH)) == ""


def test_chunks_that_were_finished_beside_others_count_as_what_the_run_waited_for_them(clock):
    remaining = RemainingTime(clock)
    for index, clock.now in enumerate((0.0, 30.0, 60.0)):
        remaining.begin(Making(index, 6, 0, 1, left=5 - index))
        if index:
            # Each took 40 seconds, ten of them beside the next one.
            done = Progress(index - 1, 6, record(40.0), False, *WATCH)
            assert is_behind(done, remaining.making)
            assert remaining.after(done) == f", about {(6 - index) * 30 / 60:.0f} min left"
    # The last one is waited for.
    done = Progress(2, 6, record(40.0), False, *WATCH)
    assert not is_behind(done, remaining.making)
    assert not is_behind(done, RemainingTime().making)


class Clock:
    """Shows the seconds that it is set to."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def steps_at(remaining, clock, *seconds):
    """What is said after each of four steps, which end at these seconds."""
    told = []
    for step, clock.now in enumerate(seconds, 1):
        told.append(remaining.at_step(step, 4))
    return told


def test_in_the_first_chunk_time_goes_by_its_steps(clock):
    """... from the first one on: before it, a model is loaded."""
    remaining = RemainingTime(clock)
    remaining.begin(Making(0, 3, 0, 1, left=2))
    # Steps of 5 s are 20 s a chunk: 10, 5 and 0 s of this one, and 40 s of the others.
    assert steps_at(remaining, clock, 500, 505, 510, 515) == ["", ", 50 s left", ", 45 s left", ", 40 s left"]
    # Another candidate for it.
    remaining.begin(Making(0, 3, 1, 2, left=1))
    assert steps_at(remaining, clock, 520, 525, 530, 535) == [
        ", 35 s left",
        ", 30 s left",
        ", 25 s left",
        ", 20 s left",
    ]


def test_a_sampler_that_does_not_tell_of_its_first_step(clock):
    remaining = RemainingTime(clock)
    clock.now = 100
    remaining.begin(Making(0, 3, 0, 1, left=2))
    clock.now = 105
    # Its time goes from where the chunk was begun: 5 s a step, 10 s of this chunk and 40 s of the others.
    assert remaining.at_step(2, 4) == ", 50 s left"


def test_later_time_goes_by_the_chunks_that_were_made(clock):
    remaining = RemainingTime(clock)
    remaining.after(Progress(0, 3, record(30.0), False, *WATCH))
    clock.now = 1000
    # The second of two candidates: the third chunk has two as well.
    remaining.begin(Making(1, 3, 1, 2, left=2))
    # A chunk that takes longer than others is about to be finished.
    expected = [", 1 min left", ", 1 min left", ", 1 min left", ", 1 min left"]
    assert steps_at(remaining, clock, 1010, 1020, 1030, 1040) == expected
    remaining.begin(Making(2, 3, 1, 2, left=0))
    assert steps_at(remaining, clock, 1050, 1060, 1070, 1080) == [
        ", 20 s left",
        ", 10 s left",
        ", 0 s left",
        ", 0 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (2040, "34 min"),
        (3569, "59 min"),
        (3571, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_time_in_words(seconds, words):
    assert in_words(seconds) == words
