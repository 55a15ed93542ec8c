"""The face video: where the face, or what is seen of the head, lies in every frame of a clip, and that part as 512x512.

After get_face_bboxes in Wan2.2's wan/modules/animate/preprocess/utils.py. That takes a face to be there in every frame;
what happens here where none is found is our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import sqrt

import cv2
import numpy as np

from .cuts import shots
from .keypoints import DRAWN, FACE, Keypoints
from .smooth import MAX_GAP, RATE

# The network's motion encoder reads pictures of this size.
FACE_SIZE = 512
# Width and height of the box, by those of the face's points.
_ENLARGED = sqrt(1.3)
# Of the face's 68 points, how many have to be there: below this, their limits say little about the face.
_ENOUGH = 34
_HEAD, _SHOULDERS, _HIPS = slice(0, 5), slice(5, 7), slice(11, 13)
# Shoulder width by the distance from the neck to the middle of the hips.
_SHOULDERS_BY_TORSO = 0.7
# For clips that never show a face together with the body: about the medians over five videos of dancers. The size of a
# box is the square root of its area. Size by shoulder width, width by height, and the centre of the box as seen from
# the mean of the head's points and from the neck, in sizes, y downwards.
_SIZE, _SHAPE, _FROM_HEAD, _FROM_NECK = 0.5, 1.05, (0.0, 0.13), (0.0, -0.8)


@dataclass(frozen=True)
class Faces:
    """Where to look for the face in every frame of a clip.

    boxes: [N, 4] int64, left, top, right and bottom in pixels, the last two exclusive; all 0 where there is no head.
    visible: [N] bool, whether the face itself is among the keypoints and in the picture.
    """

    boxes: np.ndarray
    visible: np.ndarray


def find_faces(keypoints: Keypoints, fps: Fraction | float, cuts: Sequence[int] = (), max_gap: int = MAX_GAP) -> Faces:
    """The face of a person in every frame of a clip of `fps` frames a second, also where it is turned away.

    max_gap: frames (at 30 a second) without a face, up to which its box goes evenly from that before to that after.
    Over longer gaps, and at the ends of a shot, the box lies where the head does; without a point of the head or both
    shoulders there is none. cuts: numbers of the frames with which a new shot begins; nothing goes on across them.
    Points and boxes are those of the driver's own frames, before any change of size.
    """
    points, there = keypoints.points[:, FACE], keypoints.scores[:, FACE] >= DRAWN
    visible = there.sum(axis=1) >= _ENOUGH
    boxes = np.full((len(points), 4), np.nan)
    boxes[visible] = face_boxes(points[visible], there[visible])
    heads, longest = head_boxes(keypoints, boxes), round(max_gap * float(fps) / RATE)
    for shot in shots(cuts, len(boxes)):
        boxes[shot] = steady(without_gaps(boxes[shot], heads[shot], longest))
    boxes = pixel_boxes(boxes, keypoints.width, keypoints.height)
    # A face can also be found beyond the edge of the picture.
    return Faces(boxes, visible & boxes.any(axis=1))


def face_boxes(points: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The boxes of faces: left, top, right, bottom, [N, 4], in parts of a pixel, not clamped to any picture.

    points: [N, 68, 2] in pixels, of which those count that are there ([N, 68], at least one a face). Their limits are
    enlarged by sqrt(1.3), three quarters of the extra height above and one below. A face is at least a pixel large.
    """
    low = np.where(there[..., None], points, np.inf).min(axis=1)
    high = np.where(there[..., None], points, -np.inf).max(axis=1)
    size = np.maximum(high - low, 1)
    low = (low + high - size) / 2
    extra = size * (_ENLARGED - 1)
    left_top = low - extra * (1 / 2, 3 / 4)
    return np.concatenate([left_top, left_top + size + extra], axis=1)


