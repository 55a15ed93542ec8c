"""A run on disk: finished chunks by their keys, and takes that list them.

    <run>/chunks/<key>.safetensors         what was sampled, and what it hands on
    <run>/chunks/<key>-77x25.mp4           77 frames of it, shown at 25 a second
    <run>/chunks/<key>.json                what is known of it: the chunk is finished
    <run>/takes/00001.json                 what a take was made with, and its chunks in order

Every file appears whole or not at all, and is checked by its digest when it is used again. A chunk's key covers exactly
what decides the chunk, and what it is handed. No run deletes or replaces what is finished.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..digests import digest, file_digest
from ..errors import InputError
from ..files import clear_parts, probe, write_whole
from ..method import Method, Sampled, State
from ..tensor_files import write_tensors
from .chunks import ChunkRecord
from .ownership import LinkedLock, Taken, owned
from .sealed import Altered
from .takes import Take

CHUNKS, TAKES = "chunks", "takes"
_TAKE = re.compile(r"([0-9]{5,9})\.json")
# Ways on, in the words of the node's widgets and of the command line.
ANOTHER_NAME = "choose another run name or --out"
# What is said of a run that another program writes, in a host's words too.
ONE_WRITER = "is written by one program at a time"
ANEW = "start anew with resume false or --no-resume"


class RunError(InputError):
    """A run that cannot be started, continued or read as asked."""


class RunTaken(RunError):
    """A run that another program is writing just now."""


class RunFailed(RuntimeError):
    """A run that could not go on; what it finished is kept, and the message says where."""


def taken_over(what: str, folder: Path) -> RunFailed:
    """What whoever lost `folder` to another program (OwnershipLost) says. what: that is written there, "a run"."""
    return RunFailed(
        f"{what} {ONE_WRITER}; another one took over {folder} while this one was paused, and goes on there."
    )


@contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[Callable[[], None]]:
    """Keep other writers out of `folder`, whose absolute path is given, while the block runs; see `owned` for the check
    that it gives.

    what: that is written there, "a run". Raises RunTaken when there is another writer, OSError when no folder can be
    made beside which the lock lies.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Beside the folder, which goes when nothing was kept in it.
        with owned(folder) as check:
            yield check
    except Taken as taken:
        wait = f"wait: {taken.until}" if taken.until else "wait"
        raise RunTaken(
            what,
            ONE_WRITER,
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
        """Make the folders, and try whether files can be made in them."""
        self.folder.mkdir(exist_ok=True)
        self.prepared = True
        for name in (CHUNKS, TAKES):
            (self.folder / name).mkdir(exist_ok=True)
            probe(self.folder / name / name)

    def leave(self) -> None:
        """Delete the folders in which nothing was kept."""
        with suppress(OSError):
            for name in (CHUNKS, TAKES):
                # The second is not made yet when the first cannot be written to.
                with suppress(FileNotFoundError):
                    (self.folder / name).rmdir()
            self.folder.rmdir()
            self.prepared = False

    @property
    def deleted(self) -> bool:
        """Whether the folder that was made is no longer there."""
        return self.prepared and not self.folder.is_dir()

    def clear(self) -> None:
        """Delete what killed programs left unfinished; for the owner alone."""
        for folder in (self.folder, self.folder / CHUNKS, self.folder / TAKES):
            if folder.is_dir():
                clear_parts(folder)

    # --- takes ------------------------------------------------------------------------------------------------------

    def take_path(self, number: int) -> Path:
        """The file of a take."""
        return self.folder / TAKES / f"{number:05}.json"

    def take_numbers(self) -> list[int]:
        """The takes that are there, in order."""
        names = os.listdir(self.folder / TAKES) if (self.folder / TAKES).is_dir() else []
        return sorted(int(found[1]) for name in names if (found := _TAKE.fullmatch(name)))

    def read_take(self, number: int) -> Take:
        """A take; RunError when its file is damaged or was altered."""
        path = self.take_path(number)
        try:
            if not path.is_file():  # a pipe would be waited for
                raise Altered("no file")
            take = Take.from_json(path.read_bytes())
            if take.number != number:
                raise Altered(f"that of take {take.number}")
            return take
        except Altered as error:
            raise RunError(
                f"take {path.name}",
                "must be as it was written",
                f"restore it, or {ANEW}: that opens the next take, and the chunks in {self.folder} are untouched",
                error,
            ) from None

    def write_take(self, take: Take) -> None:
        """Write a take, in the place of what it was before."""
        with write_whole(self.take_path(take.number), self._check_owner) as part:
            part.write_bytes(take.to_json())

    # --- chunks -----------------------------------------------------------------------------------------------------

    def latents_path(self, key: str) -> Path:
        """The file of what was sampled of the chunk with that key, and of what it hands on."""
        return self.folder / CHUNKS / f"{key}.safetensors"

    def record_path(self, key: str) -> Path:
        """The file of a chunk's record."""
        return self.folder / CHUNKS / f"{key}.json"

    def chunk_file(self, record: ChunkRecord) -> Path:
        """Where the latents of a finished chunk lie: in the layout of 0.1.0 those that it made."""
        if record.earlier is not None:
            return self.folder / f"chunk_{record.earlier:04d}.safetensors"
        return self.latents_path(record.key)

    def segment_path(self, record: ChunkRecord, name: str) -> Path:
        """The video of a chunk with that name (`segment_name`)."""
        earlier = None if record.earlier is None else self.folder / f"segment_{record.earlier:04d}.mp4"
        if earlier is not None and name in record.segments and file_is(earlier, record.segments[name].file):
            return earlier
        return self.folder / CHUNKS / f"{record.key}-{name}.mp4"

    def read_record(self, key: str) -> ChunkRecord | None:
        """What is known of the finished chunk with that key; None when there is none, or its record is damaged."""
        path = self.record_path(key)
        try:
            record = ChunkRecord.from_json(path.read_bytes()) if path.is_file() else None
        except Altered:
            return None
        return record if record is not None and record.key == key else None

    def write_record(self, record: ChunkRecord) -> None:
        """Keep what is known of a chunk: from now on it is finished."""
        with write_whole(self.record_path(record.key), self._check_owner) as part:
            part.write_bytes(record.to_json())

    def save_sampled(self, key: str, sampled: Sampled) -> None:
        """Keep a chunk as soon as it is sampled, before anything is decoded."""
        self.save_chunk(key, sampled, {})

    def save_chunk(self, key: str, sampled: Sampled, kept: State) -> None:
        """Keep what was sampled, and what has to be kept of that which the chunk hands on."""
        metadata = {"key": key, "latents": digest(sampled.latents, *sampled.extras.values())}
        tensors = {"latents": sampled.latents, **sampled.extras, **kept}
        write_tensors(self.latents_path(key), tensors, metadata, self._check_owner)

    def there(self, keys: Sequence[str]) -> int:
        """How many of the chunks with these keys, from the first on, have their files."""
        for count, key in enumerate(keys):
            record = self.read_record(key)
            if record is None or not self.chunk_file(record).is_file():
                return count
        return len(keys)

    def read_sampled(self, key: str, extras: Sequence[str]) -> Sampled | None:
        """What was sampled under `key` of a chunk that was not finished, None when there is nothing.

        extras: the names of what belongs to it beside the latents.
        """
        return sampled_in(self.latents_path(key), key, extras)

    def load(self, record: ChunkRecord, method: Method) -> dict[str, Tensor] | None:
        """What the file of a finished chunk holds, by name; None when it is not what was written, or no numbers.

        0.1.0 kept latents with NaN and infinity in them.
        """
        path = self.chunk_file(record)
        if not file_is(path, record.latents):
            return None
        try:
            with safe_open(path, framework="pt") as file:
                # Copies: a view of the file would change with it when the chunk is made again.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except SafetensorError:
            return None
        shapes, types = method.shapes(), method.types()
        complete = {"latents", *method.extras} <= tensors.keys()
        fitting = complete and all(
            _fits(tensor, shapes.get(name), types.get(name, torch.float32)) for name, tensor in tensors.items()
        )
        return tensors if fitting and all(tensor.isfinite().all() for tensor in tensors.values()) else None


def sampled_in(path: Path, key: str, extras: Sequence[str]) -> Sampled | None:
    """What was sampled of a chunk, if the file at `path` holds just that under this key."""
    try:
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            latents, *others = (file.get_tensor(name).clone() for name in ("latents", *extras))
            intact = file.metadata() == {"key": key, "latents": digest(latents, *others)}
    except SafetensorError:
        return None
    return Sampled(latents, dict(zip(extras, others, strict=True))) if intact else None


def file_is(path: Path, known: str) -> bool:
    """Whether there is a file with just the content that the digest stands for."""
    return path.is_file() and file_digest(path) == known


def _fits(tensor: Tensor, shape: tuple[int | None, ...] | None, dtype: torch.dtype) -> bool:
    """Whether a tensor is of a type, and of a shape in which None stands for any size, though not for none."""
    return (
        shape is not None
        and tensor.dtype == dtype
        and tensor.ndim == len(shape)
        and all(size == wanted if wanted else size for size, wanted in zip(tensor.shape, shape, strict=True))
    )
