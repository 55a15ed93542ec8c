"""What a curve over time tells: its slope, where it departs for good, single flashes, and seams at the joins.

The thresholds decide what is a finding. They were set on films of the toy world with planted faults.
"""

from collections.abc import Sequence
from math import isfinite, nan
from statistics import linear_regression

import torch
from torch import Tensor

# ΔE that is just noticeable (Mahy et al. 1994), for the cast of a whole picture.
CAST_TOLERANCE = 2.3
# log2 of the sharpness ratio: half a stop of Laplacian energy.
SHARPNESS_TOLERANCE = 0.5
# ΔE between the person's colours in a frame and in the true frame.
IDENTITY_TOLERANCE = 8.0
# ΔE of the mean colour between a frame and both of its neighbours.
FLASH_THRESHOLD = 3.0
# A seam index twice that of the true video; without one, a jump of three times the usual motion.
SEAM_THRESHOLD, SEAM_THRESHOLD_ALONE = 2.0, 3.0
# A difference that no one sees, a fortieth of an 8-bit step: pictures that stand still have a seam index too.
STILL = 1e-4
# Frames to each side of a join that say how much motion is usual: about half a chunk.
NEIGHBOURHOOD = 36
# Departures shorter than this at the end of a video are not for good, and excursions up to half of it do not count.
LASTING = 9


def slope(curve: Sequence[float]) -> float:
    """Least-squares slope of a curve per 100 frames; frames that are not finite are left out, NaN for fewer than 2."""
    known = [(frame, value) for frame, value in enumerate(curve) if isfinite(value)]
    # Not torch's least squares, which round by where a tensor lies in memory.
    return 100 * linear_regression(*zip(*known, strict=True)).slope if len(known) > 1 else nan


def departure(curve: Tensor, tolerance: float) -> int | None:
    """The first frame from which a curve [F] stays above `tolerance` to the end, None if it does not.

    Decided on the running median of LASTING frames, which ignores single frames and keeps the place of a step.
    """
    middle = running_median(curve, LASTING)
    calm = (middle <= tolerance).nonzero().flatten()
    first = int(calm[-1]) + 1 if len(calm) else 0
    return first if len(curve) - first >= LASTING else None


def running_median(curve: Tensor, width: int) -> Tensor:
    """Median of the `width` (odd) frames around each frame of a curve [F]; its ends are continued by their values."""
    half = width // 2
    padded = torch.cat([curve[:1].expand(half), curve, curve[-1:].expand(half)])
    return padded.unfold(0, width, 1).median(dim=-1).values


def flashes(colours: Tensor) -> list[int]:
    """Single frames whose mean colour jumps away and comes back; colours: [F, 3], mean L, a and b.

    A frame is one when its colour is further than FLASH_THRESHOLD from the middle of its neighbours and those differ
    by less than half as much. The first and the last frame have no two neighbours and are never found.
    """
    before, here, after = colours[:-2], colours[1:-1], colours[2:]
    away = (here - (before + after) / 2).norm(dim=-1)
    found = (away > FLASH_THRESHOLD) & ((after - before).norm(dim=-1) < away / 2)
    return (found.nonzero().flatten() + 1).tolist()


def seam_index(steps: Tensor, join: int) -> float:
    """How far the jump at a join stands out: the difference across it over the median difference in its neighbourhood.

    steps: [F], every frame's mean absolute difference to the one before it (the first has none and is not looked at).
    join: the first frame after the join. 1 is a join like any frame, and a join in a picture that stands still.
    """
    start = max(1, join - NEIGHBOURHOOD)
    usual = steps[start : join + 1 + NEIGHBOURHOOD].median()
    return float((steps[join] + STILL) / (usual + STILL))
