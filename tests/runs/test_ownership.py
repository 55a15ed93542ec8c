"""One owner at a time: by a lock of the system, and by a file with a heartbeat where a volume has no locks."""

import errno
import json
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, suppress

import pytest
import windows_rules
from run_parts import posix_only

from everanimate_core.runs import ownership
from everanimate_core.runs.ownership import LinkedLock, OwnershipLost, Taken, is_owned, owned

# Signs of life ten times a second; without one for a second, others may take over.
FAST = {"heartbeat": 0.1, "stale": 1.0}


@pytest.fixture
def no_locks(monkeypatch):
    """A volume that has no locks."""

    def refuse(handle):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(ownership, "_lock", refuse)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "dance"


def names(place):
    return sorted(path.name for path in place.parent.iterdir())


def refusal(place):
    with pytest.raises(Taken) as caught, owned(place, **FAST):
        pass
    return caught.value


class Child:
    """A process that owns `place` until it is told to check and end."""

    def __init__(self, place):
        ready, told = os.pipe()
        go, self.go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 3
            try:
                with owned(place, **FAST) as check:
                    os.write(told, b"x")
                    os.read(go, 1)
                    check()
                    status = 0
            except OwnershipLost:
                status = 1
            except Taken:
                os.write(told, b"x")
                status = 2
            finally:
                os._exit(status)
        os.read(ready, 1)

    def end(self):
        """Its status: 0 it had it to the end, 1 it lost it, 2 it never had it."""
        os.write(self.go, b"x")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def test_a_lock_of_the_system(place):
    with owned(place) as check:
        check()
        assert names(place) == [".dance.lock"]
        assert str(refusal(place)) == refusal(place).until == ""
        with owned(place.with_name("other")):
            pass
        assert names(place) == [".dance.lock"]
    assert names(place) == []
    with pytest.raises(KeyboardInterrupt), owned(place):
        raise KeyboardInterrupt
    assert names(place) == []


@posix_only
def test_a_killed_program_keeps_nobody_out(place):
    child = Child(place)
    refusal(place)
    child.kill()
    # The file that it left is taken, and then removed.
    left = (place.parent / ".dance.lock").stat()
    with owned(place) as check:
        check()
        assert os.path.samestat(left, (place.parent / ".dance.lock").stat())
    assert names(place) == []


@posix_only
def test_many_that_come_and_go_are_never_two_at_once(place):
    """Each owner makes a file that must not be there, and removes it; the lock is taken and left all the time."""
    inside, children = place / "inside", []
    place.mkdir()

    def contend():
        turns = 0
        while turns < 50:
            with suppress(Taken), owned(place):
                inside.open("x").close()
                # Others come now, on however few cores.
                os.sched_yield()
                inside.unlink()
                turns += 1

    for _ in range(8):
        children.append(os.fork())
        if children[-1] == 0:
            status = 1
            try:
                contend()
                status = 0
            finally:
                os._exit(status)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
    assert (names(place), list(place.iterdir())) == (["dance"], [])


@posix_only
def test_who_locks_a_file_that_was_removed_meanwhile_takes_the_new_one(place, monkeypatch):
    lock, real, opened = place.parent / ".dance.lock", ownership._lock, []

    def late(handle):
        # The owner before ends between our opening of its file and our locking of it; a new one comes, and is killed.
        if not opened:
            lock.unlink()
            lock.touch()
        opened.append(os.fstat(handle))
        real(handle)

    monkeypatch.setattr(ownership, "_lock", late)
    with owned(place):
        assert [os.path.samestat(file, lock.stat()) for file in opened] == [False, True]
        assert str(refusal(place)) == ""
    assert names(place) == []


@posix_only
def test_what_another_locks_under_the_name_stays(place):
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(owned(place))
        (place.parent / ".dance.lock").unlink()
        second.enter_context(owned(place))
        first.close()
        assert names(place) == [".dance.lock"]
        assert str(refusal(place)) == ""
    assert names(place) == []


def test_what_a_machine_with_locks_may_hold_stays(place, no_locks):
    (place.parent / ".dance.lock").touch()
    with owned(place, **FAST):
        assert names(place) == [".dance.lock", ".dance.owner"]
    assert names(place) == [".dance.lock"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_by_windows_rules_the_file_goes_when_nobody_has_it_open(place, monkeypatch):
    windows_rules.install(monkeypatch)
    monkeypatch.setattr(ownership, "_REMOVES_OPEN_FILES", False)
    with owned(place):
        refusal(place)
        assert names(place) == [".dance.lock"]
    assert names(place) == []


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL", "EIO"])
def test_without_locks_a_file_says_who_it_is(place, monkeypatch, error):
    def refuse(handle):
        raise OSError(getattr(errno, error), "no locks here")

    monkeypatch.setattr(ownership, "_lock", refuse)
    with owned(place, **FAST) as check:
        check()
        assert names(place) == [".dance.owner"]
        told = json.loads((place.parent / ".dance.owner").read_bytes()[32:])
        assert told["process"] == os.getpid()
        taken = refusal(place)
        assert str(taken) == f"process {os.getpid()} on {told['machine']}"
        assert taken.until == "1 seconds after it was killed it may be taken over"
        check()
    assert names(place) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("Thread") and thread.daemon]


def test_other_faults_of_locks_are_faults(place, monkeypatch):
    def refuse(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ownership, "_lock", refuse)
    with pytest.raises(OSError, match="No space"), owned(place):
        pass


