"""The noise that chunks are sampled from, and its seeds: the same on every machine."""

import torch
from torch import Tensor

from .errors import check_choice

# What is added to the seed from one chunk to the next; 42 is what EverAnimate's authors add.
_SEED_STEPS = {"released": 42, "fixed": 0, "increment": 1}
SEED_MODES = tuple(_SEED_STEPS)
MAX_SEED = 2**64 - 1


def chunk_seed(seed: int, index: int, mode: str = "released") -> int:
    """Noise seed of chunk `index`: released = seed + 42 index, fixed = seed, increment = seed + index; below 2^64."""
    check_choice("seed_mode", mode, SEED_MODES)
    return (seed + index * _SEED_STEPS[mode]) % 2**64


def draw_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Gaussian noise, float32 on the CPU from a generator of its own: the same on every machine and device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
