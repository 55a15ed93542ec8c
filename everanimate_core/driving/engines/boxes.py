"""Boxes of people, and the crops that a network is given of them."""

from dataclasses import dataclass

import cv2
import numpy as np

# How much of the surroundings a network sees: the box's sides times this (Wan2.2 pose2d_utils.py, bbox_from_detector).
MARGIN = 1.25


@dataclass(frozen=True)
class Crop:
    """A part of a frame that is scaled to width x height pixels. left, top: its corner, in pixels of the frame. step:
    how many pixels of the frame one of the crop is."""

    left: float
    top: float
    step: float
    width: int
    height: int

    @classmethod
    def of(cls, box: np.ndarray, width: int, height: int) -> "Crop":
        """Around a box [4] (left, top, right, bottom): its larger side, seen in the crop's shape, times MARGIN."""
        size = (box[2:] - box[:2]) / [width, height]
        step = MARGIN * float(size.max())
        left, top = (box[:2] + box[2:]) / 2 - step * np.array([width, height]) / 2
        return cls(float(left), float(top), step, width, height)

    def picture(self, frame: np.ndarray) -> np.ndarray:
        """The crop of a frame [H, W, 3] as [height, width, 3], black where it reaches beyond the frame."""
        matrix = np.array([[self.step, 0.0, self.left], [0.0, self.step, self.top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, matrix, (self.width, self.height), flags=flags)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] of the crop, in its pixels, in pixels of the frame."""
        return points * self.step + [self.left, self.top]


def separate(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Which of the boxes [n, 4] stay when those go that overlap a surer one (non-maximum suppression), surest first.

    overlap: from which share of both together what they have in common is too much (intersection over union).
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        first, others = order[0], order[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[others, :2])
        high = np.minimum(boxes[first, 2:], boxes[others, 2:])
        common = np.maximum(high - low, 0).prod(axis=1)
        order = others[common <= overlap * (areas[first] + areas[others] - common)]
    return np.array(kept, dtype=int)
