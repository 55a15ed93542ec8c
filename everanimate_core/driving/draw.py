"""The pose picture that Wan-Animate was trained on: body, head, feet and hands of one person on black.

After draw_aapose_new in Wan2.2's wan/modules/animate/preprocess/human_visualization.py, in its style "v2".
"""

from colorsys import hsv_to_rgb
from math import atan2, degrees, sqrt

import cv2
import numpy as np

from .keypoints import DRAWN
from .pose import COLOURS, LIMB_BRIGHTNESS, LIMBS, Pose

# The four bones of each finger, from the wrist to the tip, and their colours once round the hues.
BONES = tuple(
    bone
    for tip in (4, 8, 12, 16, 20)
    for bone in ((0, tip - 3), (tip - 3, tip - 2), (tip - 2, tip - 1), (tip - 1, tip))
)
BONE_COLOURS = [[255 * channel for channel in hsv_to_rgb(number / len(BONES), 1, 1)] for number in range(len(BONES))]
HAND_DOT = (0, 0, 255)


def half_widths(width: int, height: int) -> tuple[int, int]:
    """Of the body and of the hands, in pixels, on a picture of this size.

    Of the body: half the breadth of a limb and the radius of a joint. Of the hands: the breadth of a line and the
    radius of a dot.
    """
    body = max(min(width, height) // 200 - 1, 1)
    return body, max(body // 2, 1)


def draw_pose(pose: Pose, frame: int) -> np.ndarray:
    """The picture of one frame, counted from 0: [height, width, 3], RGB, uint8.

    A point is drawn where its score is DRAWN or more, and may lie outside of the picture. All points missing: black.
    The pose must be in pixels of the final size: a picture that is scaled afterwards has lines of another width.
    """
    body_width, hand_width = half_widths(pose.width, pose.height)
    picture = np.zeros((pose.height, pose.width, 3), np.uint8)
    _draw_body(picture, pose.joints[frame], pose.joint_scores[frame] >= DRAWN, body_width)
    _draw_hand(picture, pose.left_hand[frame], pose.left_scores[frame] >= DRAWN, hand_width)
    _draw_hand(picture, pose.right_hand[frame], pose.right_scores[frame] >= DRAWN, hand_width)
    return picture


def _draw_body(picture: np.ndarray, joints: np.ndarray, seen: np.ndarray, half_width: int) -> None:
    # The last colour is that of a joint alone.
    for (start, end), colour in zip(LIMBS, COLOURS, strict=False):
        if seen[start] and seen[end]:
            _draw_limb(picture, joints[start], joints[end], half_width, colour)
    for joint, there, colour in zip(joints, seen, COLOURS, strict=True):
        if there:
            cv2.circle(picture, _pixel(joint), half_width, colour, cv2.FILLED)


def _draw_limb(picture: np.ndarray, start: np.ndarray, end: np.ndarray, half_width: int, colour: tuple) -> None:
    """A filled ellipse from joint to joint; its angle is in whole degrees."""
    x, y = (start - end).tolist()
    axes = int(sqrt(x * x + y * y) / 2), half_width
    outline = cv2.ellipse2Poly(_pixel((start + end) / 2), axes, int(degrees(atan2(y, x))), 0, 360, 1)
    cv2.fillConvexPoly(picture, np.array(outline), [int(LIMB_BRIGHTNESS * channel) for channel in colour])


def _draw_hand(picture: np.ndarray, hand: np.ndarray, seen: np.ndarray, width: int) -> None:
    pixels = [_pixel(point) for point in hand]
    # As in the authors' drawing: a hand has no point in the first column or row, or beyond; a body may.
    drawn = [there and min(pixel) > 0 for there, pixel in zip(seen, pixels, strict=True)]
    for (start, end), colour in zip(BONES, BONE_COLOURS, strict=True):
        if drawn[start] and drawn[end]:
            cv2.line(picture, pixels[start], pixels[end], colour, width)
    for pixel, there in zip(pixels, drawn, strict=True):
        if there:
            cv2.circle(picture, pixel, width, HAND_DOT, cv2.FILLED)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    """Whole pixels: fractions are cut off, towards 0, as in the authors' drawing."""
    return int(point[0]), int(point[1])
