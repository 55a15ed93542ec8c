"""Frame rates as files hold them, and the constant rate at which frames with times of their own are shown."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil, isfinite
from statistics import median

import numpy as np

from ..errors import InputError
from ..plan import shown_at

MAX_FPS = 1000
# A rate that varies is brought to at most this many frames a second.
MAX_EVEN_FPS = 60
# Rates that cameras, screens and editors use; a measured rate is one of them up to this share.
_COMMON = [Fraction(fps) for fps in (5, 10, 12, "12.5", 15, 16, 20, 24, 25, 30, 48, 50, 60)]
_COMMON += [Fraction(1000 * fps, 1001) for fps in (24, 30, 60)]
_SHARE = 0.025
# A stretch of time that counts as lasting, in seconds, less what rounded times may hide of it.
_LASTING = 0.98
# The least share of a second's rate that each of its quarters has to have.
_STEADY = 0.9
# From this share on, a second is as even as seconds are.
_EVEN = 0.98


def file_rate(fps: Fraction | float | int) -> Fraction:
    """A rate from outside as files hold it: 29.97 is 2997/100, whatever the float next to it is exactly.

    Raises InputError unless it is above 0 and at most MAX_FPS frames a second.
    """
    if isfinite(fps):
        rate = Fraction(fps).limit_denominator(1001)
        if 0 < rate <= MAX_FPS:
            return rate
    raise InputError("fps", f"must be above 0 and at most {MAX_FPS}", "25, 29.97, 30000/1001", fps)


def is_steady(times: Sequence[float], rate: Fraction) -> bool:
    """Whether frames at `times` (seconds, rising) are a constant `rate`: none is off by more than a frame."""
    if len(times) < 3:
        return True
    off = np.asarray(times, dtype=np.float64) * float(rate) - np.arange(len(times))
    return float(off.max() - off.min()) <= 1.001


def lasting_rate(times: Sequence[float], end: float) -> Fraction:
    """The highest rate that frames at `times` (seconds, rising) keep up for a second or more, at most MAX_EVEN_FPS.

    end: until when the last frame is shown. A rate counts where no quarter of its second falls far behind: a burst of
    frames does not last. Videos shorter than a second have their average.
    """
    bounds = np.append(np.asarray(times, dtype=np.float64), end)
    starts = bounds[bounds + _LASTING <= end]
    if len(starts):
        quarters = starts[:, None] + np.linspace(0, _LASTING, 5)
        # Frames shown until a time, parts of a frame counted.
        shown = np.diff(np.interp(quarters, bounds, np.arange(len(bounds))))
        rates = shown.sum(axis=1) / _LASTING
        evenness = shown.min(axis=1) * 4 / _LASTING / rates
        lasting = rates * (evenness >= _STEADY)
        # A second that begins within a burst is not quite even: the even ones next to it know better.
        even = lasting * (evenness >= _EVEN) * (lasting >= _STEADY * lasting.max())
        measured = float(next(found.max() for found in (even, lasting, rates) if found.any()))
    else:
        measured = len(times) / max(end - times[0], 1 / MAX_EVEN_FPS)
    common = min(_COMMON, key=lambda rate: abs(float(rate) / measured - 1))
    if abs(float(common) / measured - 1) > _SHARE:
        common = max(Fraction(measured).limit_denominator(100), Fraction(1, 100))
    return min(common, Fraction(MAX_EVEN_FPS))


def last_frame_end(times: Sequence[float], duration: float) -> float:
    """Until when the last of the frames at `times` is shown: files say it wrongly or not, so as long as those before.

    duration: what the file says, in seconds, 0 for nothing.
    """
    gaps = [later - time for time, later in pairwise(times[-6:])]
    return times[-1] + max(duration, median(gaps) if gaps else 0)


def even_numbers(
    times: Sequence[float], end: float, rate: Fraction, start: float = 0, duration: float = 0
) -> list[int]:
    """For each frame of a video of constant `rate`: the number of the frame that stands there.

    times: of the frames that there are, in seconds from the first, rising; end: of the last one. Every frame is moved
    to the nearest place, so that times which tremble lose none. start, duration: the part to show, in seconds (duration
    0: to the end); it begins with the frame that is shown at `start`.
    """
    stop = min(end, start + duration) if duration else end
    if start >= stop:
        return []
    first = bisect_right(times, start + 1e-6) - 1
    begin = start
    if start > times[first] + 1e-6 and first + 1 < len(times):
        # Begun within a frame: the one after it must not take its place.
        begin = min(start, times[first + 1] - 1 / float(rate))
    places = [0, *(max(1, round((time - begin) * float(rate))) for time in times[first + 1 :])]
    count = max(1, round((stop - begin) * float(rate)))
    return [first + bisect_right(places, place) - 1 for place in range(count)]


def steady_numbers(
    count: int, rate: Fraction, fps: Fraction | None = None, start: float = 0, duration: float = 0
) -> Sequence[int]:
    """The frames of a part of a video of `count` frames and constant `rate`, shown at `fps` (None: its own rate).

    The part begins with the first frame that is shown at `start` seconds or later. At another rate, frame i shows what
    the part shows at i / fps.
    """
    first = min(_frame_at(start, rate), count)
    last = min(_frame_at(start + duration, rate), count) if duration else count
    part = range(first, last)
    if fps is None or fps == rate:
        return part
    return [part[shown_at(Fraction(i) / fps, rate)] for i in range(ceil(len(part) / rate * fps))]


def _frame_at(seconds: float, rate: Fraction) -> int:
    """The first frame that is shown at `seconds` or later; 0.28 s * 25 fps = 7.000000000000001 is frame 7."""
    return ceil(round(float(seconds * rate), 6))
