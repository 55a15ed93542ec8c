"""Steady keypoints out of found ones: what flickers is left out, short gaps are filled, outliers and noise removed.

Everything here reads a whole clip at once, shot by shot: the result does not depend on how the clip was read. Times are
counted in frames at 30 frames a second and scaled to the clip's rate.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .cuts import shots
from .keypoints import DRAWN, LEFT_HAND, POINTS, RIGHT_HAND, Keypoints

RATE = 30
MAX_GAP = 8
# Hands move faster than bodies: of a body's longest gap, they get this share.
_HAND_GAP = 5 / 8
# A point that is there stays there down to this score; and what comes and goes within so few frames was never there.
_STAYS, _SHORTEST = 0.35, 3
# Frames on either side in the filters.
_REACH = 3
# A point is an outlier so many deviations away from the median. The deviation is the median one, scaled to what it is
# for normal noise, plus the noise, in pixels, that a point has where nothing moves.
_DEVIATIONS, _SCALE, _NOISE = 3.0, 1.4826, 0.5
# A hand belongs to a wrist: its root lies this close, and it is this large at most, in forearms.
_HAND_OFF, _HAND_SPAN = 0.35, 1.2
_ARM_BONES = np.array([(5, 7), (7, 9), (6, 8), (8, 10)])


def steadied(
    found: Keypoints,
    fps: Fraction | float,
    cuts: Sequence[int] = (),
    max_gap: int = MAX_GAP,
    smoothing: bool = True,
) -> tuple[Keypoints, np.ndarray]:
    """A person's keypoints as they are to be drawn, and which of them were filled in, [N, 133] of bool.

    found: one person's track. fps: its rate. cuts: numbers of the frames with which a new shot begins; nothing goes on
    across them. max_gap: frames (at 30 a second) up to which a gap is filled; hands get 5/8 of it, as they move faster.
    smoothing: False leaves found points where they are. In the result a point has a score of DRAWN or more, or 0.
    """
    scale = float(fps) / RATE
    # Fewer than five frames cannot tell noise from motion.
    reach = max(2, round(_REACH * scale))
    gaps = np.full(POINTS, round(max_gap * scale))
    gaps[LEFT_HAND] = gaps[RIGHT_HAND] = round(max_gap * _HAND_GAP * scale)
    believed = plausible_hands(found, fps, cuts)
    points, scores = found.points.copy(), np.zeros_like(found.scores)
    filled = np.zeros(found.scores.shape, dtype=bool)
    for shot in shots(cuts, len(points)):
        for point in range(POINTS):
            given = believed[shot, point]
            there = _there(given)
            for run in _runs(there, gaps[point], round(_SHORTEST * scale)):
                frames = slice(shot.start + run.start, shot.start + run.stop)
                known = there[run]
                weights = _filled_scores(given[run], known)
                track = found.points[frames, point]
                if smoothing:
                    track = without_outliers(track, known, reach)
                track = _filled_track(track, known)
                if smoothing:
                    track = smoothed(track, weights, reach)
                points[frames, point], scores[frames, point], filled[frames, point] = track, weights, ~known
    return Keypoints(points, scores, found.width, found.height), filled


def plausible_hands(found: Keypoints, fps: Fraction | float, cuts: Sequence[int] = ()) -> np.ndarray:
    """The scores [N, 133], 0 for the points of a hand that is not at its wrist or is too large.

    The root has to lie within 0.35 forearms of the wrist, and the box of the hand's points to have a diagonal below 1.2
    forearms. A forearm that points at the camera looks short: what counts is the longest bone of both arms, within half
    a second.
    """
    scores = found.scores.copy()
    ends = found.points[:, _ARM_BONES]
    seen = (found.scores[:, _ARM_BONES] >= DRAWN).all(axis=-1)
    longest = np.where(seen, np.hypot(*np.moveaxis(ends[:, :, 1] - ends[:, :, 0], -1, 0)), 0.0).max(axis=1)
    reach = round(float(fps) / 2)
    for shot in shots(cuts, len(longest)):
        around = np.pad(longest[shot], reach)
        longest[shot] = sliding_window_view(around, 2 * reach + 1).max(axis=-1)
    for hand, wrist in ((LEFT_HAND, 9), (RIGHT_HAND, 10)):
        points, there = found.points[:, hand], found.scores[:, hand] >= _STAYS
        off = np.hypot(*(points[:, 0] - found.points[:, wrist]).T)
        low = np.where(there[..., None], points, np.inf).min(axis=1)
        high = np.where(there[..., None], points, -np.inf).max(axis=1)
        both = there[:, 0] & (found.scores[:, wrist] >= _STAYS)
        fits = both & (off <= _HAND_OFF * longest) & (np.hypot(*(high - low).T) < _HAND_SPAN * longest)
        scores[~fits, hand] = 0
    return scores


def _stretches(flags: np.ndarray) -> list[slice]:
    """Where flags [n] are set without a break."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _there(scores: np.ndarray) -> np.ndarray:
    """In which frames of a shot a point is there [n]: where its score holds out around one that says so."""
    there = np.zeros(len(scores), dtype=bool)
    for stretch in _stretches(scores >= _STAYS):
        there[stretch] = scores[stretch].max() >= DRAWN
    return there


