"""A decoded frame as RGB, upright and with square pixels, by what the file says of its colours and its shape."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np

# Colour matrices by their number in files, which the converter shares; it knows BT.601, with several numbers, as 5.
BT709, BT2020, BT601 = 1, 9, 5
# Colour ranges by their number in files.
LIMITED, FULL = 1, 2
# Transfer functions of high dynamic range, by their number in files.
_HDR = {16: "PQ", 18: "HLG"}
_MATRIX = "DISPLAYMATRIX"
SQUARE = Fraction(1)
Matrix = tuple[int, int, int, int]


def to_rgb(frame: av.VideoFrame, pixel_ratio: Fraction = SQUARE, matrix: Matrix | None = None) -> np.ndarray:
    """uint8 [H, W, 3], upright, pixels square.

    pixel_ratio: width of a stored pixel in units of its height. matrix: how to turn the picture, None: as it says.
    """
    colours = frame.colorspace if frame.colorspace in (BT709, BT2020) else BT601  # untagged counts as BT.601
    width, height = square_size(frame.width, frame.height, pixel_ratio)
    rgb = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace=colours,
        # RGB has no matrix, but older PyAV applies the source's only where the two differ.
        dst_colorspace=BT709 if colours == BT601 else BT601,
        # Older PyAV takes every range that is not named for limited.
        src_color_range=FULL if is_full_range(frame) else LIMITED,
        dst_color_range=FULL,
    ).to_ndarray()
    return np.ascontiguousarray(upright(rgb, matrix or display_matrix(frame)))


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether black is 0: the file says so, or its kind of pixels has no other range."""
    name = frame.format.name
    return frame.color_range == FULL or frame.format.is_rgb or name.startswith(("yuvj", "gray", "ya", "pal", "mono"))


def hdr_name(transfer: int) -> str | None:
    """The name of a transfer function (by its number in files) of high dynamic range, None for all others."""
    return _HDR.get(transfer)


def square_size(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """The size at which pixels of this ratio become square: one side grows, none shrinks."""
    if ratio > 1:
        return round(width * ratio), height
    return width, round(height / ratio)


def display_matrix(frame: av.VideoFrame) -> Matrix:
    """How the picture is to be turned: (a, b, c, d), by which a point goes to x' = a x + c y, y' = b x + d y."""
    try:
        data = frame.side_data.get(_MATRIX)
    except ValueError:  # PyAV knows not all kinds of side data, and then gives none
        data = None
    if data is None:
        turns = round(frame.rotation / 90) % 4
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turns]
    values = struct.unpack("=9i", bytes(data)[:36])
    return values[0], values[1], values[3], values[4]


def upright(picture: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Turn and mirror a picture [H, W, 3] by a display matrix, to the nearest quarter turn."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        picture, across, down = picture.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    if across < 0:
        picture = picture[:, ::-1]
    return picture[::-1] if down < 0 else picture
