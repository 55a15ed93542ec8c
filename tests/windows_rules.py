"""Windows' rules about open files, on a system that has none of them: what breaks one fails here as it would there."""

import contextlib
import errno
import os
from pathlib import Path


def opened():
    """The files that this process has open or mapped."""
    found = set()
    for handle in Path("/proc/self/fd").iterdir():
        # The handle that lists the folder is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(handle))
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        found.add(line.split(maxsplit=5)[-1])
    return found


def handles():
    """How many files, pipes and sockets are open."""
    return len(os.listdir("/proc/self/fd"))


def refuse_open(*paths):
    """Raise PermissionError when this process has one of these files open, or a file below one of these folders."""
    for path in map(os.path.realpath, paths):
        for other in opened():
            if other == path or other.startswith(f"{path}/"):
                raise PermissionError(errno.EACCES, "it is being used by another process", path)


def install(monkeypatch):
    """Give `os` Windows' rules: no flush of what was opened for reading, no renaming or deleting of open files."""
    import fcntl  # not on Windows itself, where the tests that need no rules import this module too

    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "unlink", "remove")}

    def fsync(handle):
        reading = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if reading and not os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EBADF, "Bad file descriptor")
        return real["fsync"](handle)

    def rename(source, destination, **options):
        refuse_open(source, destination)
        if os.path.lexists(destination):
            raise FileExistsError(errno.EEXIST, "it is there already", destination)
        return real["rename"](source, destination, **options)

    def replace(source, destination, **options):
        refuse_open(source, destination)
        return real["replace"](source, destination, **options)

    def unlink(path, **options):
        refuse_open(path)
        return real["unlink"](path, **options)

    rules = {"fsync": fsync, "replace": replace, "rename": rename, "unlink": unlink, "remove": unlink}
    for name, rule in rules.items():
        monkeypatch.setattr(os, name, rule)
