"""The colour distance of a window: how far its colours lie from those of the reference and of the animation so far.

A score of our own, to tell candidates for a window apart. The paper (arXiv 2507.01945) trains with a reward for
consistent colours, of which it gives no formula. Only low frequencies count: each cell of 8 x 8 pixels has one colour,
its mean, so that lines and texture do not matter. A figure moves, so colours are not compared place by place: what
counts is how much there is of each. What this cannot see: two things of one size that swap their colours.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..errors import needed
from ..latents import SPATIAL_FACTOR

# Of L, a and b of CIE L*a*b*, each from -LIMIT to LIMIT in steps of 1; L uses the upper half.
CHANNELS, LIMIT = 3, 128
# The VAE makes one latent of so many frames; the colours of the others are those of their neighbours.
EVERY = 4


def colour_shares(frames: Tensor) -> Tensor:
    """How much there is of each L, a and b in frames [F, H, W, 3] in 0..1: shares of all cells, [3, 2 LIMIT], float32.

    Raises ImportError where OpenCV is not there.
    """
    cv2 = needed("cv2", "the colour distance")
    cells = avg_pool2d(frames[::EVERY].movedim(-1, 1), SPATIAL_FACTOR).movedim(1, -1).contiguous()
    lab = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2Lab) for frame in cells.numpy()])
    channels = torch.from_numpy(lab).flatten(0, 2).T
    counts = torch.stack([torch.histc(values, 2 * LIMIT, -LIMIT, LIMIT) for values in channels])
    return counts / channels.shape[1]


def colour_distance(shares: Tensor, known: Sequence[Tensor]) -> float:
    """Mean over `known` of the distance between distributions of colours [3, 2 LIMIT], in units of Lab (ΔE 1976).

    Of L, a and b each it is the 1-Wasserstein distance: how far, on average, values have to be moved to make one
    distribution of the other. known: of any weight.
    """
    distances = []
    for other in known:
        moved = (shares - other / other.sum(dim=1, keepdim=True)).cumsum(dim=1).abs().sum(dim=1)
        distances.append(moved.norm())
    return float(torch.stack(distances).mean())
