"""Anti-aliased drawing of batches of small pictures with signed distances.

Every operation is elementwise and exactly rounded, so that a frame comes out bit for bit the same whatever batch it is
drawn in.
"""

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

SIZE = 64
# Pixel centres: a row for x, a column for y, so that sums of both broadcast to the picture.
_CENTRES = torch.arange(SIZE, dtype=torch.float32) + 0.5
PIXEL_X, PIXEL_Y = _CENTRES.view(1, 1, SIZE), _CENTRES.view(1, SIZE, 1)


def column(values: Tensor) -> Tensor:
    """One number per picture, [n], shaped to broadcast over pictures [n, 64, 64]."""
    return values.view(-1, 1, 1)


def capsule(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance to a line segment and the nearest position along it.

    start, end: [n, 2] or more columns, x and y in pixels. Returns two [n, 64, 64]: the squared distance of every pixel
    in pixels^2, and 0 at `start` to 1 at `end`. The ends may coincide.
    """
    to_x, to_y = PIXEL_X - column(start[:, 0]), PIXEL_Y - column(start[:, 1])
    along_x, along_y = column(end[:, 0] - start[:, 0]), column(end[:, 1] - start[:, 1])
    length = (along_x * along_x + along_y * along_y).clamp(min=1e-6)
    position = (to_x * (along_x / length) + to_y * (along_y / length)).clamp_(0, 1)
    off_x = to_x - position * along_x
    off_y = to_y - position * along_y
    return off_x.mul_(off_x).add_(off_y.mul_(off_y)), position


def coverage(squared: Tensor, radius: float | Tensor) -> Tensor:
    """How much of each pixel a disc or capsule of `radius` covers, 0..1, with an edge one pixel wide."""
    return (radius + 0.5 - squared.sqrt()).clamp_(0, 1)


def smooth_step(value: Tensor, sharpness: float) -> Tensor:
    """0 where `value` is well below zero, 1 well above, a ramp of width 1 / sharpness between."""
    return (value * sharpness + 0.5).clamp_(0, 1)


def edge(share: Tensor) -> Tensor:
    """The line where a share [n, 64, 64] passes one half by a slope of pixels: 1 on it, 0 below 0.1 and above 0.9."""
    return (2 - (5 * share - 2.5).abs()).clamp_(0, 1)


def rim(alpha: Tensor) -> Tensor:
    """The line around what alpha [n, 64, 64] covers, 0..1; a pixel wide around sharp borders, two around soft ones."""
    return max_pool2d(alpha[:, None], 3, stride=1, padding=1)[:, 0] - alpha


def paint(canvas: Tensor, alpha: Tensor, colour: Tensor) -> None:
    """Lay `colour` ([3], or [n, 3, 64, 64]) over canvas [n, 3, 64, 64] in place, by alpha [n, 64, 64]."""
    if colour.ndim == 1:
        colour = colour.view(1, 3, 1, 1)
    canvas += (colour - canvas).mul_(alpha[:, None])


def blend(one: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """Colours [3] or [n, 3, 64, 64] mixed pixel by pixel: weight [n, 64, 64] is the share of `other`."""
    one, other = (value.view(1, 3, 1, 1) if value.ndim == 1 else value for value in (one, other))
    return one + (other - one) * weight[:, None]
