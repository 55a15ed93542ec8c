"""The picture behind the figure: a wall with a soft texture, things on it, and a floor."""

from collections.abc import Sequence
from colorsys import hsv_to_rgb
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .raster import PIXEL_X, PIXEL_Y, SIZE, blend, coverage, edge, paint, rim, smooth_step

# Pixels that a camera which pans moves to the right in a frame.
PAN = 0.12


class Backdrop:
    """What a camera sees behind the figure: one picture, or, as it pans, that and its mirror image by turns."""

    def __init__(self, random: Random, pans: bool):
        self.picture, self.lines = background(random)
        self.pans = pans

    def seen(self, indices: Sequence[int]) -> Tensor:
        """[n, 3, 64, 64] in 0..1, a copy: what is behind the figure in these frames."""
        return self._views(self.picture, indices)

    def lines_seen(self, indices: Sequence[int]) -> Tensor:
        """[n, 1, 64, 64], a copy: the lines of that, 1 = line."""
        return self._views(self.lines, indices)

    def _views(self, picture: Tensor, indices: Sequence[int]) -> Tensor:
        if not self.pans:
            return picture.expand(len(indices), -1, -1, -1).clone()
        round_about = torch.cat([picture, picture.flip(2)], dim=2)
        views = []
        for index in indices:
            whole, part = divmod(PAN * index % (2 * SIZE), 1.0)
            columns = (torch.arange(SIZE + 1) + int(whole)) % (2 * SIZE)
            seen = round_about[:, :, columns]
            views.append(seen[:, :, :-1] + (seen[:, :, 1:] - seen[:, :, :-1]) * part)
        return torch.stack(views)


def colour(random: Random, saturation: tuple[float, float], value: tuple[float, float]) -> Tensor:
    """A random colour, RGB [3] in 0..1, of any hue, with saturation and value in those ranges."""
    return torch.tensor(hsv_to_rgb(random.random(), random.uniform(*saturation), random.uniform(*value)))


def _noise(random: Random, cells: int) -> Tensor:
    """Smooth noise [3, 64, 64] in about -1..1."""
    grid = torch.tensor([random.uniform(-1, 1) for _ in range(3 * cells * cells)]).view(1, 3, cells, cells)
    return interpolate(grid, (SIZE, SIZE), mode="bicubic", align_corners=True)[0]


def background(random: Random) -> tuple[Tensor, Tensor]:
    """A picture [3, 64, 64] in 0..1 whose texture carries on behind the figure, and its lines [1, 64, 64].

    Lines stand along the rims of what is on the wall, along the horizon, and between the tiles of the floor.
    """
    wall = colour(random, (0.15, 0.5), (0.45, 0.8)).view(1, 3, 1, 1)
    picture, lines = wall + 0.1 * _noise(random, 4) + 0.04 * _noise(random, 8), torch.zeros(1, 1, SIZE, SIZE)
    for _ in range(4):
        for alpha, pigment in _thing(random):
            _lay(picture, lines, alpha, pigment)
    horizon = random.uniform(46, 52)
    floor = colour(random, (0.2, 0.6), (0.3, 0.6))
    width, slant = random.uniform(8, 16), random.uniform(-0.8, 0.8)
    tiles = ((PIXEL_X + slant * PIXEL_Y) / width).remainder(1)
    stripes = smooth_step((tiles - 0.5).abs() - 0.25, width / 2)
    below = smooth_step(PIXEL_Y - horizon, 1.0).expand(1, SIZE, SIZE)
    _lay(picture, lines, below, blend(floor, floor * 0.85, stripes))
    lines = torch.maximum(lines, (edge(stripes) * below)[:, None])
    return picture[0].clamp(0, 1), lines[0]


def _lay(picture: Tensor, lines: Tensor, alpha: Tensor, pigment: Tensor) -> None:
    """Paint a layer over picture [1, 3, 64, 64], and its rim over the lines [1, 1, 64, 64], in place."""
    paint(picture, alpha, pigment)
    lines.mul_(1 - alpha[:, None]).add_(rim(alpha)[:, None]).clamp_(max=1)


def _thing(random: Random) -> list[tuple[Tensor, Tensor]]:
    """A rectangle or a disc on the wall, as what it covers [1, 64, 64] and its colour: a darker frame, the inside."""
    x, y = random.uniform(4, 60), random.uniform(4, 44)
    inside = colour(random, (0.2, 0.6), (0.4, 0.85))
    frame = inside * random.uniform(0.6, 0.8)
    width, height = random.uniform(3, 8), random.uniform(3, 8)
    if random.random() < 0.5:
        off_x, off_y = (PIXEL_X - x).abs() - width, (PIXEL_Y - y).abs() - height
        distance = torch.maximum(off_x, off_y)
        outer, inner = smooth_step(-distance, 1.0), smooth_step(-distance - 2, 1.0)
    else:
        squared = (PIXEL_X - x).square() + (PIXEL_Y - y).square()
        outer, inner = coverage(squared, width), coverage(squared, width - 2)
    return [(outer, frame), (inner, inside)]
