"""What is told of a run while it goes."""

from everanimate_core.runs.progress import Progress, RemainingTime
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
    assert remaining.after(Progress(1, 6, record(40.0), False, *WATCH)) == ", about 2 min 40 s left"
    assert remaining.after(Progress(2, 6, record(20.0), False, *WATCH)) == ", about 1 min 30 s left"
    assert remaining.after(Progress(3, 6, record(400.0), False, *WATCH)) == ", about 1 min 20 s left"
    assert remaining.after(Progress(5, 6, record(40.0), False, *WATCH)) == ""
