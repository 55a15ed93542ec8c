"""Pose maps in the OpenPose style that Wan-Animate is driven by: coloured limbs and joints on black."""

import torch
from torch import Tensor

from ...driving.pose import COLOURS, LIMB_BRIGHTNESS
from .raster import SIZE, capsule, column, coverage, paint
from .skeleton import KEYPOINTS

LIMB_RADIUS, JOINT_RADIUS = 1.1, 1.5
# Pairs of keypoints in the order in which they are drawn; limb i has the colour of joint i, darkened.
LIMBS = (
    *(("neck", f"shoulder {side}") for side in ("right", "left")),
    ("shoulder right", "elbow right"),
    ("elbow right", "wrist right"),
    ("shoulder left", "elbow left"),
    ("elbow left", "wrist left"),
    ("neck", "hip right"),
    ("hip right", "knee right"),
    ("knee right", "ankle right"),
    ("neck", "hip left"),
    ("hip left", "knee left"),
    ("knee left", "ankle left"),
    ("neck", "nose"),
    ("nose", "eye right"),
    ("eye right", "ear right"),
    ("nose", "eye left"),
    ("eye left", "ear left"),
)


def draw_pose(points: Tensor, found: Tensor) -> Tensor:
    """Pose maps [n, 64, 64, 3] in 0..1 of keypoints [n, 18 or more, 2 or 3] (x, y in pixels); found: bool [n, 18]."""
    canvas = torch.zeros(len(points), 3, SIZE, SIZE)
    colours = torch.tensor(COLOURS[: len(KEYPOINTS)]) / 255
    # A limb is drawn where both of its ends are found.
    parts = [(*pair, LIMB_RADIUS, hue * LIMB_BRIGHTNESS) for pair, hue in zip(LIMBS, colours, strict=False)]
    parts += [(name, name, JOINT_RADIUS, hue) for name, hue in zip(KEYPOINTS, colours, strict=True)]
    for start, end, radius, hue in parts:
        first, second = KEYPOINTS.index(start), KEYPOINTS.index(end)
        shown = found[:, first] & found[:, second]
        if shown.any():
            squared, _ = capsule(points[:, first], points[:, second])
            paint(canvas, coverage(squared, radius) * column(shown), hue)
    return canvas.movedim(1, -1).contiguous()
