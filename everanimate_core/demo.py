"""Driving material for the demo, drawn on the fly: a walking skeleton, and a reference to go with it."""

from math import pi, sin
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from .video_writer import VideoWriter

SIZE = 64
FPS = 25
# Frames of one step of the walk.
_PERIOD = 32
_THICKNESS = 2
_LIMBS = {
    "spine": (255, 170, 0),
    "left arm": (85, 255, 0),
    "right arm": (0, 255, 170),
    "left leg": (0, 85, 255),
    "right leg": (170, 0, 255),
}


# Of the pictures' size; as many frames a chunk as released, as few steps as make sense.
DEMO_SETTINGS = ("--width", str(SIZE), "--height", str(SIZE), "--steps", "4")


def write_inputs(folder: Path, seconds: float) -> tuple[Path, Path]:
    """Make `folder` with reference.png and pose.mp4, `seconds` long; the two paths. ValueError for no whole frame."""
    if not seconds * FPS >= 1:
        raise ValueError(f"demo: --seconds must be at least {1 / FPS} (60); got {seconds}.")
    folder.mkdir(parents=True, exist_ok=True)
    reference, pose = folder / "reference.png", folder / "pose.mp4"
    cv2.imwrite(str(reference), cv2.cvtColor(reference_frame(), cv2.COLOR_RGB2BGR))
    with VideoWriter(pose, FPS, SIZE, SIZE) as video:
        for number in range(round(seconds * FPS)):
            video.write(pose_frame(number))
    return reference, pose


def pose_frame(number: int) -> Tensor:
    """Frame `number` of the walk: coloured limbs on black, [1, 64, 64, 3] in 0..1."""
    swing = sin(2 * pi * number / _PERIOD)
    neck, hip = (32, 18), (32, 38)
    ends = {
        "spine": (neck, hip),
        "left arm": (neck, (32 + round(12 * swing), 34)),
        "right arm": (neck, (32 - round(12 * swing), 34)),
        "left leg": (hip, (32 - round(11 * swing), 58)),
        "right leg": (hip, (32 + round(11 * swing), 58)),
    }
    canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
    for limb, (start, end) in ends.items():
        cv2.line(canvas, start, end, _LIMBS[limb], _THICKNESS, cv2.LINE_AA)
    cv2.circle(canvas, (32, 11), 6, (255, 0, 85), _THICKNESS, cv2.LINE_AA)
    return torch.from_numpy(canvas)[None].float() / 255


def reference_frame() -> np.ndarray:
    """A figure before a wall, as the skeleton stands in frame 0: 8-bit RGB [64, 64, 3]."""
    canvas = np.full((SIZE, SIZE, 3), (150, 170, 190), np.uint8)
    cv2.rectangle(canvas, (0, 50), (SIZE, SIZE), (110, 90, 70), cv2.FILLED)
    cv2.line(canvas, (32, 18), (32, 38), (200, 60, 60), 12)
    for end in ((28, 58), (36, 58)):
        cv2.line(canvas, (32, 38), end, (50, 60, 120), 6)
    cv2.circle(canvas, (32, 11), 7, (230, 190, 160), cv2.FILLED)
    return canvas