def _runs(there: np.ndarray, gap: int, shortest: int) -> list[slice]:
    """The frames in which a point is drawn: where it is there [n], and gaps between. Rare ones are left out.

    gap: the longest that is closed. shortest: frames in which a point has to be there; all of a shorter shot.
    """
    closed = there.copy()
    for stretch in _stretches(~there):
        # What is missing at either end of a shot is no gap.
        inside = stretch.start > 0 and stretch.stop < len(there)
        closed[stretch] = inside and stretch.stop - stretch.start <= gap
    return [run for run in _stretches(closed) if there[run].sum() >= min(shortest, len(there))]


def _filled_scores(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Scores of a run [n] that say "there" in each frame; those of filled frames lie between their neighbours'."""
    frames = np.arange(len(scores))
    return np.interp(frames, frames[known], np.maximum(scores[known], DRAWN))


def _filled_track(track: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A run of positions [n, 2], gaps filled by the cubic through two known frames before and two after.

    Where there is one frame only on a side, the line through the nearest two. known: [n]; first and last are set.
    """
    filled = track.copy()
    for gap in _stretches(~known):
        start, stop = gap.start, gap.stop
        wide = start > 1 and known[start - 2] and stop + 1 < len(known) and known[stop + 1]
        nodes = np.array([start - 2, start - 1, stop, stop + 1] if wide else [start - 1, stop])
        powers = np.arange(len(nodes))
        # Counted from the gap's middle in its lengths, so that the powers stay small.
        middle, length = (start + stop - 1) / 2, stop - start
        curve = np.linalg.solve(((nodes - middle) / length)[:, None] ** powers, track[nodes])
        filled[gap] = ((np.arange(start, stop) - middle) / length)[:, None] ** powers @ curve
    return filled


def without_outliers(track: np.ndarray, known: np.ndarray, reach: int) -> np.ndarray:
    """Positions [n, 2], each coordinate that is far from the median of `reach` frames around replaced by it (Hampel).

    known: [n]; the others count nowhere and are returned as they are.
    """
    around = np.pad(np.where(known[:, None], track, np.nan), ((reach, reach), (0, 0)), constant_values=np.nan)
    windows = sliding_window_view(around, 2 * reach + 1, axis=0)[known]
    median = np.nanmedian(windows, axis=-1)
    deviation = _SCALE * np.nanmedian(np.abs(windows - median[..., None]), axis=-1) + _NOISE
    result = track.copy()
    result[known] = np.where(np.abs(track[known] - median) > _DEVIATIONS * deviation, median, track[known])
    return result


def smoothed(track: np.ndarray, weights: np.ndarray, reach: int) -> np.ndarray:
    """Positions [n, 2], each moved onto the parabola that fits 2 · reach + 1 frames around it best.

    weights: [n], above 0, of the squared distances. At both ends the window keeps its length, and the parabola is read
    off the middle. With equal weights this is the filter of Savitzky and Golay (Analytical Chemistry 36, 1964).
    """
    count = len(track)
    length = min(2 * reach + 1, count)
    starts = np.clip(np.arange(count) - reach, 0, count - length)
    windows = starts[:, None] + np.arange(length)
    times = (windows - np.arange(count)[:, None]) / reach
    powers = times[..., None] ** np.arange(min(3, length))
    weighted = (powers * weights[windows][..., None]).swapaxes(1, 2)
    return np.linalg.solve(weighted @ powers, weighted @ track[windows])[:, 0]