def test_a_sign_of_life_keeps_others_out_for_long(place, no_locks):
    with owned(place, **FAST) as check:
        time.sleep(2 * FAST["stale"])
        assert str(refusal(place)).startswith(f"process {os.getpid()} on ")
        check()
    # It was its own to the end, and nobody has to wait for it.
    assert names(place) == []


@posix_only
def test_what_a_killed_owner_held_is_taken_over_when_it_is_stale(place, no_locks):
    child = Child(place)
    child.kill()
    refusal(place)
    time.sleep(1.5 * FAST["stale"])
    with owned(place, **FAST) as check:
        check()
        refusal(place)
    assert names(place) == []


@posix_only
def test_a_paused_owner_that_wakes_up_stops(place, no_locks):
    child = Child(place)
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(1.5 * FAST["stale"])
    with owned(place, **FAST) as check:
        os.kill(child.pid, signal.SIGCONT)
        assert child.end() == 1
        # It harmed nothing: neither the owner's file nor its ownership.
        time.sleep(3 * FAST["heartbeat"])
        check()
        refusal(place)


@posix_only
def test_a_pause_that_nobody_noticed_costs_nothing(place, no_locks):
    child = Child(place)
    os.kill(child.pid, signal.SIGSTOP)
    time.sleep(1.5 * FAST["stale"])
    os.kill(child.pid, signal.SIGCONT)
    assert child.end() == 0


@posix_only
@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_come_at_once_one_gets_it(place, no_locks, stale):
    if stale:
        Child(place).kill()
        time.sleep(1.5 * FAST["stale"])
    children = [Child(place) for _ in range(5)]
    assert sorted(child.end() for child in children) == [0, 2, 2, 2, 2]
    assert names(place) == []


def test_a_machine_with_locks_respects_one_without(place, monkeypatch):
    with ExitStack() as held:
        with monkeypatch.context() as patch:
            patch.setattr(ownership, "_lock", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOLCK, "none")))
            held.enter_context(owned(place, **FAST))
        refusal(place)
        assert names(place) == [".dance.owner"]
    with owned(place, **FAST):
        pass


def test_an_owner_file_that_somebody_deleted_is_an_ownership_lost(place, no_locks):
    with owned(place, **FAST) as check:
        (place.parent / ".dance.owner").unlink()
        with pytest.raises(OwnershipLost):
            check()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"x" * 40, b"x" * 32 + b' {"machine": "\\u001b[2J", "process": 1}', b"[" * 5000]
)
def test_an_owner_file_of_anything_keeps_others_out_until_it_is_stale(place, no_locks, content):
    path = place.parent / ".dance.owner"
    path.write_bytes(content)
    assert str(refusal(place)).isprintable()
    os.utime(path, (0, 0))
    with owned(place, **FAST) as check:
        check()


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_is_a_link_is_refused(place, there):
    outside = place.parent / "outside"
    if there:
        outside.write_text("another's")
    (place.parent / ".dance.lock").symlink_to(outside)
    with pytest.raises(LinkedLock, match=r"\.dance\.lock"), owned(place):
        pass
    assert outside.exists() == there
    assert not there or outside.read_text() == "another's"


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes with names")
def test_a_lock_that_is_no_file_is_refused(place):
    os.mkfifo(place.parent / ".dance.lock")
    with pytest.raises(LinkedLock), owned(place):
        pass


def test_an_owner_file_that_is_a_link_is_not_written_through(place, no_locks):
    outside = place.parent / "outside"
    outside.write_text("another's")
    os.utime(outside, (0, 0))
    (place.parent / ".dance.owner").symlink_to(outside)
    with owned(place, **FAST) as check:
        check()
        time.sleep(3 * FAST["heartbeat"])
    assert outside.read_text() == "another's"


# --- only looking -----------------------------------------------------------------------------------------------------


def test_who_looks_sees_whether_a_living_program_owns_it(place):
    assert not is_owned(place)
    with owned(place):
        assert is_owned(place)
        assert not is_owned(place.with_name("other"))
    assert not is_owned(place)
    assert names(place) == []


@posix_only
def test_what_a_killed_program_left_is_owned_by_nobody(place):
    Child(place).kill()
    assert names(place) == [".dance.lock"]
    assert not is_owned(place)
    # Who looked took nothing, and kept nothing.
    assert names(place) == [".dance.lock"]
    with owned(place):
        pass


def test_without_locks_who_looks_goes_by_the_sign_of_life(place, no_locks):
    with owned(place, **FAST):
        assert is_owned(place, FAST["stale"])
    owner = place.parent / ".dance.owner"
    owner.write_bytes(b"x" * 32)
    assert is_owned(place, FAST["stale"])
    os.utime(owner, (0, 0))
    assert not is_owned(place, FAST["stale"])
    assert names(place) == [".dance.owner"]


@posix_only
def test_a_look_keeps_nobody_out(place, monkeypatch):
    """An owner that comes while somebody looks waits for a moment."""
    Child(place).kill()
    real, looks = ownership._lock, []

    def while_somebody_looks(handle):
        if not looks:
            looks.append(handle)
            raise BlockingIOError(errno.EAGAIN, "locked")
        real(handle)

    monkeypatch.setattr(ownership, "_lock", while_somebody_looks)
    with owned(place) as check:
        check()
    assert len(looks) == 1


@pytest.mark.parametrize("there", [True, False])
def test_who_looks_follows_no_link(place, there):
    outside = place.parent / "outside"
    if there:
        outside.touch()
    (place.parent / ".dance.lock").symlink_to(outside)
    assert not is_owned(place)
    assert outside.exists() == there
