"""One owner at a time for something on disk: by a lock of the system, and where a volume has none, by a file.

Network volumes (NFS, SMB, FUSE) may have no locks. There the owner writes its name into a file and renews it every
20 seconds; a file that was not renewed for two minutes, by the clock of the volume itself, may be taken over. An owner
that was paused meanwhile finds another name in the file before it changes anything, and stops.

A lock of the system goes with the program that holds it, and nothing that was left behind has to be waited for. The
owner removes the locked file at its end; the file of a killed program is taken, and then removed, by the next. The lock
is taken directly: the host brings some version of `filelock`, and these differ in just what matters here (links that
are followed, a silent change to lock files that outlive a killed program).
"""

import errno
import json
import os
import secrets
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from ..files import probe, sync_file, write_whole

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


HEARTBEAT, STALE = 20.0, 120.0
# Seconds, far longer than it takes to look whether a lock is held.
_LOOK = 0.05
# Whether a file can be removed while it is open. Windows refuses that to everybody, whoever has it open.
_REMOVES_OPEN_FILES = sys.platform != "win32"
_HELD_BY_ANOTHER = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}
# What volumes without locks say; the last two come from SMB.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EIO}


class Taken(Exception):
    """Another program has it. `until` says what helps besides waiting for it, empty where nothing does."""

    def __init__(self, who: str = "", until: str = ""):
        super().__init__(who)
        self.until = until


class OwnershipLost(Exception):
    """Another program took over from this one, which was paused for long."""


class LinkedLock(Exception):
    """The lock is a link or something else that is no plain file: who put it there may mean another file."""


@contextmanager
def owned(place: Path, heartbeat: float = HEARTBEAT, stale: float = STALE) -> Iterator[Callable[[], None]]:
    """Own what `.NAME.lock` (or `.NAME.owner`), hidden beside `place`, stands for; gives the check of it.

    The check raises OwnershipLost when another program took over; call it just before anything is changed. heartbeat,
    stale: seconds between two signs of life, and without one until others may take over; the same for all programs.
    Raises Taken when another program has it, LinkedLock, and OSError where no file can be made.
    """
    owner = _OwnerFile(place.with_name(f".{place.name}.owner"), heartbeat, stale)
    with ExitStack() as held:
        if held.enter_context(_system_lock(place.with_name(f".{place.name}.lock"))):
            # The same volume may have no locks for another machine.
            owner.refuse_living()
            yield lambda: None
        else:
            held.enter_context(owner.held())
            yield owner.check


def is_owned(place: Path, stale: float = STALE) -> bool:
    """Whether a living program owns what stands for `place`, for whoever only looks; see `owned`."""
    lock, owner = (place.with_name(f".{place.name}.{ending}") for ending in ("lock", "owner"))
    try:
        # Who may not write there does not learn it. What is no file was put there by somebody else, and is no lock.
        with suppress(OSError):
            if lock.is_file() and not lock.is_symlink():
                with lock.open("r+b") as file:
                    if _lock_now(file.fileno()):
                        _unlock(file.fileno())
            _OwnerFile(owner, HEARTBEAT, stale).refuse_living()
    except Taken:
        return True
    return False


