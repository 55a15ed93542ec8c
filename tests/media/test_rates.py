"""Rates as files hold them, and frames with times of their own at a constant rate."""

import random
from fractions import Fraction

import pytest

from everanimate_core.media.rates import (
    even_numbers,
    file_rate,
    is_steady,
    last_frame_end,
    lasting_rate,
    steady_numbers,
)
from everanimate_core.plan import shown_at


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (25, "25"),
        (12.5, "25/2"),
        (16.67, "1667/100"),
        (23.976, "2997/125"),
        (29.97, "2997/100"),
        (59.94, "2997/50"),
        # As hosts hand it on: the float's exact value, with a denominator of 2^48.
        (Fraction(29.97), "2997/100"),
        (Fraction(30000, 1001), "30000/1001"),
        (1000, "1000"),
    ],
)
def test_rates_from_outside(fps, rate):
    assert file_rate(fps) == Fraction(rate)


@pytest.mark.parametrize("fps", [0, -1, 1001, float("nan"), float("inf"), 1e-9])
def test_what_is_no_rate_is_refused(fps):
    with pytest.raises(ValueError, match=r"^fps must be above 0 and at most 1000 .*; got"):
        file_rate(fps)


# --- constant rates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "duration", "shown"),
    [
        (0, 0, range(0, 20)),
        (0, 0.8, range(0, 20)),
        (0, 0.2, range(0, 5)),
        # Frame n is shown at n / 25 s: frame 5 at 0.2 s, frame 6 at 0.24 s.
        (0.2, 0, range(5, 20)),
        (0.21, 0, range(6, 20)),
        (0.2, 0.2, range(5, 10)),
        (0.2, 0.21, range(5, 11)),
        (0.2, 0.19, range(5, 10)),
        (0.03, 0.02, range(1, 2)),
        (0.01, 0.02, range(1, 1)),
        # 0.28 * 25 = 7.000000000000001 and (0.28 + 0.28) * 25 = 14.000000000000002 in floating point.
        (0.28, 0, range(7, 20)),
        (0.28, 0.28, range(7, 14)),
        # Beyond the end.
        (0.4, 9, range(10, 20)),
        (0.76, 0, range(19, 20)),
        (0.8, 0, range(20, 20)),
        (9, 9, range(20, 20)),
    ],
)
def test_the_part_between_two_times(start, duration, shown):
    assert steady_numbers(20, Fraction(25), None, start, duration) == shown


def test_the_part_of_a_fractional_rate():
    # Frame 30 of 29.97 fps is shown at 1.001 s.
    rate = Fraction(30000, 1001)
    assert steady_numbers(90, rate, None, 1.001)[0] == 30
    assert steady_numbers(90, rate, None, 1.0)[0] == 30
    assert steady_numbers(90, rate, None, 1.0011)[0] == 31
    assert len(steady_numbers(90, rate, None, 0, 1.001)) == 30


def test_a_part_at_another_rate():
    assert list(steady_numbers(20, Fraction(25), Fraction(10), 0.2, 0.4)) == [5, 7, 10, 12]
    assert list(steady_numbers(20, Fraction(25), Fraction(10), 9)) == []


def test_the_frame_of_a_time_is_exact():
    rate = Fraction(30000, 1001)
    for frame in range(2000):
        assert shown_at(frame / rate, rate) == frame
        assert shown_at(Fraction(frame, 30), Fraction(16)) == frame * 16 // 30


def test_times_that_tremble_are_a_constant_rate():
    chance = random.Random(0)
    trembling = [(n + chance.uniform(-0.45, 0.45)) / 30 for n in range(300)]
    assert is_steady(trembling, Fraction(30))
    rounded = [round(1000 * n * 1001 / 30000) / 1000 for n in range(5000)]
    assert is_steady(rounded, Fraction(30000, 1001))
    assert not is_steady(rounded, Fraction(30))  # 5 frames off at the end
    late = [0, *(n / 25 for n in range(2, 50))]  # one place left free, as AVI files begin
    assert is_steady(late, Fraction(25))
    assert not is_steady([*range(10), 15], Fraction(1))
    assert is_steady([0.0, 99.0], Fraction(25))  # two frames have no rate of their own


# --- rates that vary -------------------------------------------------------------------------------------------------


def times_of(*stretches):
    """Times of frames: (rate, seconds) one after the other; and the end of the last."""
    times, at = [], 0.0
    for rate, seconds in stretches:
        times += [at + n / rate for n in range(round(rate * seconds))]
        at += seconds
    return times, at


@pytest.mark.parametrize(
    ("stretches", "rate"),
    [
        ([(30, 1), (15, 1)], 30),
        ([(15, 1), (30, 1)], 30),
        ([(24000 / 1001, 2.002), (12, 2)], Fraction(24000, 1001)),
        ([(10, 2), (30, 0.5)], 10),  # half a second does not last
        ([(30, 0.3), (10, 2)], 10),
        ([(120, 2), (30, 2)], 60),
        ([(7, 3), (3.5, 2)], 7),
        ([(30, 0.2), (15, 0.4)], 20),  # shorter than a second: the average
        ([(1, 4), (0.5, 4)], 1),
    ],
)
def test_the_highest_rate_that_lasts(stretches, rate):
    assert lasting_rate(*times_of(*stretches)) == rate


def test_a_frame_missing_now_and_then_leaves_the_rate():
    times, end = times_of((30, 20))
    chance = random.Random(1)
    kept = [time for time in times if time == 0 or chance.random() > 0.05]
    assert lasting_rate(kept, end) == 30


def test_the_last_frame_lasts_as_long_as_those_before_or_as_the_file_says():
    assert last_frame_end([0, 1, 2, 3], 0) == 4
    assert last_frame_end([0, 1, 2, 3], 2) == 5
    assert last_frame_end([0, 1, 2, 3, 9, 10, 11], 0) == 12
    assert last_frame_end([7], 0.5) == 7.5


def test_every_frame_stands_at_its_time():
    times, end = times_of((30, 1), (15, 1))
    assert even_numbers(times, end, Fraction(30)) == [*range(30), *(30 + n // 2 for n in range(30))]
    # At another rate too.
    shown = even_numbers(times, end, Fraction(25))
    assert len(shown) == 50
    for place, number in enumerate(shown):
        assert abs(times[number] - place / 25) <= 1 / 15


def test_times_that_tremble_lose_no_frame():
    chance = random.Random(2)
    times = [0.0, *((n + chance.uniform(-0.4, 0.4)) / 30 for n in range(1, 60))]
    shown = even_numbers([*times, 4.0], 4.1, Fraction(30))
    assert sorted(set(shown)) == list(range(61))
    for place, number in enumerate(shown[:60]):
        assert abs(times[number] - place / 30) < 1 / 30


@pytest.mark.parametrize(
    ("start", "duration", "first", "count"),
    [
        (1.0, 0, 30, 30),
        (1.0, 0.5, 30, 15),
        (0.5, 0, 15, 45),
        (1.02, 0, 30, 30),  # the frame of 1.000 s is on show until 1.067 s
        (1.99, 0, 44, 1),
        (2.0, 0, None, 0),
        (9.0, 1.0, None, 0),
    ],
)
def test_a_part_begins_with_the_frame_on_show(start, duration, first, count):
    times, end = times_of((30, 1), (15, 1))
    shown = even_numbers(times, end, Fraction(30), start, duration)
    assert len(shown) in ((count,) if start != 1.02 else (29, 30))
    if count:
        assert shown[0] == first
        # The frame after it has its turn too.
        assert first == 44 or first + 1 in shown
