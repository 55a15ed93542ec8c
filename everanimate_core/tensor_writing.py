"""Safetensors files, written whole or not at all, and with numbers only."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .files import part_file


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a file, on the disk when this returns; an older file stays as it is when it cannot be written.

    Raises ValueError, naming the tensor, where a value is infinite or not a number, and OSError for a full disk.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"all values must be finite numbers; got NaN or infinity in {name}")
    with part_file(path) as part:
        try:
            save_file({name: value.contiguous() for name, value in tensors.items()}, part, dict(metadata or {}))
        except SafetensorError as error:
            # safetensors reports a full disk as an error of its own.
            raise OSError(f"{path} could not be written: {error}") from error
