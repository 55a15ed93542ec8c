"""The takes of a run side by side: what differs, how good they are, what they need on disk; and which may go."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import InputError
from .chunks import KEY
from .earlier import MANIFEST, earlier_take, read_earlier
from .store import CHUNKS, TAKES, RunError, RunStore
from .takes import UNFINISHED, Take, differences


@dataclass(frozen=True)
class Listed:
    """A take in the list. differs: from the take before it, in words. size, own: bytes of its chunks, and of those that
    no other take has."""

    take: Take
    differs: tuple[str, ...]
    size: int
    own: int

    @property
    def seconds(self) -> float:
        """How long its video is, as far as it is finished."""
        frames = self.take.chunks[-1].stop if self.take.chunks else 0
        return float(frames / Fraction(self.take.output["fps"]))

    @property
    def drift(self) -> float | None:
        """The largest of its chunks, None where none has a value."""
        return max((chunk.drift for chunk in self.take.chunks if chunk.drift is not None), default=None)

    def told(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "take": self.take.number,
            "state": self.take.state,
            "chunks": len(self.take.chunks),
            "seconds": round(self.seconds, 3),
            "drift": self.drift,
            "bytes": self.size,
            "own_bytes": self.own,
            "differs": list(self.differs),
        }

    def __str__(self) -> str:
        drift = "unknown" if self.drift is None else f"{self.drift:.3f}"
        line = (
            f"take {self.take.number}: {self.take.state}, {len(self.take.chunks)} chunks, {self.seconds:.1f} s, "
            f"drift {drift}, {amount(self.size)} on disk, {amount(self.own)} of it its own"
        )
        return "\n    ".join([line, *self.differs])


def list_takes(store: RunStore, readable: bool = False) -> list[Listed]:
    """All takes of a run, oldest first; see all_takes."""
    takes = all_takes(store, readable)
    users = Counter(key for take in takes for key in {chunk.key for chunk in take.chunks})
    files, listed = files_by_key(store), []
    for before, take in zip([None, *takes], takes, strict=False):
        sizes = {chunk.key: _size(chunk_files(store, chunk.key, files.get(chunk.key, []))) for chunk in take.chunks}
        own = sum(size for key, size in sizes.items() if users[key] == 1)
        differs = () if before is None else tuple(_differing(before, take))
        listed.append(Listed(take, differs, sum(sizes.values()), own))
    return listed


def all_takes(store: RunStore, readable: bool = False) -> list[Take]:
    """The takes of a run, oldest first; a run of 0.1.0 is take 1. RunError for one that was altered, which is left out
    where those that are `readable` are asked for."""
    numbers, takes = store.take_numbers(), []
    for number in sorted({1, *numbers}):
        with suppress(RunError) if readable else nullcontext():
            if number in numbers:
                takes.append(store.read_take(number))
            elif (manifest := read_earlier(store)) is not None:
                takes.append(earlier_take(manifest))
    return takes


def files_by_key(store: RunStore) -> dict[str, list[Path]]:
    """The files of all chunks, by the keys of these."""
    files: dict[str, list[Path]] = {}
    for path in sorted((store.folder / CHUNKS).glob("*")):
        if key := _key_of(path):
            files.setdefault(key, []).append(path)
    return files


def chunk_files(store: RunStore, key: str, own: list[Path]) -> list[Path]:
    """The files of a chunk: its own, and those in the layout of 0.1.0."""
    record = store.read_record(key)
    if record is None or record.earlier is None:
        return own
    segments = [store.segment_path(record, name) for name in record.segments]
    earlier = [path for path in [*segments, store.chunk_file(record)] if path not in own and path.is_file()]
    return own + earlier


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


@dataclass(frozen=True)
class Pruned:
    """What goes when only some takes are kept: numbers of takes, keys of chunks, all of their files."""

    takes: tuple[int, ...]
    chunks: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return _size(list(self.files))


def to_prune(store: RunStore, keep: Collection[int]) -> Pruned:
    """What can be deleted when the takes `keep` are to stay with all of their chunks. Their videos, and those of other
    takes, are no part of it.

    Raises InputError for a take that there is not.
    """
    takes = all_takes(store)
    numbers = [take.number for take in takes]
    missing = sorted(set(keep) - set(numbers))
    if missing or not keep:
        there = ", ".join(map(str, numbers)) or "none"
        raise InputError("prune", "must name takes that are there", there, ", ".join(map(str, missing)) or "none")
    # A take that is made from another one needs it until it is finished.
    keep = set(keep) | {take.of for take in takes if take.number in keep and take.state == UNFINISHED}
    kept = {chunk.key for take in takes if take.number in keep for chunk in take.chunks}
    files = [path for key, own in files_by_key(store).items() if key not in kept for path in own]
    gone = [number for number in numbers if number not in keep]
    files += [path for number in gone for path in _take_files(store, number) if path.is_file()]
    if 1 in gone and not _uses_earlier(store, kept):
        files += _earlier_files(store.folder)
    chunks = sorted({key for path in files if path.parent.name == CHUNKS and (key := _key_of(path))})
    return Pruned(tuple(gone), tuple(chunks), tuple(sorted(files)))


def prune(pruned: Pruned, check: Callable[[], object] = lambda: None) -> None:
    """Delete it: takes first, so that none is left whose chunks are gone. check: called before each file goes, as for
    write_whole."""
    # Of 0.1.0, the manifest is the take, and chunks lie beside it.
    for path in sorted(pruned.files, key=lambda path: (path.parent.name == CHUNKS, path.suffix != ".json")):
        check()
        path.unlink(missing_ok=True)


def amount(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _differing(before: Take, take: Take) -> Iterator[str]:
    if take.first:
        yield f"made again from chunk {take.first} of take {take.of}"
    if take.only >= 0:
        yield f"chunk {take.only} of take {take.of} made again alone"
    if take.anew == take.number:
        yield "made without the chunks of others"
    yield from map(str, differences(before, take))


def _key_of(path: Path) -> str:
    """The key of the chunk to which a file belongs, "" for another file."""
    found = KEY.match(path.name)
    return found[0] if found else ""


def _take_files(store: RunStore, number: int) -> list[Path]:
    path = store.folder / TAKES / f"{number:05}"
    return [path.with_suffix(suffix) for suffix in (".json", ".jpg", ".png")]


def _uses_earlier(store: RunStore, keys: Collection[str]) -> bool:
    """Whether one of these chunks lies in the layout of 0.1.0."""
    records = (store.read_record(key) for key in keys)
    return any(record is not None and record.earlier is not None for record in records)


def _earlier_files(folder: Path) -> list[Path]:
    names = (MANIFEST, "chunk_[0-9]*.safetensors", "segment_[0-9]*.mp4")
    return [path for name in names for path in folder.glob(name)]


def run_of(path: Path) -> RunStore:
    """The run at `path`, its folder or the video that the command line made of it. RunError where there is none."""
    # Not with_suffix: the folder that one is in, ".", has no name.
    for folder in (path, path.parent / f"{path.stem}.run"):
        if (folder / TAKES).is_dir() or (folder / MANIFEST).is_file():
            return RunStore(folder)
    example = "output/everanimate/NAME, or the video that `everanimate animate` made"
    raise RunError("run", "must be the folder of a run, or the video of one", example, path)