@contextmanager
def _system_lock(path: Path) -> Iterator[bool]:
    """Hold the system's lock on `path`; False where the volume has none. No file is left at the end.

    Raises Taken when another program holds it.
    """
    while True:
        with _opened(path) as (handle, new):
            locked = _locked(handle)
            # Between opening and locking, the owner may have removed the file: others then lock a new one.
            if locked and not _is_at(handle, path):
                continue
            # Without a lock, a file that was there may be the one that another machine has locked.
            if not locked and new:
                _remove(path)
            try:
                yield locked
            finally:
                if locked:
                    # While it is still locked: once it is not, it may be another's.
                    if _is_at(handle, path):
                        _remove(path)
                    _unlock(handle)
            return


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, bool]]:
    """The lock's file, open, and whether it was made just now."""
    handle, new = _open_lock(path)
    try:
        yield handle, new
    finally:
        os.close(handle)  # lets go of the lock, too
        if not _REMOVES_OPEN_FILES:
            # Fails as long as another program has it open, which then removes it.
            with suppress(OSError):
                path.unlink()


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one that is called `path`."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """Remove an open file, where that can be done."""
    if _REMOVES_OPEN_FILES:
        # Some volumes refuse it. Then the file stays, and the next owner takes it.
        with suppress(OSError):
            path.unlink()


def _locked(handle: int) -> bool:
    """Lock an open file; False where the volume has no locks."""
    with suppress(Taken):
        return _lock_now(handle)
    # Perhaps somebody only looked, as `is_owned` does.
    time.sleep(_LOOK)
    return _lock_now(handle)


def _lock_now(handle: int) -> bool:
    try:
        _lock(handle)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            raise Taken from None
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _open_lock(path: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        try:
            handle, new = os.open(path, flags | os.O_EXCL, 0o666), True
        except FileExistsError:
            handle, new = os.open(path, flags, 0o666), False
    except OSError:
        if path.is_symlink():
            raise LinkedLock(path) from None
        raise
    # Where there is no O_NOFOLLOW, the link was followed, but nothing is ever written through it.
    if path.is_symlink() or not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise LinkedLock(path)
    return handle, new


class _OwnerFile:
    """Who owns it, in a file that is renewed. Its first bytes are the owner's id, the rest is for people."""

    def __init__(self, path: Path, heartbeat: float, stale: float):
        self.path, self.heartbeat, self.stale = path, heartbeat, stale
        self.id = secrets.token_hex(16).encode()
        self.ended = Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the owner, with a thread that renews the file."""
        self.take()
        thread = Thread(target=self.live, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.ended.set()
            thread.join()
            # Only what is certainly our own: after a pause it may be another's at any moment.
            if time.monotonic() - self.renewed < self.stale / 2:
                with suppress(OSError, OwnershipLost):
                    self.check()
                    self.path.unlink()

    def take(self) -> None:
        """Write our name into the file, which must not be there or be stale."""
        self.renewed = time.monotonic()
        try:
            # "x": only one of two programs can make it, and never through a link.
            with self.path.open("xb") as file:
                file.write(self.content())
        except FileExistsError:
            self.refuse_living()
            with write_whole(self.path) as part:
                part.write_bytes(self.content())
            # Another program may be doing the same: the last name stays. What the one before has begun to change
            # with its own name still there is done by then, too.
            time.sleep(self.heartbeat / 10)
            with suppress(OwnershipLost):
                return self.check()
            raise Taken(self.who(), self.until()) from None
        sync_file(self.path)

    def refuse_living(self) -> None:
        """Raise Taken when there is an owner that was renewed not long ago."""
        try:
            # Opened: a network volume then asks for the time of change, which it otherwise remembers for a while.
            with self.path.open("rb") as file:
                renewed = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return
        if probe(self.path) - renewed < self.stale:
            raise Taken(self.who(), self.until())

    def live(self) -> None:
        """Renew the file until the end, or until it is another's."""
        while not self.ended.wait(self.heartbeat):
            # OSError: the network may be back the next time; if not, whatever is written next fails.
            with suppress(OSError):
                with self.path.open("r+b") as file:
                    if file.read(len(self.id)) != self.id:
                        return
                    file.seek(0)
                    file.write(self.content())
                    file.flush()
                    os.fsync(file.fileno())
                self.renewed = time.monotonic()

    def check(self) -> None:
        """Raise OwnershipLost unless the file is there with our name."""
        try:
            with self.path.open("rb") as file:
                found = file.read(len(self.id))
        except FileNotFoundError:
            found = b""
        if found != self.id:
            raise OwnershipLost

    def content(self) -> bytes:
        """Our id, and what people want to know."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        told = {"machine": socket.gethostname(), "process": os.getpid(), "time": now}
        return self.id + b" " + json.dumps(told).encode() + b"\n"

    def who(self) -> str:
        """The owner, for a message."""
        try:
            with self.path.open("rb") as file:
                told = json.loads(file.read(4096)[len(self.id) :])
            return f"process {int(told['process'])} on {ascii(str(told['machine'])[:80])[1:-1]}"
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return "an owner that does not say its name"

    def until(self) -> str:
        """What helps when the owner was killed."""
        return f"{self.stale:.0f} seconds after it was killed it may be taken over"
