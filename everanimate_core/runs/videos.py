"""Where the videos of takes lie: each under its own number, or the newest under the one name that was asked for."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..digests import digest, file_digest
from ..files import write_whole
from .names import alike
from .store import TAKES, RunStore
from .takes import Take


class Videos(Protocol):
    """The places of a run's videos."""

    def path(self, number: int) -> Path:
        """The video of a take, as long as that is the newest."""

    def numbers(self) -> Sequence[int]:
        """Numbers that a new take cannot have, because a file stands where its video belongs."""

    def has(self, take: Take) -> bool:
        """Whether the video of a finished take is there."""

    def make_room(self, others: Sequence[Take], check: Callable[[], object] = lambda: None) -> None:
        """Put the video of another take aside, where it stands in the way. others: all takes but the newest. check: as
        for write_whole."""


class NumberedVideos:
    """A video for each take beside the run's folder, named as the host names what it saves: NAME_00001_.mp4."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, number: int) -> Path:
        """NAME_00001_.mp4 for take 1."""
        return self.folder.with_name(f"{self.folder.name}_{number:05}_.mp4")

    def numbers(self) -> list[int]:
        """Those of all files that are called so on some system, whoever made them."""
        named = re.compile(re.escape(alike(self.folder.name)) + r"_(\d{5,9})_\.mp4")
        parent = self.folder.parent
        names = [path.name for path in parent.iterdir()] if parent.is_dir() else []
        return [int(found[1]) for name in names if (found := named.fullmatch(alike(name)))]

    def has(self, take: Take) -> bool:
        """Whether it is there; nothing else is called so."""
        return self.path(take.number).is_file()

    def make_room(self, others: Sequence[Take], check: Callable[[], object] = lambda: None) -> None:
        """Nothing: every video has a name of its own."""


def left_behind(folder: Path) -> str:
    """Stands for what the run in a folder has left: names, sizes and times of its takes and of their videos.

    It is another one as soon as a file was deleted, added or altered by hand.
    """
    store, videos = RunStore(folder), NumberedVideos(folder)
    paths = sorted([*map(store.take_path, store.take_numbers()), *map(videos.path, videos.numbers())])
    files = []
    for path in paths:
        # Deleted at this moment, or written otherwise than a run would.
        with suppress(FileNotFoundError):
            status = path.stat()
            files.append([path.name, status.st_size, status.st_mtime_ns])
    return digest(files)


class NewestVideo:
    """One file, which is always the newest take; older ones lie in the run's folder: takes/00001.mp4."""

    def __init__(self, out: Path, folder: Path):
        self.out, self.folder = out, folder

    def path(self, number: int) -> Path:
        """The file that was asked for."""
        return self.out

    def older_path(self, number: int) -> Path:
        """Where the video of a take lies that is no longer the newest."""
        return self.folder / TAKES / f"{number:05}.mp4"

    def numbers(self) -> list[int]:
        """Those of the older videos."""
        return [int(path.stem) for path in (self.folder / TAKES).glob("[0-9]*.mp4") if path.stem.isdecimal()]

    def has(self, take: Take) -> bool:
        """Whether the file is the video of that take."""
        return self.out.is_file() and file_digest(self.out) == take.video

    def make_room(self, others: Sequence[Take], check: Callable[[], object] = lambda: None) -> None:
        """Move the video of another take into the run's folder.

        It is known by its content: a start that was killed may have left it here. One that no take knows may be of
        0.1.0, which did not note it.
        """
        if not others or not self.out.is_file():
            return
        found = file_digest(self.out)
        whose = [take for take in others if take.video == found] or [take for take in others if take.video == ""]
        if whose and not self.older_path(whose[-1].number).exists():
            check()
            _move(self.out, self.older_path(whose[-1].number))


def _move(path: Path, place: Path) -> None:
    """Move a file, whole or not at all, to another volume too."""
    try:
        os.rename(path, place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with write_whole(place) as part:
            shutil.copyfile(path, part)
        path.unlink()
