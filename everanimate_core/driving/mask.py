"""Where the new person replaces the driver's: the mask of the driver's person, made larger, and the frame without it.

After get_mask_body_img and get_aug_mask in Wan2.2's wan/modules/animate/preprocess/utils.py. Masks are bool, [H, W],
True (white) where the new person goes; a frame without a person has an empty one.
"""

import cv2
import numpy as np


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask with every white pixel grown to a square that reaches so many pixels to each side.

    Wan2.2 grows it by a square of 7x7 three times, which is one square of 19x19: 9 pixels.
    """
    side = 2 * pixels + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)


def in_blocks(mask: np.ndarray, cell: int) -> np.ndarray:
    """The mask in blocks, which hide the outline of the driver; an empty one stays empty.

    A grid of cells, `cell` pixels wide and high, begins at the left and top of the mask's own box; what goes beyond the
    box is cut off. A cell that the mask touches becomes white. 0 keeps the outline, and one cell, as large as the box
    or larger, is the whole box.
    Wan2.2 says instead into how many cells the box is divided, across and down (w_len, h_len), so that its cells grow
    with the person. Its default, 1 and 1, is one cell here.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if cell == 0 or len(rows) == 0:
        return mask
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    height, width = mask[box].shape
    touched = np.logical_or.reduceat(mask[box], np.arange(0, height, cell), axis=0)
    touched = np.logical_or.reduceat(touched, np.arange(0, width, cell), axis=1)
    result = np.zeros_like(mask)
    result[box] = touched[np.ix_(np.arange(height) // cell, np.arange(width) // cell)]
    return result


def around(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """A mask of width x height pixels for somebody of whom only points [n, 2] are known: their box, an eighth larger on
    each side."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = (high - low) / 8
    left, top = np.maximum(np.floor(low - margin), 0).astype(int)
    right, bottom = np.maximum(np.ceil(high + margin) + 1, 0).astype(int)
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def without_person(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The background: the frame [H, W, 3] uint8, black exactly where the mask is white."""
    return np.where(mask[..., None], 0, frame).astype(np.uint8)
