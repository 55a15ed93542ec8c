"""Full disks, folders that cannot be written or are deleted, inputs that fail midway: what is finished is kept."""

import errno
import os
from collections import namedtuple
from pathlib import Path

import pytest
from exact_parts import Frames
from run_parts import CHUNKS, POSE, Sampler, assert_same_result, full_disk, posix_only, refused, video_of

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.media.open import VideoError
from everanimate_core.runs import preflight
from everanimate_core.runs.preflight import needed_bytes
from everanimate_core.runs.run import run
from everanimate_core.runs.store import RunFailed, RunStore
from everanimate_core.runs.videos import NewestVideo

Usage = namedtuple("Usage", "total used free")


# --- room ------------------------------------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("size", [0, 500, 2000, 4000, 7500])
def test_a_full_disk_keeps_what_is_finished(place, job, fresh, size):
    place.start(job(14))
    before = place.files(0, 1)
    with full_disk(size):
        message = refused(place.start, job(), kind=RunFailed)
    finished = len(place.take().chunks)
    assert message.startswith("the run's files must be writable and the disk not full; got ")
    assert message.endswith(
        f"{finished} finished chunks are kept in {place.store.folder}; the same run goes on from there."
    )
    assert place.files(0, 1) == before
    assert not [path for path in place.root.rglob("*") if ".part" in path.name]
    place.start(job())
    assert place.kept == list(range(finished))
    assert_same_result(place.result(), fresh(job()))


@posix_only
def test_a_disk_too_full_for_the_joined_video(finished, job):
    expected = finished.result()
    largest = max(path.stat().st_size for path in finished.store.folder.glob("chunks/*"))
    finished.path.unlink()
    assert largest < len(expected[3])
    with full_disk(largest):
        assert "6 finished chunks are kept" in refused(finished.start, job(), kind=RunFailed)
    assert not finished.path.exists()
    finished.start(job())
    assert finished.made == []
    assert_same_result(finished.result(), expected)


def test_room_for_the_chunks_to_come(finished, job, monkeypatch):
    task = job(10**5)
    chunks, video = needed_bytes(task.method, task.plan.chunk_count - CHUNKS)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(10**12, 0, chunks + video - 1))
    before = finished.files()
    assert refused(finished.start, task, kind=RunFailed) == (
        "the disk must have room for what the run still has to write, about "
        f"{(chunks + video) / 1e6:.1f} MB (make room, or choose another place); got {(chunks + video - 1) / 1e6:.1f} "
        f"MB free in {finished.store.folder}."
    )
    assert finished.made == []
    assert finished.files(number=1) == before
    # A chunk that is made again alone needs room for itself.
    chunks, video = needed_bytes(job().method, 1)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(10**12, 0, chunks + video))
    finished.start(job(seed=7), only_chunk=2)
    assert finished.made == [2]
    # What is there already needs no room, and a volume that does not say how large it is has room.
    finished.start(job())
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    finished.start(job(37))


def test_the_size_of_what_is_to_come(job):
    task = job(24)
    # A chunk: 16 x 3 latents of 2 x 4, and a frame of 16 x 32; once: four anchors. Videos: a bit a pixel.
    floats = 4 * (16 * 3 * 2 * 4 + 16 * 32 * 3) + 16 * 4 * 2 * 4
    video = 24 * 16 * 32 // 8
    assert needed_bytes(task.method, 4) == (4 * floats + video, video)
    assert needed_bytes(task.method, 1) == ((4 * floats + video) // 4, video)
    assert needed_bytes(task.method, 0) == (0, video)
    # Three candidates for each.
    assert needed_bytes(task.method, 12) == (3 * (4 * floats + video), video)


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["file/dance", "/proc/everanimate/dance"])
def test_a_folder_that_cannot_be_made(tmp_path, place, job, folder):
    (tmp_path / "file").write_text("in the way")
    place.store = RunStore(tmp_path / folder)
    with pytest.raises(RunFailed, match=r"must be writable.*0 finished chunks"):
        place.start(job())
    assert place.made == []


def test_a_video_that_cannot_be_written(tmp_path, place, job):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFailed, match=r"must be writable.*0 finished chunks"):
        videos = NewestVideo(tmp_path / "file" / "dance.mp4", place.store.folder)
        run(job(), place.store, Sampler(), place.codec, videos)
    # Folders that are not there yet are made before anything is sampled.
    path = tmp_path / "new" / "folder" / "dance.mp4"
    run(job(14), place.store, Sampler(), place.codec, NewestVideo(path, place.store.folder))
    assert len(video_of(path)[0]) == 14


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("folder", ["dance", "."])
def test_a_folder_without_the_right_to_write(finished, job, folder):
    (finished.root / folder).chmod(0o555)
    with pytest.raises(RunFailed, match="must be writable"):
        finished.start(job())
    assert finished.made == []
    (finished.root / folder).chmod(0o755)


@pytest.mark.parametrize("name", ["chunks", "takes", "dance.mp4"])
def test_a_place_where_no_file_can_be_made(place, job, monkeypatch, name):
    """As on a volume that is read only, or in a folder of another user."""
    real = os.open

    def refuse(path, flags, *mode, **options):
        if flags & os.O_CREAT and Path(path).parent == forbidden:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *mode, **options)

    place.path = place.root / "video" / "dance.mp4"
    forbidden = place.path.parent if name == "dance.mp4" else place.store.folder / name
    monkeypatch.setattr(os, "open", refuse)
    told = refused(place.start, job(), kind=RunFailed)
    assert "must be writable and the disk not full; got [Errno 30] Read-only file system" in told
    assert place.made == []
    assert not place.store.folder.exists()


@pytest.mark.parametrize("chunk", [0, 2])
def test_a_folder_that_is_deleted_in_mid_run(tmp_path, place, job, chunk):
    def delete(done):
        if done.index == chunk:
            # At once: pictures are drawn beside this.
            place.store.folder.rename(tmp_path / "gone")

    assert refused(place.start, job(), on_chunk=delete, kind=RunFailed) == (
        "a run's folder must stay where it is while the run is going (the next start makes all chunks anew, or puts it "
        f"back first); {place.store.folder} was deleted or moved."
    )
    assert place.everything() == {}
    place.start(job())
    assert place.made == [0, 1, 2, 3, 4, 5]


def test_files_that_are_deleted_in_mid_run_are_not_said_to_be_kept(place, job, fresh):
    def delete(done):
        if done.index == 4:
            place.chunk_path(1).unlink()
            place.segment_path(1).unlink()

    told = refused(place.start, job(), on_chunk=delete, kind=RunFailed)
    assert told.endswith(f"1 finished chunks are kept in {place.store.folder}; the same run goes on from there.")
    place.start(job())
    assert (place.made, place.kept) == ([1], [0, 2, 3, 4, 5])
    assert place.store.take_numbers() == [1]
    assert_same_result(place.result(), fresh(job()))


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_an_input_that_fails_midway_is_a_failed_run(place, job, fresh):
    class Damaged(Frames):
        def read(self, indices):
            if max(indices) > 20:
                raise VideoError("every frame", "must be decodable", "", "no frame 21 from pose.mp4")
            return super().read(indices)

    told = refused(place.start, job(drivers=Drivers(pose=Damaged(POSE.pose.frames))), kind=RunFailed)
    assert told == (
        "every frame must be decodable; got no frame 21 from pose.mp4. 3 finished chunks are kept in "
        f"{place.store.folder}; the same run goes on from there."
    )
    assert len(video_of(place.path)[0]) == 19
    place.start(job())
    assert place.kept == [0, 1, 2]
    assert_same_result(place.result(), fresh(job()))
