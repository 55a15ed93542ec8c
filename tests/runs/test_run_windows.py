"""Whole runs by Windows' rules, and on volumes that have no locks."""

import errno
import os
import signal
import sys
import time
from functools import partial

import pytest
import windows_rules
from exact_parts import ExactCodec
from run_parts import (
    POSE_VIDEO,
    Sampler,
    assert_same_result,
    posix_only,
    refused,
    stop_at,
    with_sound_of_its_own,
)

from everanimate_core import files
from everanimate_core.media.sound import FileSound
from everanimate_core.runs import ownership
from everanimate_core.runs import store as run_store
from everanimate_core.runs.store import RunFailed, RunStore

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@linux_only
def test_whole_runs_by_windows_rules_leave_no_handle(place, job, fresh, monkeypatch):
    expected = fresh(job())
    windows_rules.install(monkeypatch)
    monkeypatch.setattr(ownership, "_REMOVES_OPEN_FILES", False)
    before = windows_rules.handles()
    stop_at(place, job(), "finished", 1)
    assert windows_rules.handles() == before
    place.start(job())
    # Chunk 2 was sampled while chunk 1 was finished.
    assert (place.made, place.kept) == ([3, 4, 5], [0, 1])
    assert_same_result(place.result(), expected)
    place.start(job())
    place.start(job(seed=5), from_chunk=2)
    assert place.made == [2, 3, 4, 5]
    place.segment_path(1).unlink()
    place.chunk_path(0).unlink()
    place.start(job(seed=5))
    assert (place.made, place.kept) == ([0], [1, 2, 3, 4, 5])
    place.start(job(), resume=False)
    assert place.made == [0, 1, 2, 3, 4, 5]
    files = [f"0000{number}.{kind}" for number in (1, 2, 3) for kind in ("jpg", "json", "mp4", "png")]
    files.remove("00003.mp4")
    assert sorted(path.name for path in (place.store.folder / "takes").iterdir()) == files
    assert windows_rules.handles() == before
    assert not list(place.root.glob(".*"))
    assert not [name for name in windows_rules.opened() if str(place.root) in name]
    assert place.path.read_bytes() == expected[3]


@linux_only
def test_a_picture_that_a_program_shows_ends_no_run(place, job, fresh, monkeypatch):
    expected = fresh(job())
    stop_at(place, job(), "finished", 1)
    shown = place.store.folder / "takes" / "00001.png"
    before = shown.read_bytes()
    windows_rules.install(monkeypatch)
    with shown.open("rb"):
        place.start(job())
        assert shown.read_bytes() == before
    assert_same_result(place.result(), expected)
    assert sorted(path.name for path in shown.parent.iterdir()) == ["00001.jpg", "00001.json", "00001.png"]


# --- on volumes without locks ----------------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch):
    """A volume without locks, where a sign of life comes ten times a second."""

    def refuse(handle):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(ownership, "_lock", refuse)
    monkeypatch.setattr(run_store, "owned", partial(ownership.owned, heartbeat=0.1, stale=1.0))


def test_a_run_without_locks_and_a_second_writer(place, job, fresh, no_locks):
    told = []

    def second(done):
        told.append(refused(RunStore(place.store.folder).locked().__enter__))

    place.start(job(), on_chunk=second)
    assert_same_result(place.result(), fresh(job()))
    assert told[0].startswith(
        "a run is written by one program at a time (choose another run name or --out, or wait: 1 seconds after it was "
        f"killed it may be taken over); got a second one for {place.store.folder}, held by process {os.getpid()} on "
    )
    assert sorted(path.name for path in place.root.iterdir()) == ["dance", "dance.mp4"]


