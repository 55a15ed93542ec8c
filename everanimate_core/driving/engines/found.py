"""What an engine says about a frame: the people in it, in points and scores that mean the same for every engine."""

from typing import NamedTuple

import numpy as np

from ..keypoints import DRAWN


class Found(NamedTuple):
    """Somebody in a frame of H x W pixels.

    points: [133, 2], x and y in pixels, float64, finite; the centre of the first pixel is 0, 0. scores: [133], 0..1,
    float64; a point is there from 0.5 on. mask: [H, W], bool, where the body is; None from engines that do not see it.
    """

    points: np.ndarray
    scores: np.ndarray
    mask: np.ndarray | None


def normalised(scores: np.ndarray, threshold: float) -> np.ndarray:
    """An engine's own scores (any shape) in 0..1, so that its `threshold` (0 to 1) becomes 0.5; straight between."""
    return np.interp(scores, [0, threshold, 1], [0, DRAWN, 1])
