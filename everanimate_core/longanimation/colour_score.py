"""The colour distance of a window: how far its colours lie from those of the reference and of the animation so far.

A score of our own, to tell candidates for a window apart. The paper (arXiv 2507.01945) trains with a reward for
consistent colours, of which it gives no formula. Only low frequencies count: each cell of 8 x 8 pixels has one colour,
its mean, so that lines and texture do not matter. A figure moves, so a cell is compared with the nearest colour
anywhere, not with the same place. What this cannot see: two things that swap their colours.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..errors import needed
from ..latents import SPATIAL_FACTOR

# Steps of a palette, in units of Lab: smaller ones nobody sees.
STEP = 2.0
# The VAE makes one latent of so many frames; the colours of the others are those of their neighbours.
EVERY = 4


def palette(frames: Tensor) -> Tensor:
    """The colours of frames [F, H, W, 3] in 0..1: [n, 3], float32, whole steps of CIE L*a*b*, each one once, sorted.

    Raises ImportError where OpenCV is not there.
    """
    return _colours(frames)[0]


def joined(palettes: Sequence[Tensor]) -> Tensor:
    """One palette [n, 3] of the colours of several."""
    return torch.unique(torch.cat(list(palettes)), dim=0)


def colour_distance(frames: Tensor, palettes: Sequence[Tensor]) -> float:
    """Mean over the cells of frames [F, H, W, 3] of the distance to the nearest colour, in units of Lab (ΔE 1976), and
    the mean of that over the palettes. 0: all colours are there. Raises ImportError where OpenCV is not there."""
    colours, counts = _colours(frames)
    shares = counts / counts.sum()
    nearest = [torch.cdist(colours, known).amin(dim=1) for known in palettes]
    return float(torch.stack([(shares * distance).sum() for distance in nearest]).mean()) * STEP


def _colours(frames: Tensor) -> tuple[Tensor, Tensor]:
    """The palette of every fourth frame, and how many cells have each colour."""
    cv2 = needed("cv2", "the colour distance")
    cells = avg_pool2d(frames[::EVERY].movedim(-1, 1), SPATIAL_FACTOR).movedim(1, -1).contiguous()
    lab = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2Lab) for frame in cells.numpy()])
    steps = torch.from_numpy(lab).flatten(0, 2).div(STEP).round()
    return torch.unique(steps, dim=0, return_counts=True)
