"""When a figure with two-sided clothes turns round: once in a while, long enough apart to be forgotten."""

from collections.abc import Sequence
from math import pi
from random import Random

import torch
from torch import Tensor

from .motion import ease

# One showing of the back in so many frames. It begins FIRST to FIRST + SPREAD frames into them and takes LENGTH, of
# which TURN go by until the figure has turned round, and TURN until it has turned back. Between two showings lie at
# least EVERY - LENGTH - SPREAD = 100 frames: more than a window of LongAnimation and what windows share (81 + 17).
EVERY, FIRST, SPREAD, LENGTH, TURN = 180, 60, 20, 60, 14
# How far the figure is turned otherwise, in radians.
CALM = 0.35


def showings(seed: str, frames: int) -> list[range]:
    """When the world of that seed shows the back within its first `frames` frames, from turning round to facing the
    viewer again; a showing that ends later is left out."""
    spans = []
    for number in range(frames // EVERY + 1):
        begin = _begin(seed, number)
        if begin + LENGTH <= frames:
            spans.append(range(begin, begin + LENGTH))
    return spans


def facing(seed: str, indices: Sequence[int], yaw: Tensor) -> Tensor:
    """[n], radians: where the figure faces in these frames; yaw [n]: where its motion would have it face."""
    since = [index - _begin(seed, index // EVERY) for index in indices]
    turned = torch.tensor([min(at, LENGTH - at) / TURN for at in since], dtype=torch.float32)
    return CALM * torch.sin(yaw) + pi * ease(turned)


def _begin(seed: str, number: int) -> int:
    return number * EVERY + FIRST + Random(f"{seed}/turning round {number}").randint(0, SPREAD)
