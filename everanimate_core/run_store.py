"""A run on disk: a manifest, one safetensors file per chunk, one closed video segment per chunk.

    <run>/manifest.json                what the run is made with, and a record of every finished chunk
    <run>/chunk_0000.safetensors       its latents, and what the memory learned from it
    <run>/segment_0000.mp4             its frames of the animation

Every file appears whole or not at all, and is checked by its digest when it is used again. A chunk's key covers exactly
what the chunk depends on and, through the key before it, the memory: what did not change is kept.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout  # a dependency of torch: it is there wherever the core runs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from . import __version__
from .fingerprint import digest, file_digest
from .memory import ContextMemory

FORMAT = "everanimate-run-1"
MANIFEST = "manifest.json"
# Fields of the memory that a chunk can change; the motion memory is the end of its latents.
MEMORY_FIELDS = ("identity", "statistics", "last_frames")


# Names that Windows gives to devices, with or without an ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d) *(\..*)?", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_. -]{0,98}[A-Za-z0-9_-])?")


class RunError(ValueError):
    """A run that cannot be started, continued or read as asked."""


@dataclass(frozen=True)
class ChunkRecord:
    """A finished chunk in the manifest.

    key: digest of all that it depends on. latents: digest of its file. segment: digest of its video. start, stop: the
    frames of the animation that the segment holds. frames: digest of those frames before video encoding. noise_seed,
    seconds, drift: for the report.
    """

    key: str
    latents: str
    segment: str
    start: int
    stop: int
    frames: str
    noise_seed: int
    seconds: float
    drift: float


@dataclass(frozen=True)
class Manifest:
    """settings: what is constant for the run. seeds: {first chunk: seed}, more than one after a redo with another."""

    settings: Mapping[str, Any]
    seeds: Mapping[str, int]
    chunks: tuple[ChunkRecord, ...] = ()

    @property
    def seed(self) -> int:
        """The seed of the chunks to come."""
        return self.seeds[max(self.seeds, key=int)]


def run_folder(root: str | os.PathLike, name: str) -> Path:
    """The folder of run `name` under root/everanimate; RunError for a name that could lead anywhere else."""
    if not _PLAIN.fullmatch(name) or _DEVICES.fullmatch(name):
        raise RunError(
            "Animate Long Video: run_name must be a plain file name of letters, digits, spaces, dots, dashes and "
            f"underscores (dance_01); got {name!r}."
        )
    root = Path(root).resolve()
    folder = root / "everanimate" / name
    # A link that someone put there may lead out.
    for path in (folder, folder.with_name(f"{name}.mp4")):
        if not path.resolve().is_relative_to(root):
            raise RunError(
                f"Animate Long Video: a run stays inside the output folder ({root}); got {path}, a link to elsewhere."
            )
    return folder


def atomic_write(path: Path, write) -> None:
    """Let `write(temporary path)` make a file, then give it its name; nothing is left behind when it fails.

    The folder is made when it does not exist yet.
    """
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class RunStore:
    """The files of one run; `folder` is made when it does not exist yet."""

    def __init__(self, folder: str | os.PathLike):
        # Absolute: the lock lies beside it, whatever name it was given ("." has none).
        self.folder = Path(os.path.abspath(folder))

    @contextmanager
    def locked(self):
        """Keep other writers out for the time of a run; RunError when there is one, or no folder can be made."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            # Beside the folder, which may be set aside; the system lets go of it when the program is killed.
            with FileLock(self.folder.with_name(f".{self.folder.name}.lock"), timeout=0):
                yield
        except Timeout:
            raise RunError(
                f"Animate Long Video: a run is written by one program at a time (choose another run name or wait); "
                f"got a second one for {self.folder}."
            ) from None

    def chunk_path(self, index: int) -> Path:
        """The file of chunk `index`'s latents."""
        return self.folder / f"chunk_{index:04d}.safetensors"

    def segment_path(self, index: int) -> Path:
        """The video of chunk `index`."""
        return self.folder / f"segment_{index:04d}.mp4"

    def read_manifest(self) -> Manifest | None:
        """The manifest, None when the run is new; RunError when it is damaged or was altered."""
        path = self.folder / MANIFEST
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            body = content["run"]
            intact = content["format"] == FORMAT and content["digest"] == digest(body)
        except (ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            raise RunError(
                f"Animate Long Video: the run's {MANIFEST} must be as it was written (restore it, or start anew under "
                f"another run name; the chunks in {self.folder} are untouched); got an altered one."
            )
        return Manifest(body["settings"], body["seeds"], tuple(ChunkRecord(**chunk) for chunk in body["chunks"]))

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        chunks = [vars(chunk) for chunk in manifest.chunks]
        body = {"settings": dict(manifest.settings), "seeds": dict(manifest.seeds), "chunks": chunks}
        versions = {"everanimate": __version__, "torch": torch.__version__}
        content = json.dumps({"format": FORMAT, "versions": versions, "digest": digest(body), "run": body}, indent=1)
        atomic_write(self.folder / MANIFEST, lambda part: part.write_text(content, encoding="utf-8"))

    def save_latents(self, index: int, key: str, latents: Tensor) -> None:
        """Keep a chunk as soon as it is sampled, before anything is decoded."""
        self._save(index, key, {"latents": latents})

    def save_chunk(self, index: int, key: str, latents: Tensor, before: ContextMemory, after: ContextMemory) -> None:
        """Keep a finished chunk: its latents [1, 16, T, h, w] and what the memory learned from it."""
        learned = {
            name: getattr(after, name) for name in MEMORY_FIELDS if getattr(after, name) is not getattr(before, name)
        }
        self._save(index, key, {"latents": latents, **learned})

    def _save(self, index: int, key: str, tensors: Mapping[str, Tensor]) -> None:
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        try:
            metadata = {"key": key, "latents": digest(tensors["latents"])}
            atomic_write(self.chunk_path(index), lambda part: save_file(tensors, part, metadata=metadata))
        except SafetensorError as error:
            # safetensors reports a full disk as an error of its own.
            raise OSError(str(error)) from error

    def sampled_latents(self, index: int, key: str) -> Tensor | None:
        """The latents of a chunk that was sampled under `key` but not finished, None when there are none."""
        try:
            with safe_open(self.chunk_path(index), framework="pt") as file:
                latents = file.get_tensor("latents").clone()
                return latents if file.metadata() == {"key": key, "latents": digest(latents)} else None
        except (FileNotFoundError, SafetensorError):
            return None

    def load_chunk(self, index: int, record: ChunkRecord, before: ContextMemory) -> tuple[Tensor, ContextMemory]:
        """A finished chunk's latents [1, 16, T, h, w] and the memory after it; RunError when the file is not intact."""
        path = self.chunk_path(index)
        if not path.exists() or file_digest(path) != record.latents:
            raise RunError(
                f"Animate Long Video: {path.name} must be as it was written (set from_chunk to {index} to make it and "
                f"all after it again, what is before is kept); got {'an altered' if path.exists() else 'no'} file."
            )
        with safe_open(path, framework="pt") as file:
            # Copies: a view of the file would change with it when the chunk is made again.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        latents = tensors.pop("latents")
        motion = latents[:, :, -before.motion_count :].clone()
        return latents, replace(before, **tensors, motion=motion, frozen=before.frozen or "identity" in tensors)

    def set_aside(self) -> None:
        """Give the folder of an earlier run another name, so that a new one can start; nothing is deleted."""
        if not self.folder.exists():
            return
        number = 1
        while (aside := self.folder.with_name(f"{self.folder.name}.{number}")).exists():
            number += 1
        self.folder.rename(aside)
