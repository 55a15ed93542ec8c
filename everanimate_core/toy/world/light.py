"""Light that wanders as it does in real footage: the same scene, brighter, warmer, flatter or softer a moment later.

Six values make up the light of a frame. Each is a sum of three slow sines of its own: a pure, smooth function of seed
and frame number. All values 0 is even light, which changes nothing.
"""

from collections.abc import Sequence
from math import exp, log, pi, sin, sqrt
from random import Random

import torch
from torch import Tensor

# How far each value wanders: its spread (standard deviation) over time. Exposure, temperature and tint are logarithms
# of a gain, so are contrast and saturation; focus is the share of fine detail that is added, or taken away below 0.
SPREAD = {"exposure": 0.14, "temperature": 0.09, "tint": 0.04, "contrast": 0.15, "saturation": 0.25, "focus": 0.45}
# Frames that a sine takes to come back, drawn evenly in their logarithm.
PERIOD = (600.0, 3000.0)
_SINES = 3
_LUMA = (0.299, 0.587, 0.114)


def light_at(seed: str, moments: Sequence[int]) -> Tensor:
    """[n, 6] float32, in the order of SPREAD: the light of that seed at those frame numbers (any whole numbers)."""
    columns = []
    for name, spread in SPREAD.items():
        random = Random(f"light {seed} {name}")
        low, high = (log(period) for period in PERIOD)
        sines = [(exp(random.uniform(low, high)), random.random()) for _ in range(_SINES)]
        # A sine's variance is a half: the sum of three has the spread that is asked for.
        height = spread * sqrt(2 / _SINES)
        columns.append([height * sum(sin(2 * pi * (at / period + turn)) for period, turn in sines) for at in moments])
    return torch.tensor(columns).T.contiguous()


def apply_light(frames: Tensor, light: Tensor) -> Tensor:
    """The frames [n, H, W, 3] in 0..1 in that light [n, 6] (or [6], the same for all); of the same shape and range.

    Elementwise and in a fixed order, so that a frame comes out bit for bit the same whatever company it is in.
    """
    exposure, temperature, tint, contrast, saturation, focus = (
        torch.as_tensor(value, dtype=torch.float32).view(-1, 1, 1, 1) for value in light.unbind(-1)
    )
    gains = torch.cat([exposure + temperature - tint / 2, exposure + tint, exposure - temperature - tint / 2], dim=-1)
    frames = frames + focus * (frames - _blurred(frames))
    frames = (frames * _exp(gains) - 0.5) * _exp(contrast) + 0.5
    red, green, blue = (share * frames[..., place] for place, share in enumerate(_LUMA))
    grey = (red + green + blue)[..., None]
    return (grey + (frames - grey) * _exp(saturation)).clamp_(0, 1)


def _exp(values: Tensor) -> Tensor:
    # Number by number: torch's own rounds the last bit by where in a block a number stands.
    return torch.tensor([exp(value) for value in values.flatten().tolist()]).view(values.shape)


def _blurred(frames: Tensor) -> Tensor:
    """The frames under a 3x3 binomial filter, edges repeated."""
    for axis in (1, 2):
        last = frames.shape[axis] - 1
        places = torch.arange(last + 1)
        before = frames.index_select(axis, (places - 1).clamp(min=0))
        after = frames.index_select(axis, (places + 1).clamp(max=last))
        frames = (before + 2 * frames + after) / 4
    return frames
