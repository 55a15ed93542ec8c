"""The noise that chunks are sampled from, and its seeds: the same on every machine."""

import torch
from torch import Tensor

from .errors import InputError

SEED_MODES = ("released", "fixed", "increment")
MAX_SEED = 2**64 - 1
# EverAnimate's authors add 42 to the seed from one chunk to the next.
RELEASED_SEED_STEP = 42


def chunk_seed(seed: int, index: int, mode: str = "released") -> int:
    """Noise seed of chunk `index`: released = seed + 42 index, fixed = seed, increment = seed + index; below 2^64."""
    if mode not in SEED_MODES:
        raise InputError("seed_mode", f"must be one of {', '.join(SEED_MODES)}", "", repr(mode))
    return (seed + index * {"released": RELEASED_SEED_STEP, "fixed": 0, "increment": 1}[mode]) % 2**64


def draw_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Gaussian noise, float32 on the CPU from a generator of its own: the same on every machine and device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
