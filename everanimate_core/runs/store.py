"""A run on disk: a manifest, one safetensors file per chunk, one closed video segment per chunk.

    <run>/manifest.json                what the run is made with, and a record of every finished chunk
    <run>/chunk_0000.safetensors       what was sampled, and what it hands on
    <run>/segment_0000.mp4             its frames of the animation

Every file appears whole or not at all, and is checked by its digest when it is used again. A chunk's key covers exactly
what the chunk depends on and, through the key before it, what it is handed: what did not change is kept.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..digests import digest, file_digest
from ..errors import InputError
from ..files import clear_parts, probe, sync_folder, write_whole
from ..media.reader import VideoError, open_video
from ..method import Method, Sampled, State
from ..tensor_files import write_tensors
from .manifest import FIRST_FORMAT, ChunkRecord, Manifest, ManifestError
from .ownership import LinkedLock, Taken, owned

MANIFEST = "manifest.json"
# Ways on, in the words of the node's widgets and of the command line.
ANOTHER_NAME = "choose another run name or --out"
ANEW = "start anew with resume false or --no-resume"


class RunError(InputError):
    """A run that cannot be started, continued or read as asked."""


class RunFailed(RuntimeError):
    """A run that could not go on; what it finished is kept, and the message says where."""


class DamagedChunk(RunError):
    """The file of a finished chunk is gone, or is not what was written."""


@contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[Callable[[], None]]:
    """Keep other writers out of `folder`, whose absolute path is given, while the block runs; see `owned` for the check
    that it gives.

    what: that is written there, "a run". Raises RunError when there is another writer, OSError when no folder can be
    made beside which the lock lies.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Beside the folder, which may be set aside.
        with owned(folder) as check:
            yield check
    except Taken as taken:
        wait = f"wait: {taken.until}" if taken.until else "wait"
        raise RunError(
            what,
            "is written by one program at a time",
            f"{ANOTHER_NAME}, or {wait}",
            f"a second one for {folder}{f', held by {taken}' if taken.until else ''}",
        ) from None
    except LinkedLock as lock:
        raise RunError(f"{what}'s lock", "must be a file of its own", "delete the link", lock) from None


