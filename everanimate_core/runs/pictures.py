"""Pictures that show at a glance how a run is going: a contact sheet with a frame of each chunk, and the drift curve.

Drawn anew after each chunk, from thumbnails that the caller keeps: what they need does not grow with the frames.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from os import PathLike
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import needed
from ..files import write_whole

# The longer side of a thumbnail, and the longest of a sheet, in pixels.
THUMBNAIL, LARGEST = 160, 2000
# Between thumbnails, and the strip below each that holds its label.
GAP, LABEL = 4, 16
BACKGROUND, TEXT = (24, 24, 24), (230, 230, 230)
# The curve: its size, and where in it the lowest value of the first chunk and the highest of the last one stand.
WIDTH, HEIGHT = 960, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 940, 40, 270
PAPER, GRID, INK, CURVE = (255, 255, 255), (225, 225, 225), (60, 60, 60), (31, 119, 180)
# Steps of an axis and the tops that they fit, as multiples of a power of ten.
_STEPS = {1: 0.2, 2: 0.5, 5: 1.0}
_MOST_NUMBERS = 15
_FONT_SCALE = 0.4


def thumbnail(frame: Tensor) -> np.ndarray:
    """A frame [H, W, 3] in 0..1 as a small picture [h, w, 3], uint8, its longer side THUMBNAIL pixels or less."""
    height, width = frame.shape[:2]
    small = _resized(frame.float().cpu().numpy(), *_fitted(width, height, THUMBNAIL, THUMBNAIL))
    return np.round(small.clip(0, 1) * 255).astype(np.uint8)


def contact_sheet(thumbnails: Sequence[np.ndarray], labels: Sequence[str]) -> np.ndarray:
    """Thumbnails [h, w, 3], uint8, all of one size, row by row, each with a label below: [H, W, 3], uint8.

    There are as few columns as make it no higher than wide, and no side is longer than LARGEST: many are drawn smaller.
    labels: of ASCII; one that is wider than its thumbnail is left out. Raises ImportError where OpenCV is not there.
    """
    height, width = thumbnails[0].shape[:2]
    columns, width, height = _layout(len(thumbnails), width, height)
    rows = ceil(len(thumbnails) / columns)
    sheet = np.full((*_sheet_size(columns, rows, width, height)[::-1], 3), BACKGROUND, np.uint8)
    for number, (picture, label) in enumerate(zip(thumbnails, labels, strict=True)):
        row, column = divmod(number, columns)
        x, y = GAP + column * (width + GAP), GAP + row * (height + LABEL + GAP)
        sheet[y : y + height, x : x + width] = _resized(picture, width, height)
        if _text_size(label)[0] <= width:
            _write(sheet, label, x, y + height + LABEL - GAP, TEXT)
    return sheet


def curve_picture(values: Sequence[float | None], title: str) -> np.ndarray:
    """What was measured of each chunk over its number, which counts from 0: [HEIGHT, WIDTH, 3], uint8.

    None, for a chunk of which it is unknown, is a gap. title: of ASCII. Raises ImportError where OpenCV is not there.
    """
    cv2 = needed("cv2", "the curve of a run")
    picture = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
    last = max(len(values) - 1, 1)
    top, step = _axis(max((value for value in values if value is not None), default=0.0))
    for number in range(round(top / step) + 1):
        _, y = _point(0, number * step, last, top)
        cv2.line(picture, (LEFT, y), (RIGHT, y), GRID)
        text = f"{number * step:g}"
        _write(picture, text, LEFT - 8 - _text_size(text)[0], y + 4, INK)
    for number in range(0, len(values), _every(last)):
        x, _ = _point(number, 0.0, last, top)
        cv2.line(picture, (x, BOTTOM), (x, BOTTOM + 4), INK)
        text = str(number)
        _write(picture, text, x - _text_size(text)[0] // 2, BOTTOM + 20, INK)
    _write(picture, title, LEFT, TOP - 16, INK)
    _write(picture, "chunk, counted from 0", LEFT, HEIGHT - 12, INK)
    points = [None if value is None else _point(number, value, last, top) for number, value in enumerate(values)]
    for one, other in pairwise(points):
        if one and other:
            cv2.line(picture, one, other, CURVE, 2, cv2.LINE_AA)
    for point in filter(None, points):
        cv2.circle(picture, point, 2, CURVE, cv2.FILLED)
    return picture


def write_picture(picture: np.ndarray, path: str | PathLike, check: Callable[[], object] = lambda: None) -> None:
    """Write a picture [H, W, 3], uint8, whole or not at all, as what `path` ends in: .jpg or .png.

    check: see `write_whole`. Raises OSError where it cannot be written, ImportError where OpenCV is not there.
    """
    cv2, path = needed("cv2", "a picture of a run"), Path(path)
    _, content = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    # Not by OpenCV itself: on Windows it cannot write names that are not ASCII.
    with write_whole(path, check) as part:
        part.write_bytes(content.tobytes())


def _layout(count: int, width: int, height: int) -> tuple[int, int, int]:
    """How many columns, and the width and height of each of `count` thumbnails, which are this large or smaller."""
    for columns in range(1, count + 1):
        room = (LARGEST - GAP) // columns - GAP
        small = _fitted(width, height, room, height)
        across, down = _sheet_size(columns, ceil(count / columns), *small)
        if down <= min(across, LARGEST):
            break
    return columns, *small


def _sheet_size(columns: int, rows: int, width: int, height: int) -> tuple[int, int]:
    """Width and height of a sheet of thumbnails of this size."""
    return columns * (width + GAP) + GAP, rows * (height + LABEL + GAP) + GAP


def _fitted(width: int, height: int, most_width: int, most_height: int) -> tuple[int, int]:
    """The largest size of this shape that fits, never larger than it is."""
    scale = min(1.0, most_width / width, most_height / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    cv2 = needed("cv2", "a contact sheet")
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _axis(highest: float) -> tuple[float, float]:
    """The top of an axis from 0 that has room for `highest`, and the step of its lines; 1 where that is 0."""
    if not highest:
        return 1.0, 0.2
    power = 10.0 ** floor(log10(highest))
    top = next((top for top in _STEPS if top * power >= highest), None)
    if top is None:
        top, power = 1, 10 * power
    return top * power, _STEPS[top] * power


def _every(last: int) -> int:
    """The step between the numbers below an axis that ends at `last`."""
    steps = (step * 10**power for power in range(9) for step in (1, 2, 5))
    return next(step for step in steps if last / step <= _MOST_NUMBERS)


def _point(number: int, value: float, last: int, top: float) -> tuple[int, int]:
    """Where in the curve a value stands: (x, y) in pixels."""
    return round(LEFT + (RIGHT - LEFT) * number / last), round(BOTTOM - (BOTTOM - TOP) * value / top)


def _text_size(text: str) -> tuple[int, int]:
    cv2 = needed("cv2", "a picture of a run")
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _FONT_SCALE, 1)[0]


def _write(picture: np.ndarray, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Write text into a picture, its lower left corner at (x, y)."""
    cv2 = needed("cv2", "a picture of a run")
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, _FONT_SCALE, colour, 1, cv2.LINE_AA)
