"""Files that appear whole or not at all, on every system.

What is not finished has a hidden name of its own beside its place, which nobody can have planted a link under, and
which a later start recognises and clears away when the program was killed.
"""

import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# On Windows, virus scanners and indexers hold a new file for moments, and it cannot be renamed meanwhile.
_PATIENCE = (0.05, 0.2, 1.0)
_PART = re.compile(r"\.everanimate-([0-9a-f]{16})-[0-9a-f]{8}\.part(\..*)?")


@contextmanager
def write_whole(path: str | os.PathLike, check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """An empty, hidden file beside `path`, with its suffix; what the block writes there is called `path` at its end.

    The content is on the disk before it has the name. When the block raises, the part is deleted and an older file of
    that name stays as it is. The folder must exist. check is called before the file gets its name; what it raises is
    raised here, as if the block had.
    """
    path = Path(path)
    part = _new_part(path)
    try:
        yield part
        check()
        sync_file(part)
        check()
        _replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    sync_folder(path.parent)


def probe(path: str | os.PathLike) -> float:
    """The time now, in seconds, by the clock of the volume that `path` lies on.

    A part of `path` is made and deleted for it: OSError where no file can be made beside `path`.
    """
    part = _new_part(Path(path))
    try:
        return part.stat().st_mtime
    finally:
        part.unlink()


def clear_parts(path: str | os.PathLike) -> None:
    """Delete what a killed program left of unfinished files for `path`; for a folder, of all files in it.

    Only for whoever has `path` to itself: a part that is still being written would go too.
    """
    path = Path(path)
    folder, wanted = (path, None) if path.is_dir() else (path.parent, _name_digest(path))
    with suppress(FileNotFoundError, NotADirectoryError):
        for found in list(folder.iterdir()):
            part = _PART.fullmatch(found.name)
            if part and wanted in (None, part[1]):
                with suppress(OSError):
                    found.unlink()


def sync_file(path: str | os.PathLike) -> None:
    """Wait until the content of a file is on the disk."""
    # Opened for writing: Windows refuses to flush a handle that was opened for reading.
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: str | os.PathLike) -> None:
    """Wait until the names in a folder are on the disk, where the system knows such a thing."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Network volumes, which have no such thing either.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _new_part(path: Path) -> Path:
    """Make an empty part of `path`."""
    part = path.with_name(f".everanimate-{_name_digest(path)}-{secrets.token_hex(4)}.part{path.suffix}")
    # O_EXCL: never through a link, never into a file that is there.
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return part


def _name_digest(path: Path) -> str:
    """Stands for a file's name in that of its parts, which must not become longer than a name may be."""
    return hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()


def _replace(part: Path, path: Path) -> None:
    for pause in _PATIENCE:
        try:
            return os.replace(part, path)
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(pause)
    os.replace(part, path)
