"""What detectors and pose networks in ONNX files say, as boxes and points: YOLOv10, YOLOX, heatmaps and SimCC.

NumPy only. All results are in pixels of the network's own picture.
"""

import numpy as np

from .boxes import separate

PERSON = 0
# Of OpenCV's Gaussian of 11 cells, which is what the heatmaps are blurred with: its sigma is 2.
_REACH, _SIGMA = 5, 2.0
# The derivatives need two cells on every side of the maximum.
_NEAR = 2


def yolov10(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """People's boxes [n, 4] and scores [n], surest first. rows: [300, 6], left, top, right, bottom, score, class."""
    rows = rows[(rows[:, 5] == PERSON) & (rows[:, 4] >= 0.05)]
    kept = separate(rows[:, :4], rows[:, 4], 0.5)
    return rows[kept, :4], rows[kept, 4]


def yolox(rows: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """People's boxes [n, 4] and scores [n], surest first, in a picture of width x height pixels.

    rows: [n, 85], one for each cell of the grids of 8, 16 and 32 pixels: the centre, as an offset to the cell, the
    logarithms of the size, both in cells, then the score of any object and of each of 80 classes.
    """
    corners, steps = [], []
    for step in (8, 16, 32):
        y, x = np.mgrid[: height // step, : width // step]
        corners.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        steps.append(np.full((x.size, 1), step))
    cell, step_of = np.concatenate(corners), np.concatenate(steps)
    scores = rows[:, 4] * rows[:, 5 + PERSON]
    found = scores > 0.3
    centres = (rows[found, :2] + cell[found]) * step_of[found]
    half = np.exp(rows[found, 2:4]) * step_of[found] / 2
    boxes, scores = np.concatenate([centres - half, centres + half], axis=1), scores[found]
    kept = separate(boxes, scores, 0.45)
    return boxes[kept], scores[kept]


def simcc(across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [K, 2] and scores [K]. across: [K, 2 W], down: [K, 2 H], how likely each half pixel of both axes is."""
    points = np.stack([across.argmax(axis=1), down.argmax(axis=1)], axis=1) / 2
    return points, np.minimum(across.max(axis=1), down.max(axis=1))


def heatmaps(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [K, 2], in cells, and scores [K] from maps [K, h, w]: the maxima, moved to those of a Gaussian.

    This is DARK (arXiv 1910.06278), as Wan2.2 has it (pose2d_utils.py, keypoints_from_heatmaps): the map is blurred and
    its logarithm, near the maximum a parabola, followed to the parabola's top. Maxima in the two outer rows of cells
    stay, and those that are no tops.
    """
    count, height, width = maps.shape
    y, x = np.divmod(maps.reshape(count, -1).argmax(axis=1), width)
    moved = (x >= _NEAR) & (x < width - _NEAR) & (y >= _NEAR) & (y < height - _NEAR)
    steps, tops = _to_top(np.log(np.maximum(_blurred_near(maps, x, y), 1e-10)))
    points = np.stack([x, y], axis=1) + np.where((moved & tops)[:, None], steps, 0.0)
    return points, maps[np.arange(count), y, x]


def _blurred_near(maps: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[K, 5, 5]: the blurred maps [K, h, w] around the cells x, y [K]; they count as zero beyond their edges."""
    reach = _NEAR + _REACH
    padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))
    rows, columns = np.mgrid[: 2 * reach + 1, : 2 * reach + 1]
    rows, columns = y[:, None, None] + rows, x[:, None, None] + columns
    near = padded[np.arange(len(maps))[:, None, None], rows, columns].astype(np.float64)
    weights = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / _SIGMA) ** 2)
    blur = np.stack([np.pad(weights, (shift, 2 * _NEAR - shift)) for shift in range(2 * _NEAR + 1)])
    blur /= weights.sum()
    return blur @ near @ blur.T


def _to_top(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From the middle of [K, 5, 5] to the top of the parabola through it: [K, 2], and whether there is one, [K]."""
    left, right, above, below = logs[:, 2, 1], logs[:, 2, 3], logs[:, 1, 2], logs[:, 3, 2]
    dx, dy = (right - left) / 2, (below - above) / 2
    dxx = (logs[:, 2, 4] - 2 * logs[:, 2, 2] + logs[:, 2, 0]) / 4
    dyy = (logs[:, 4, 2] - 2 * logs[:, 2, 2] + logs[:, 0, 2]) / 4
    dxy = (logs[:, 3, 3] - logs[:, 1, 3] - logs[:, 3, 1] + logs[:, 1, 1]) / 4
    determinant = dxx * dyy - dxy**2
    tops = (dxx < 0) & (determinant > 0)
    divisor = np.where(tops, determinant, 1.0)
    return np.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=1) / divisor[:, None], tops
