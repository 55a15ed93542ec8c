"""The shots of a clip: where a video cuts from one camera to another, nothing goes on."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .people import Person, body, body_distance, body_size

# Levels of each colour channel in a histogram.
_LEVELS = 4
# Nobody jumps so far between two frames, in diagonals of the body.
_JUMP = 0.5
# Share of the pixels that have to change their colour at a cut.
_BREAK = 0.3


def histogram(frame: np.ndarray) -> np.ndarray:
    """Share of the pixels in each of 64 colours, [64]. frame: [H, W, 3], RGB in 0..1."""
    # Every fourth row and column is enough to count by.
    levels = np.clip((frame[::4, ::4] * _LEVELS).astype(int), 0, _LEVELS - 1)
    counts = np.bincount((levels @ [_LEVELS**2, _LEVELS, 1]).ravel(), minlength=_LEVELS**3)
    return counts / counts.sum()


def found_cuts(people: Sequence[Sequence[Person]], histograms: np.ndarray) -> list[int]:
    """The numbers of the frames with which a new shot begins, the first frame's left out.

    people: everybody who was found in each of N frames. histograms: [N, 64], of `histogram`. At a cut the colours
    break, and everybody jumps: by a median of more than half a body. A flash breaks the colours alone, and a swing of
    the arms moves a part of the body alone. Where nobody is seen, they are compared with who was there last.
    """
    changed = np.abs(np.diff(histograms, axis=0)).sum(axis=1) / 2
    bodies = [[joints for joints in map(body, there) if not np.isnan(joints).all()] for there in people]
    seen = np.array([bool(there) for there in bodies])
    cuts = []
    for frame in np.flatnonzero(changed > _BREAK) + 1:
        last, first = np.flatnonzero(seen[:frame])[-1:], frame + np.flatnonzero(seen[frame:])[:1]
        pairs = [(one, other) for i in last for one in bodies[i] for k in first for other in bodies[k]]
        if not any(body_distance(one, other) <= _JUMP * body_size(one) for one, other in pairs):
            cuts.append(int(frame))
    return cuts


def shots(cuts: Sequence[int], count: int) -> list[slice]:
    """The frames of each shot of a clip of `count` frames. cuts: the numbers of their first frames, in 1..count - 1."""
    bounds = [0, *sorted(set(cuts)), count]
    return [slice(start, stop) for start, stop in pairwise(bounds)]
