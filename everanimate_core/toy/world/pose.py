"""Pose maps in the OpenPose style that Wan-Animate is driven by: coloured limbs and joints on black."""

import torch
from torch import Tensor

from ...driving.pose import COLOURS, LIMB_BRIGHTNESS
from ...driving.pose import LIMBS as ALL_LIMBS
from .raster import SIZE, capsule, column, coverage, paint
from .skeleton import KEYPOINTS

LIMB_RADIUS, JOINT_RADIUS = 1.1, 1.5
# Pairs of keypoints as they are drawn, one after the other; limb i has the colour of joint i, darkened. No toes.
LIMBS = [limb for limb in ALL_LIMBS if max(limb) < len(KEYPOINTS)]


def draw_pose(points: Tensor, found: Tensor) -> Tensor:
    """Pose maps [n, 64, 64, 3] in 0..1 of keypoints [n, 18 or more, 2 or 3] (x, y in pixels); found: bool [n, 18]."""
    canvas = torch.zeros(len(points), 3, SIZE, SIZE)
    colours = torch.tensor(COLOURS[: len(KEYPOINTS)]) / 255
    # A limb is drawn where both of its ends are found.
    parts = [(*ends, LIMB_RADIUS, hue * LIMB_BRIGHTNESS) for ends, hue in zip(LIMBS, colours, strict=False)]
    parts += [(joint, joint, JOINT_RADIUS, hue) for joint, hue in enumerate(colours)]
    for first, second, radius, hue in parts:
        shown = found[:, first] & found[:, second]
        if shown.any():
            squared, _ = capsule(points[:, first], points[:, second])
            paint(canvas, coverage(squared, radius) * column(shown), hue)
    return canvas.movedim(1, -1).contiguous()
