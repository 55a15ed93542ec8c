"""Random tensors by their seed, and how far apart two tensors are."""

import torch


def rand(*shape, seed):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(value, expected):
    """Size of the difference over the size of what is expected."""
    return ((value - expected).norm() / expected.norm()).item()
