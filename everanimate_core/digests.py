"""Digests of tensors, networks and plain values: what a chunk of a run was made from, in a few bytes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

# Values looked at in each tensor of a network: enough to tell two checkpoints apart without reading gigabytes.
SAMPLES_PER_WEIGHT = 16


def digest(*parts: Tensor | str | int | float | bool | Mapping | list | tuple | None) -> str:
    """32 hex digits that stand for `parts`: tensors by type, shape and every bit, the rest as canonical JSON."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            total.update(f"{part.dtype}{list(part.shape)}".encode())
            total.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            total.update(json.dumps(part, sort_keys=True).encode())
        total.update(b"\0")
    return total.hexdigest()


def weights_digest(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Stands for a network: names, types and shapes of its tensors and a few values of each, at the same places."""
    parts: list[Any] = []
    for name, weight in sorted(weights, key=lambda item: item[0]):
        parts += [name, _samples(weight.detach()), list(weight.shape)]
    return digest(*parts)


def _samples(weight: Tensor) -> Tensor:
    """SAMPLES_PER_WEIGHT values of a tensor, evenly spaced, all of a smaller one: [n], without copying the tensor."""
    step = max(1, weight.numel() // SAMPLES_PER_WEIGHT)
    if weight.is_contiguous():
        return weight.flatten()[::step][:SAMPLES_PER_WEIGHT].clone()
    places = torch.arange(0, weight.numel(), step, device=weight.device)[:SAMPLES_PER_WEIGHT]
    return weight[torch.unravel_index(places, weight.shape)]


def file_digest(path: str | PathLike) -> str:
    """Stands for the whole content of a file."""
    with Path(path).open("rb") as file:
        return stream_digest(file)


def stream_digest(file: BinaryIO) -> str:
    """Stands for what is left to be read of an open file."""
    return _over_rest(hashlib.blake2b(digest_size=16), file)


def sha256(path: str | PathLike) -> str:
    """The sha256 of a file, 64 hex digits, by which others name files."""
    with Path(path).open("rb") as file:
        return _over_rest(hashlib.sha256(), file)


def _over_rest(total: Any, file: BinaryIO) -> str:
    """The hex digits of a hash of hashlib over what is left to be read of a file."""
    while block := file.read(1 << 20):
        total.update(block)
    return total.hexdigest()