class RunStore:
    """The files of one run. `prepare` makes the folder, inside `locked`; what is written there comes after that."""

    def __init__(self, folder: str | os.PathLike):
        # Absolute: the lock lies beside it, whatever name it was given ("." has none).
        self.folder = Path(os.path.abspath(folder))
        self.prepared = False
        self._check_owner = lambda: None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out for the time of a run; RunError when there is one, OSError when no folder can be made.

        Where the volume has no locks and another program took over while this one was paused, everything that writes
        raises OwnershipLost from then on.
        """
        with locked_folder(self.folder, "a run") as self._check_owner:
            yield

    def check_owner(self) -> None:
        """Raise OwnershipLost when another program took over."""
        self._check_owner()

    def prepare(self) -> None:
        """Make the folder, and try whether files can be made in it."""
        self.folder.mkdir(exist_ok=True)
        self.prepared = True
        probe(self.chunk_path(0))

    def leave(self) -> None:
        """Delete the folder if nothing was kept in it."""
        with suppress(OSError):
            self.folder.rmdir()
            self.prepared = False

    @property
    def deleted(self) -> bool:
        """Whether the folder that was made is no longer there."""
        return self.prepared and not self.folder.is_dir()

    def clear(self, path: Path) -> None:
        """Delete what killed programs left unfinished, here and of the finished video `path`; for the owner alone."""
        clear_parts(self.folder)
        clear_parts(path)
        # From here on, names that 0.1.0 gave.
        for pattern in (".manifest.json.part", ".chunk_*.safetensors.part", "segment_*.part.mp4"):
            for part in list(self.folder.glob(pattern)):
                part.unlink()
        with suppress(RunError):
            found, joined = self.read_manifest(), path.with_name(f"{path.stem}.part{path.suffix}")
            # It may be the video of another run, or anybody's: one that was left unfinished cannot be opened.
            if found and found.format == FIRST_FORMAT and joined.is_file() and not _opens(joined):
                joined.unlink()

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
            if not path.is_file():  # a pipe would be waited for
                raise ManifestError("no file")
            return Manifest.from_json(path.read_bytes())
        except ManifestError as error:
            raise RunError(
                f"the run's {MANIFEST}",
                "must be as it was written",
                f"restore it, or {ANEW}: the old run is set aside, the chunks in {self.folder} are untouched",
                error,
            ) from None

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        with write_whole(self.folder / MANIFEST, self._check_owner) as part:
            part.write_bytes(manifest.to_json().encode())

    def save_sampled(self, index: int, key: str, sampled: Sampled) -> None:
        """Keep a chunk as soon as it is sampled, before anything is decoded."""
        self.save_chunk(index, key, sampled, {})

    def save_chunk(self, index: int, key: str, sampled: Sampled, kept: State) -> None:
        """Keep a finished chunk: what was sampled, and what of that which it hands on has to be kept."""
        metadata = {"key": key, "latents": digest(sampled.latents, *sampled.extras.values())}
        tensors = {"latents": sampled.latents, **sampled.extras, **kept}
        write_tensors(self.chunk_path(index), tensors, metadata, self._check_owner)

    def read_sampled(self, index: int, key: str, extras: Sequence[str]) -> Sampled | None:
        """What was sampled under `key` of a chunk that was not finished, None when there is nothing.

        extras: the names of what belongs to it beside the latents.
        """
        path = self.chunk_path(index)
        try:
            if not path.is_file():
                return None
            with safe_open(path, framework="pt") as file:
                latents, *others = (file.get_tensor(name).clone() for name in ("latents", *extras))
                intact = file.metadata() == {"key": key, "latents": digest(latents, *others)}
        except SafetensorError:
            return None
        return Sampled(latents, dict(zip(extras, others, strict=True))) if intact else None

    def load_chunk(self, index: int, record: ChunkRecord, method: Method) -> dict[str, Tensor] | None:
        """What the file of a finished chunk holds, by name.

        None where there is NaN or infinity in it, as 0.1.0 kept them. Raises DamagedChunk when the file is not intact.
        """
        path = self.chunk_path(index)
        tensors = _finished(path, record, method)
        if tensors is None:
            way = f"{ANEW}: the old run is set aside"
            if index:
                way = f"make it and all after it again with from_chunk or --from-chunk {index}; what is before is kept"
            raise DamagedChunk(
                path.name, "must be as it was written", way, f"{'an altered' if path.is_file() else 'no'} file"
            )
        return tensors if all(tensor.isfinite().all() for tensor in tensors.values()) else None

    def set_aside(self) -> None:
        """Give the folder of an earlier run another name, so that a new one can start; nothing is deleted."""
        if not self.folder.exists():
            return
        number = 1
        # A lock without a folder: a run of that name is starting.
        while (aside := self.folder.with_name(f"{self.folder.name}.{number}")).exists() or _has_lock(aside):
            number += 1
        self._check_owner()
        self.folder.rename(aside)
        sync_folder(aside.parent)


def _finished(path: Path, record: ChunkRecord, method: Method) -> dict[str, Tensor] | None:
    """What a finished chunk's file holds, None when that is not what was written."""
    if not path.is_file() or file_digest(path) != record.latents:
        return None
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: a view of the file would change with it when the chunk is made again.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return None
    shapes = method.shapes()
    complete = {"latents", *method.extras} <= tensors.keys()
    return tensors if complete and all(_fits(tensor, shapes.get(name)) for name, tensor in tensors.items()) else None


def _fits(tensor: Tensor, shape: tuple[int | None, ...] | None) -> bool:
    """Whether a tensor is float32 of a shape in which None stands for any size, though not for none."""
    return (
        shape is not None
        and tensor.dtype == torch.float32
        and tensor.ndim == len(shape)
        and all(size == wanted if wanted else size for size, wanted in zip(tensor.shape, shape, strict=True))
    )


def _has_lock(folder: Path) -> bool:
    return folder.with_name(f".{folder.name}.lock").exists()


def _opens(video: Path) -> bool:
    with suppress(VideoError), open_video(video):
        return True
    return False