@posix_only
@pytest.mark.parametrize("when", ["sampling", "writing"])
def test_a_paused_run_that_was_taken_over_stops_and_harms_nothing(place, job, fresh, no_locks, when):
    ready, told = os.pipe()
    words, said = os.pipe()

    def pause(index):
        if index == 2:
            os.write(told, b"x")
            os.kill(os.getpid(), signal.SIGSTOP)

    def sample(request, seed):
        if when == "sampling":
            pause(request.index)
        return Sampler()(request, seed)

    class Pausing(ExactCodec):
        index = 0

        def decode(self, latents):
            if when == "writing":
                pause(self.index)
            self.index += 1
            return super().decode(latents)

    child = os.fork()
    if child == 0:
        try:
            place.start(with_sound_of_its_own(job(), FileSound(POSE_VIDEO)), sample, Pausing())
        except RunFailed as error:
            os.write(said, str(error).encode())
        finally:
            os._exit(0)
    os.read(ready, 1)
    time.sleep(1.5)
    place.start(job())
    # While chunk 2 was sampled, chunk 1 was finished beside it, or not yet.
    assert place.kept in ([[0, 1], [0]] if when == "sampling" else [[0, 1]])
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.root.rglob("*") if path.is_file()}
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)
    assert os.read(words, 9999).decode() == (
        f"a run is written by one program at a time; another one took over {place.store.folder} while this one was "
        "paused, and goes on there."
    )
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.root.rglob("*") if path.is_file()}
    assert after == before
    assert_same_result(place.result(), fresh(job()))


def paused_before_rename(place, job, is_late):
    """A child process that starts the run, and is paused for longer than its lease just before it gives a file its
    name: the first whose path `is_late` takes."""
    ready, told = os.pipe()
    replaced = files._replace

    def late(part, path):
        if is_late(path):
            os.write(told, b"x")
            os.kill(os.getpid(), signal.SIGSTOP)
        replaced(part, path)

    child = os.fork()
    if child == 0:
        try:
            files._replace = late
            place.start(with_sound_of_its_own(job, FileSound(POSE_VIDEO)))
        finally:
            os._exit(0)
    os.close(told)
    assert os.read(ready, 1) == b"x"
    time.sleep(1.5)
    return child


@posix_only
@pytest.mark.parametrize(
    ("ending", "written"), [(".safetensors", 1), (".safetensors", 2), (".json", 1), ("5x24000-1001.mp4", 1)]
)
def test_a_late_write_lands_under_its_key_and_harms_nothing(place, job, fresh, no_locks, monkeypatch, ending, written):
    """The worst moment: the owner is paused between its last look at the owner's file and the renaming."""
    key, seen = fresh(job())[0][1][2].key, []

    def is_late(path):
        if path.name in (f"{key}{ending}", f"{key}-{ending}"):
            seen.append(path)
            return len(seen) == written
        return False

    child = paused_before_rename(place, job(), is_late)
    # Nothing is cleared away below it, as on a volume where the new owner does not see its file yet.
    monkeypatch.setattr(RunStore, "clear", lambda store: None)
    place.start(job())
    before = place.contents()
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)
    # The late file is the same, byte for byte. But a record keeps its own seconds, which may be those of the other one,
    # and a chunk is first written as it was sampled: what it hands on is made of that again.
    after, sampled = place.contents(), (ending, written) == (".safetensors", 1)
    late = f"dance/chunks/{key}{ending}"
    different = [name for name, content in after.items() if content != before.get(name)]
    assert different == [late] if sampled else different in ([], [late] if ending == ".json" else [])
    assert all(".part" in name for name in before.keys() - after.keys())
    place.start(job())
    assert (place.made, place.kept) == ([], [0, 1, 3, 4, 5] if sampled else [0, 1, 2, 3, 4, 5])
    assert_same_result(place.result(), fresh(job()))


@posix_only
def test_a_late_list_of_a_take_is_completed_by_the_next_start(place, job, fresh, no_locks, monkeypatch):
    def is_late(path):
        return path.name == "00001.json" and len(place.take().chunks if place.take() else ()) == 2

    child = paused_before_rename(place, job(), is_late)
    monkeypatch.setattr(RunStore, "clear", lambda store: None)
    place.start(job())
    assert len(place.take().chunks) == 6
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)
    # The list of before; no chunk of it is lost.
    assert len(place.take().chunks) == 3
    place.start(job())
    assert (place.made, place.kept) == ([], [0, 1, 2, 3, 4, 5])
    assert_same_result(place.result(), fresh(job()))
