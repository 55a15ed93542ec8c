"""Findings as sentences."""

from everanimate_core.evaluation.alignment import Shift
from everanimate_core.evaluation.doubling import Doubled
from everanimate_core.evaluation.report import Findings
from everanimate_core.evaluation.words import all_found, steps_found


def test_all_that_was_found():
    findings = Findings(190, 0, 7, [3, 9], [81, 161], [Shift(82, -1)], [82, 90], [Doubled(161, 5)])
    steps = [
        "frame 81 is shown twice: from frame 82 on the video runs 1 frame behind",
        "frame 90 shows the one before again",
        "the last 5 frames are shown again at 161",
    ]
    assert all_found(findings) == [
        "colour departs at frame 190",
        "sharpness departs at frame 0",
        "identity departs at frame 7",
        "flashes at 3, 9",
        "seams at 81, 161",
        *steps,
    ]
    assert steps_found(findings) == steps


def test_nothing_was_found():
    nothing = Findings(None, None, None, [], [])
    assert all_found(nothing) == ["no departure, no flash, no visible seam"]
    assert steps_found(nothing) == []
