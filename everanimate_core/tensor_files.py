"""Safetensors files: those of strangers read with care, our own written whole or not at all.

Whatever is wrong with one is said in the words of whoever reads it: `refuse` makes the error from a clause like "which
is not a file": `lambda wrong: InputError("vae", "must be the Wan 2.1 VAE", "", f"{path}, {wrong}")`.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import InputError, one_line, shown
from .files import write_whole
from .json_files import Refuse, check_fields, read_json

# Types whose numbers are the weights themselves; whole numbers and packed types need a scale that is elsewhere.
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
_PICKLE_MAGIC = re.compile(rb"PK\x03\x04|\x80[\x00-\x05]")
# All that safetensors and torch have been seen to raise for headers that parse, too large sizes for example.
_FAULTS = (SafetensorError, OSError, TypeError, ValueError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class TensorFile:
    """An open file: the names of its tensors, and its text metadata."""

    names: tuple[str, ...]
    metadata: Mapping[str, str]
    _file: Any
    _refuse: Refuse

    def read(self, name: str) -> Tensor:
        """A tensor on the CPU; a view of the file, which changes when the file is written anew."""
        try:
            return self._file.get_tensor(name)
        except _FAULTS as error:
            got = f"which has {one_line(name, 120)}, a tensor that cannot be read: {one_line(error, 200)}"
            raise self._refuse(got) from error

    def shape(self, name: str) -> tuple[int, ...]:
        """The sizes of a tensor, without reading it."""
        return tuple(self._file.get_slice(name).get_shape())


def is_pickle(path: str | PathLike) -> bool:
    """Whether a file is a pickle by its name or its first bytes; it is not opened as one."""
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(9)
    # The length in front of a safetensors header can look like pickle's magic; byte 8 still opens the JSON then.
    return path.suffix.lower() in PICKLE_SUFFIXES or bool(_PICKLE_MAGIC.match(head) and head[8:] != b"{")


@contextmanager
def open_tensors(path: str | PathLike, refuse: Refuse) -> Iterator[TensorFile]:
    """A safetensors file for reading; refuses whatever is none, pickles (unopened) among them.

    refuse: makes the error from what is wrong with the file ("which is not a file").
    """
    path = Path(path)
    # os.path: a name that is too long for a file is none, instead of an error of the system.
    if not os.path.isfile(path):
        raise refuse("which is not a file")
    try:
        if is_pickle(path):
            raise refuse("which is a pickle file and is not opened, as it can run code")
        opened = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise refuse(f"which is not a complete safetensors file: {one_line(error, 200)}") from error
    with opened as file:
        yield TensorFile(tuple(file.keys()), file.metadata() or {}, file, refuse)


def read_tensors(path: str | PathLike, refuse: Refuse) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """All tensors of a file, in memory of their own, and its metadata; refuses as open_tensors does."""
    with open_tensors(path, refuse) as file:
        return {name: file.read(name).clone() for name in file.names}, file.metadata


def check_shapes(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], refuse: Refuse
) -> None:
    """Refuse weights, by name and shape, of which one is missing, of another shape or foreign."""
    for name, shape in expected.items():
        if name not in shapes:
            raise refuse(f"which has no {name}")
        if shapes[name] != shape:
            raise refuse(f"whose {name} is of shape {list(shapes[name])} instead of {list(shape)}")
    foreign = sorted(shapes.keys() - expected.keys())
    if foreign:
        raise refuse(f"which has the unknown {one_line(foreign[0])}")


def check_numbers(state: Mapping[str, Tensor], refuse: Refuse) -> None:
    """Refuse weights that are of none of FLOATS."""
    for name, value in state.items():
        if value.dtype not in FLOATS:
            raise refuse(f"where {one_line(name)} holds {value.dtype}, which is no number by itself")


# What diffusers calls the weights of a folder.
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"


def weight_files(folder: Path, stem: str, name: str) -> list[Path]:
    """The safetensors files `stem` of a folder, one, or those that its index names; InputError where one is missing.

    An index may name files of the folder itself only.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        shards = [f"{stem}.safetensors"]
    else:

        def refuse(got: str) -> InputError:
            return InputError(
                name,
                f"must name the weight files of its folder in {index.name}",
                "model-00001-of-00002.safetensors",
                f"{got} in {one_line(folder)}",
            )

        found = check_fields(read_json(index, refuse), {"weight_map": dict}, refuse, others=True)["weight_map"]
        for shard in found.values():
            # A drive or another separator leads out of the folder on Windows.
            if not isinstance(shard, str) or not shard.endswith(".safetensors") or set(shard) & set("/\\:"):
                raise refuse(shown(shard))
        shards = sorted(set(found.values()))
        if not shards:
            raise refuse("no file")
    # os.path: names that are too long for a file are missing ones too.
    missing = [shard for shard in shards if not os.path.isfile(folder / shard)]
    if missing:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLE_SUFFIXES)
        got = f"no {one_line(missing[0], 120)} in {one_line(folder)}"
        if pickles:
            got += f", but {one_line(pickles[0], 120)}: a pickle, which is not opened, as it can run code"
        way = "download them as such, or convert the model"
        raise InputError(name, "must have its weights in .safetensors files", way, got)
    return [folder / shard for shard in shards]


def all_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite, of a tensor of one of FLOATS, once it is float32."""
    return bool(torch.isfinite(tensor.float()).all())


def write_tensors(
    path: str | PathLike,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Write a file, on the disk when this returns; an older file stays as it is when it cannot be written. Equal
    tensors and metadata make equal files, byte for byte.

    check: as for write_whole. Raises InputError, naming the tensor, where a value is infinite or not a number, and
    OSError for a full disk.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not all_finite(value):
            raise InputError("all values", "must be finite numbers", "", f"NaN or infinity in {name}")
    with write_whole(path, check) as part:
        # Not by save_file: a program that is killed in it leaves a file behind whose name nobody knows.
        content = save({name: value.contiguous() for name, value in tensors.items()}, dict(metadata or {}))
        part.write_bytes(_in_order(content))


def _in_order(content: bytes) -> bytes:
    """The same file with its metadata by name, where it comes in any order: equal tensors make equal files."""
    start, size = 8, int.from_bytes(content[:8], "little")
    header = json.loads(content[start : start + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    # Behind it lie blanks, so that the tensors begin at a multiple of 8.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start + size :]
