"""Which frames of the driver are shown at another rate."""

from fractions import Fraction

import numpy as np
import pytest

from everanimate_core.driving.timing import shown_frames
from everanimate_core.media.rates import steady_numbers

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("count", "rate", "fps", "shown"),
    [
        # 0 0.8 1.6 2.4 3.2 4, and so on
        (12, 24, 30, [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 10, 11]),
        # 0 1.2 2.4 3.6 4.8 6, and so on
        (15, 30, 25, [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13]),
        # 0 0.96 1.92 ... 10.56 11.52
        (12, 24, 25, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        # What is left of the last frame's time is too short for another one.
        (6, 30, 25, [0, 1, 2, 4, 5]),
        (5, 30, 25, [0, 1, 2, 4]),
        (4, 30, 25, [0, 1, 2]),
        (4, 60, 15, [0]),
        # Half way between two frames it is the earlier one.
        (5, 15, 30, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (6, 30, 20, [0, 1, 3, 4]),
        # The last frames are as near as it gets.
        (2, 10, 60, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]),
        (1, 30, 25, [0]),
        (1, 60, 1, [0]),
        (3, 30, 30, [0, 1, 2]),
    ],
)
def test_the_frames_that_are_shown(count, rate, fps, shown):
    assert list(shown_frames(count, Fraction(rate), Fraction(fps))) == shown


def test_from_24_to_30_to_25_frames_a_second():
    first = shown_frames(240, Fraction(24), Fraction(30))
    second = shown_frames(len(first), Fraction(30), Fraction(25))
    assert (len(first), len(second)) == (300, 250)
    straight = shown_frames(240, Fraction(24), Fraction(25))
    # Every rounding is at most half a frame off.
    assert max(abs(first[frame] - direct) for frame, direct in zip(second, straight, strict=True)) == 1


@pytest.mark.parametrize("rate", [Fraction(25), NTSC])
def test_its_own_rate_keeps_every_frame(rate):
    assert shown_frames(7, rate, rate) == list(range(7))


@pytest.mark.parametrize(("rate", "fps"), [(24, 30), (30, 25), (NTSC, 25), (NTSC, 24), (Fraction(24000, 1001), 30)])
def test_the_numbers_are_those_of_wan(rate, fps):
    rate, fps = Fraction(rate), Fraction(fps)
    shown = shown_frames(5000, rate, fps)
    count = int(5000 / float(rate) * float(fps))
    wan = np.clip(np.round(np.arange(count) / float(fps) * float(rate)).astype(int), 0, 4999)
    ties = [i for i in range(count) if (i * rate / fps).denominator == 2]
    assert len(shown) == count
    assert np.array_equal(np.delete(shown, ties), np.delete(wan, ties))


def test_an_hour_is_counted_exactly():
    # 107892 frames at 29.97 a second last 3600.0297 s.
    shown = shown_frames(107892, NTSC, Fraction(30))
    assert len(shown) == 107999
    # Frame 1001 n of the 30 a second stands at frame 1000 n.
    assert [shown[1001 * n] for n in range(107)] == [1000 * n for n in range(107)]


def test_frames_are_the_nearest_ones_where_videos_show_the_one_that_began_last():
    """Videos at another rate (media) show at every time the frame that began last, to the end of the last one."""
    shown = shown_frames(10, Fraction(24), Fraction(30))
    began_last = steady_numbers(10, Fraction(24), Fraction(30))
    assert list(shown) == [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9]
    assert list(began_last) == [0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9]