def head_boxes(keypoints: Keypoints, faces: np.ndarray) -> np.ndarray:
    """Where boxes of faces would be, by the rest of the body: [N, 4], NaN in frames without a head or both shoulders.

    faces: [N, 4], the boxes of the faces that were found, else NaN. They tell, as medians over the clip, how large
    a box is for the body and where it lies: by the points of the head (nose, eyes, ears), else by the neck.
    """
    points, there = keypoints.points, keypoints.scores >= DRAWN
    head, neck = _mean(points[:, _HEAD], there[:, _HEAD], 1), _mean(points[:, _SHOULDERS], there[:, _SHOULDERS], 2)
    centre, (width, height) = (faces[:, :2] + faces[:, 2:]) / 2, (faces[:, 2:] - faces[:, :2]).T
    size, body = np.sqrt(width * height), shoulder_width(keypoints)
    shape = sqrt(_median(width / height, _SHAPE))
    size = np.where(np.isnan(size), body * _median(size / body, _SIZE), size)
    known = np.flatnonzero(~np.isnan(size))
    if len(known):
        # A head without shoulders is about as large as before and after.
        size = np.interp(np.arange(len(size)), known, size[known])
    size = size[:, None]
    by_head = head + size * _median((centre - head) / size, _FROM_HEAD)
    by_neck = neck + size * _median((centre - neck) / size, _FROM_NECK)
    middle = np.where(np.isnan(head), by_neck, by_head)
    half = size * (shape / 2, 1 / shape / 2)
    return np.concatenate([middle - half, middle + half], axis=1)


def shoulder_width(keypoints: Keypoints) -> np.ndarray:
    """How wide the shoulders are in every frame when they face the camera, in pixels, [N]; NaN where one is missing.

    Seen from the side the shoulders lie behind each other: there the length of the torso tells it.
    """
    points, there = keypoints.points, keypoints.scores >= DRAWN
    shoulders, hips = points[:, _SHOULDERS], points[:, _HIPS]
    across = np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1)
    torso = np.linalg.norm(shoulders.mean(axis=1) - hips.mean(axis=1), axis=1) * there[:, _HIPS].all(axis=1)
    width = np.maximum(across, _SHOULDERS_BY_TORSO * torso)
    return np.where(there[:, _SHOULDERS].all(axis=1) & (width > 0), width, np.nan)


def without_gaps(boxes: np.ndarray, heads: np.ndarray, max_gap: int) -> np.ndarray:
    """The boxes [N, 4] of a shot, gaps (NaN) of up to max_gap frames filled evenly, all others with `heads` [N, 4]."""
    missing = np.isnan(boxes[:, 0])
    result = np.where(missing[:, None], heads, boxes)
    for before, after in pairwise(np.flatnonzero(~missing)):
        if after - before <= max_gap + 1:
            share = np.arange(after - before)[:, None] / (after - before)
            result[before:after] = (1 - share) * boxes[before] + share * boxes[after]
    return result


def steady(boxes: np.ndarray) -> np.ndarray:
    """The boxes [N, 4] of a shot (NaN: none), each averaged with its neighbours by 1:2:1, twice; the ends stay.

    A pixel at the edge of a face of 50 pixels is ten in the face video, so the noise of single points would shake the
    whole face. This leaves a quarter of the change that noise makes from frame to frame. An even motion stays as it is,
    and one that speeds up by a pixel a frame is half a pixel off. Wider averages would cut into a face that moves fast:
    the space at its sides is 7 % of its width.
    """
    result = boxes.copy()
    for _ in range(2):
        between = (result[:-2] + 2 * result[1:-1] + result[2:]) / 4
        result[1:-1] = np.where(np.isnan(between), result[1:-1], between)
    return result


def pixel_boxes(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Boxes [N, 4] in whole pixels, int64, clamped to the picture; all 0 for NaN and where nothing of it is inside."""
    inside = np.clip(np.nan_to_num(boxes), 0, (width, height, width, height)).astype(np.int64)
    return np.where((inside[:, :2] < inside[:, 2:]).all(axis=1, keepdims=True), inside, 0)


def face_picture(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What a frame [H, W, 3] uint8 shows within a box of `Faces`, stretched to [512, 512, 3]; black for an empty box.

    To the network, black is "no face".
    """
    left, top, right, bottom = box
    if left == right:
        return np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8)
    return cv2.resize(frame[top:bottom, left:right], (FACE_SIZE, FACE_SIZE))


def _mean(points: np.ndarray, there: np.ndarray, least: int) -> np.ndarray:
    """The mean of those of points [N, n, 2] that are there ([N, n]): [N, 2], NaN where they are fewer than `least`."""
    count = there.sum(axis=1, keepdims=True)
    return np.where(count >= least, (points * there[..., None]).sum(axis=1) / np.maximum(count, 1), np.nan)


def _median(values: np.ndarray, otherwise: float | tuple[float, float]) -> np.ndarray:
    """The median over the frames in which values [N] or [N, 2] are known, not NaN; `otherwise` where there is none."""
    known = values[~np.isnan(values.reshape(len(values), -1)).any(axis=1)]
    return np.median(known, axis=0) if len(known) else np.array(otherwise)
