"""What a run never keeps, never harms, and knows before its first chunk; by stand-ins with exact arithmetic."""

import errno
import os
import random
import shutil
import signal
import sys
import time
from collections import namedtuple
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import pytest
import torch
import windows_rules
from exact_parts import ExactCodec, Frames, exact_pictures, exact_sampler
from safetensors.torch import load, save_file

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.media.reader import VideoFrames
from everanimate_core.plan import ChunkPlan
from everanimate_core.runs import ownership, preflight
from everanimate_core.runs import store as run_store
from everanimate_core.runs.fingerprint import digest, file_digest
from everanimate_core.runs.manifest import FIRST_FORMAT, Manifest
from everanimate_core.runs.preflight import needed_bytes
from everanimate_core.runs.run import Job, Progress, RunFailed, run
from everanimate_core.runs.store import RunError, RunStore, run_folder

DATA = Path(__file__).parents[1] / "data"
# Four chunks of 9 frames (3 latents) that share 4: 0..8, 9..13, 14..18, 19..23.
TOTAL, CHUNKS = 24, 4
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
posix_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")


def job(total=TOTAL, **changes):
    fields = {
        "plan": ChunkPlan(total, 9, 4),
        "memory": build_memory(exact_pictures(1), ExactCodec()),
        "drivers": Drivers(pose=Frames(exact_pictures(60, seed=1))),
        "settings": {"network": "exact"},
        "prompts": [""],
        "fps": Fraction(25),
    }
    return Job(**(fields | changes))


class Place:
    """A run folder, the video beside it, and what was made and kept in the last start."""

    def __init__(self, root, name="dance"):
        root.mkdir(exist_ok=True)
        self.root, self.store, self.path = root, RunStore(root / name), root / f"{name}.mp4"

    def start(self, task=None, sample=exact_sampler, codec=None, on_chunk=lambda done: None, **options):
        self.made, self.kept = [], []

        def sample_chunk(request, seed):
            self.made.append(request.index)
            return sample(request, seed)

        def watch(done):
            if done.kept:
                self.kept.append(done.index)
            on_chunk(done)

        return run(task or job(), self.store, sample_chunk, codec or ExactCodec(), self.path, on_chunk=watch, **options)

    def latents(self):
        return [load(path.read_bytes())["latents"] for path in sorted(self.store.folder.glob("chunk_*"))]

    def result(self):
        """All that must be as in a run that went through at once."""
        # The files of latents hold their metadata in any order.
        records = [{**vars(record), "seconds": 0, "latents": ""} for record in self.store.read_manifest().chunks]
        return records, [tensor.numpy().tobytes() for tensor in self.latents()], self.path.read_bytes()

    def files(self):
        """{name: content} of all files here but locks."""
        files = [path for path in self.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "out")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that went through at once."""
    place = Place(tmp_path_factory.mktemp("whole") / "out")
    place.start()
    return place


@pytest.fixture
def finished(whole, place):
    """A copy of it."""
    shutil.copytree(whole.root, place.root, dirs_exist_ok=True)
    return place


def refusal(call, *args, kind=RunError, **options):
    with pytest.raises(kind) as caught:
        call(*args, **options)
    return str(caught.value)


# --- nothing bad is kept ---------------------------------------------------------------------------------------------


def bad_from(index, spoil):
    def sample(request, seed):
        made = exact_sampler(request, seed)
        return spoil(made) if request.index >= index else made

    return sample


def one(value):
    def spoil(latents):
        latents = latents.clone()
        latents[0, 3, 1, 0, 2] = value
        return latents

    return spoil


BAD_LATENTS = {
    "nan": (one(float("nan")), "must be finite numbers (sample with the model in bf16 or fp32"),
    "infinite": (one(float("-inf")), "got 1 of 384 values that are NaN or infinite in chunk 2."),
    "all nan": (lambda latents: latents * float("nan"), "got 384 of 384 values"),
    "longer": (lambda latents: torch.cat([latents, latents[:, :, :1]], 2), "must be [3, 2, 4] frames, height, width"),
    "shorter": (lambda latents: latents[:, :, 1:], "got [2, 2, 4]."),
    "larger": (lambda latents: latents.repeat(1, 1, 1, 2, 2), "got [3, 4, 8]."),
    "of two": (lambda latents: latents.repeat(2, 1, 1, 1, 1), "of one video ([1, 16, 3, 2, 4]); got [2, 16, 3, 2, 4]"),
    "channels": (lambda latents: latents[:, :4], "got [1, 4, 3, 2, 4] for chunk 2."),
    "a picture": (lambda latents: latents[:, :, 0], "got [1, 16, 2, 4] for chunk 2."),
    "half": (lambda latents: latents.half(), "must be a float32 tensor; got torch.float16 for chunk 2."),
    "double": (lambda latents: latents.double(), "got torch.float64 for chunk 2."),
    "whole": (lambda latents: latents.int(), "got torch.int32 for chunk 2."),
    "nothing": (lambda latents: None, "got NoneType for chunk 2."),
    "a dict": (lambda latents: {"samples": latents}, "got dict for chunk 2."),
    "numpy": (lambda latents: latents.numpy(), "got ndarray for chunk 2."),
}


@pytest.mark.parametrize("name", BAD_LATENTS)
def test_bad_latents_are_refused_before_they_are_kept(place, whole, name):
    spoil, message = BAD_LATENTS[name]
    told = refusal(place.start, sample=bad_from(2, spoil), kind=RunFailed)
    assert told.startswith("Animate Long Video: a chunk's latents must be ")
    assert message in told
    assert told.endswith(
        f"Nothing of it was kept. 2 finished chunks are kept in {place.store.folder}; the same run goes on from there."
    )
    assert place.made == [0, 1, 2]
    assert not place.store.chunk_path(2).exists()
    assert len(place.store.read_manifest().chunks) == 2
    with VideoFrames(place.path) as video:
        assert video.frame_count == 14
    # A healed sampler is asked again, and the finished chunks stay.
    place.start()
    assert (place.made, place.kept) == ([2, 3], [0, 1])
    assert place.result() == whole.result()


def test_a_first_chunk_of_nan_leaves_nothing(place):
    told = refusal(place.start, sample=bad_from(0, one(float("nan"))), kind=RunFailed)
    assert "in chunk 0. Nothing of it was kept. 0 finished chunks" in told
    assert place.files() == {}
    assert not place.store.folder.exists()


class BadCodec(ExactCodec):
    """Frames of chunk `index` that are no numbers, as a VAE in fp16 makes them."""

    def __init__(self, index):
        self.left = index

    def decode(self, latents):
        self.left -= 1
        return super().decode(latents) * (float("nan") if self.left < 0 else 1)


@pytest.mark.parametrize("index", [0, 2])
def test_frames_that_are_no_numbers_are_refused_before_they_are_kept(place, whole, index):
    told = refusal(place.start, codec=BadCodec(index), kind=ValueError if index == 0 else RunFailed)
    assert told.startswith(
        f"Propagate Latents: the decoded frames of chunk {index} must be finite numbers (decode with the VAE in bf16 "
        "or fp32 instead of fp16); got NaN or infinity."
    )
    assert not place.store.segment_path(index).exists()
    assert len(place.store.read_manifest().chunks) == index
    # What was sampled was good: with a healed VAE it is not sampled again.
    place.start()
    assert (place.made, place.kept) == (list(range(index + 1, CHUNKS)), list(range(index)))
    assert place.result() == whole.result()


@pytest.mark.parametrize("name", ["nan", "longer", "half", "of two"])
def test_latents_on_disk_that_can_be_of_no_use_are_sampled_again(place, whole, name):
    class Stop(Exception):
        pass

    def stop(request, seed):
        if request.index == 2:
            raise Stop
        return exact_sampler(request, seed)

    with suppress(Stop):
        place.start(sample=stop)
    # As 0.1.0 kept them before it looked.
    task, manifest = job(), place.store.read_manifest()
    slices = {"pose": digest(task.drivers.pose.read(task.plan.source_indices(2, 60)))}
    key = digest(manifest.chunks[1].key, slices, "", 84)
    latents = BAD_LATENTS[name][0](whole.latents()[2]).contiguous()
    save_file({"latents": latents}, place.store.chunk_path(2), {"key": key, "latents": digest(latents)})
    assert place.store.sampled_latents(2, key) is not None
    place.start()
    assert place.made == [2, 3]
    assert place.result() == whole.result()


def test_drift_has_a_value_or_none(place):
    place.start(sample=lambda request, seed: torch.full(request.pose_latents.shape, 0.5))
    assert [record.drift for record in place.store.read_manifest().chunks] == [0] * CHUNKS
    other = Place(place.root, "large")
    outcome = other.start(
        job(14), sample=lambda request, seed: exact_sampler(request, seed) * (1e25 if request.index else 1)
    )
    assert [chunk["drift"] for chunk in outcome.report["chunks"]] == [0, None]
    text = (other.store.folder / "manifest.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    record = other.store.read_manifest().chunks[1]
    assert str(Progress(1, 4, record, kept=True)) == "chunk 2/4: frames 9-13, kept, drift unknown"


# --- there is always a way on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"x" * 99)])
def test_a_damaged_first_chunk_is_made_again_and_what_follows_stays(finished, whole, damage):
    before = finished.files()
    damage(finished.store.chunk_path(0))
    finished.start()
    assert (finished.made, finished.kept) == ([0], [1, 2, 3])
    changed = {name for name, content in finished.files().items() if content != before[name]}
    assert changed - {"dance/chunk_0000.safetensors"} == {"dance/manifest.json"}
    assert finished.result() == whole.result()
    finished.start()
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3])


def test_a_damaged_first_chunk_is_made_again_with_its_own_seed(finished):
    finished.start(job(seed=9), from_chunk=2)
    expected = finished.result()
    finished.store.chunk_path(0).unlink()
    finished.store.segment_path(0).unlink()
    finished.start(job(seed=9))
    assert (finished.made, finished.kept) == ([0], [1, 2, 3])
    assert finished.result() == expected


def test_a_damaged_first_chunk_that_was_made_from_something_else(finished):
    finished.store.chunk_path(0).unlink()
    before = finished.files()
    # Chunks before from_chunk stay as they are, but this one cannot be made as it was any more.
    assert refusal(finished.start, job(prompts=["turns"]), from_chunk=2) == (
        "Animate Long Video: chunk_0000.safetensors must be as it was written (start anew with resume false or "
        "--no-resume: the old run is set aside); got no file."
    )
    assert finished.made == []
    assert finished.files() == before
    finished.start(job(prompts=["turns"]), resume=False)
    assert finished.made == [0, 1, 2, 3]


def test_the_remade_chunk_of_another_machine_keeps_the_picture_that_goes_on(finished):
    before = finished.files()
    finished.store.chunk_path(0).unlink()
    finished.start(sample=lambda request, seed: exact_sampler(request, seed) + 1e-6)
    assert (finished.made, finished.kept) == ([0], [1, 2, 3])
    changed = {name for name, content in finished.files().items() if content != before[name]}
    assert changed == {"dance/chunk_0000.safetensors", "dance/manifest.json"}
    finished.start()
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3])


@pytest.mark.parametrize("chunk", [0, 2])
def test_a_folder_that_is_deleted_in_mid_run(place, chunk):
    def delete(done):
        if done.index == chunk:
            shutil.rmtree(place.store.folder)

    assert refusal(place.start, on_chunk=delete, kind=RunFailed) == (
        "Animate Long Video: a run's folder must stay where it is while the run is going (the next start makes all "
        f"chunks anew, or puts it back first); {place.store.folder} was deleted or moved."
    )
    assert place.files() == {}
    place.start()
    assert place.made == [0, 1, 2, 3]


def test_files_that_are_deleted_in_mid_run_are_not_said_to_be_kept(place):
    def delete(done):
        if done.index == 2:
            place.store.chunk_path(1).unlink()
            place.store.segment_path(1).unlink()

    told = refusal(place.start, on_chunk=delete, kind=RunFailed)
    assert told.endswith(f"1 finished chunks are kept in {place.store.folder}; the same run goes on from there.")
    assert "from_chunk or --from-chunk 1;" in refusal(place.start)
    place.start(from_chunk=1)
    # The latents of chunks 2 and 3 are those that it would sample.
    assert (place.made, place.kept) == ([1], [0])


# --- a run harms no other --------------------------------------------------------------------------------------------


def test_runs_whose_names_look_like_parts_stay_apart(tmp_path, whole):
    root = tmp_path / "out"
    other = Place(root, "a.part")
    other.start()
    before = other.files()
    Place(root, "a").start()
    after = other.files()
    assert {name: after[name] for name in before} == before


def test_a_run_named_as_the_video_of_another(place):
    root = place.root
    Place(root, "b.mp4").start(job(9))
    before = place.files()
    other = Place(root, "b")
    assert refusal(other.start) == (
        "Animate Long Video: no folder may stand where the finished video belongs (choose another run name or --out, "
        f"or move the folder away); got the folder {root / 'b.mp4'}."
    )
    assert other.made == []
    assert place.files() == before

    Place(root, "c").start(job(9))
    other = Place(root, "c.mp4")
    before = place.files()
    assert refusal(other.start) == (
        "Animate Long Video: no file may stand where the run's folder belongs (choose another run name or --run, or "
        f"move the file away); got the file {root / 'c.mp4'}."
    )
    assert other.made == []
    assert place.files() == before


@pytest.mark.parametrize("name", ["manifest.json", "chunk_0000.safetensors", "segment_0001.mp4"])
def test_the_finished_video_replaces_no_file_of_its_run(place, name):
    place.path = place.store.folder / name
    assert "must not replace a file of its run" in refusal(place.start)
    assert place.made == []


def test_the_finished_video_replaces_no_input(place):
    shutil.copy(DATA / "pose.mp4", place.path)
    (place.root / "link.mp4").symlink_to(place.path)
    for source in (place.path, str(place.root / "link.mp4")):
        assert "another file than the pose video" in refusal(place.start, job(audio_from=source))
    assert place.path.read_bytes() == (DATA / "pose.mp4").read_bytes()


def test_planted_links_are_not_written_through(finished, tmp_path, whole):
    outside = tmp_path / "outside"
    outside.mkdir()
    names = [".manifest.json.part", ".chunk_0000.safetensors.part", "segment_0000.part.mp4", "segment_0003.mp4"]
    planted = [finished.store.folder / name for name in [*names, "chunk_0003.safetensors"]]
    planted += [finished.root / "dance.part.mp4", finished.path]
    for path in planted:
        path.unlink(missing_ok=True)
        target = outside / path.name
        target.write_text("another's")
        path.symlink_to(target)
    finished.start(from_chunk=3)
    assert finished.made == [3]
    assert finished.result() == whole.result()
    assert {path.read_text() for path in outside.iterdir()} == {"another's"}
    assert not finished.path.is_symlink()
    assert [path.name for path in finished.store.folder.iterdir() if path.is_symlink()] == []


def test_a_manifest_that_is_a_link_is_replaced(finished, tmp_path):
    manifest, outside = finished.store.folder / "manifest.json", tmp_path / "elsewhere.json"
    manifest.rename(outside)
    manifest.symlink_to(outside)
    before = outside.read_bytes()
    finished.start(job(29))
    assert finished.kept == [0, 1, 2, 3]
    assert not manifest.is_symlink()
    assert outside.read_bytes() == before


def test_a_lock_that_is_a_link_is_refused(place, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("another's")
    lock = place.root / ".dance.lock"
    lock.symlink_to(outside)
    assert refusal(place.start) == (
        f"Animate Long Video: a run's lock must be a file of its own (delete the link); got {lock}."
    )
    assert (place.made, outside.read_text()) == ([], "another's")


def test_pipes_and_devices_are_no_chunks(finished):
    for name, way in (("chunk_0002.safetensors", "--from-chunk 2"), ("manifest.json", "--no-resume")):
        path = finished.store.folder / name
        path.unlink()
        os.mkfifo(path) if name == "manifest.json" else path.symlink_to("/dev/zero")
        assert way in refusal(finished.start)


def test_leftovers_of_killed_programs_are_cleared(finished):
    folder, root = finished.store.folder, finished.root
    # A run that 0.1.0 began; others have no file of the last name.
    finished.store.write_manifest(replace(finished.store.read_manifest(), format=FIRST_FORMAT))
    left = [folder / name for name in (".manifest.json.part", ".chunk_0001.safetensors.part", "segment_0002.part.mp4")]
    left += [root / "dance.part.mp4", folder / ".everanimate-0123456789abcdef-01234567.part.json"]
    with suppress(KeyboardInterrupt), run_store.write_whole(finished.path) as part:
        left.append(part.with_name(part.name))
        raise KeyboardInterrupt
    for path in left:
        path.write_bytes(b"half")
    other = root / ".everanimate-0123456789abcdef-01234567.part.mp4"
    other.write_bytes(b"of another run, which may be going")
    finished.start()
    assert [path for path in left if path.exists()] == []
    assert other.exists()
    assert finished.kept == [0, 1, 2, 3]


def test_a_finished_video_that_is_named_like_a_leftover_stays(finished):
    video = finished.root / "dance.part.mp4"
    shutil.copy(finished.path, video)
    finished.store.write_manifest(replace(finished.store.read_manifest(), format=FIRST_FORMAT))
    finished.start()
    assert video.exists()


def test_a_run_is_not_set_aside_into_one_that_starts(finished):
    with RunStore(finished.root / "dance.1").locked():
        finished.start(job(9), resume=False)
    assert not (finished.root / "dance.1").exists()
    assert (finished.root / "dance.2" / "manifest.json").exists()


# --- known before the first chunk ------------------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


def test_room_for_the_chunks_to_come(finished, monkeypatch):
    task = job(10**5)
    chunks, video = needed_bytes(task.plan, task.memory, CHUNKS)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(10**12, 0, chunks + video - 1))
    before = finished.files()
    assert refusal(finished.start, task, kind=RunFailed) == (
        "Animate Long Video: the disk must have room for what the run still has to write, about "
        f"{(chunks + video) / 1e6:.1f} MB (make room, or choose another place); got {(chunks + video - 1) / 1e6:.1f} "
        f"MB free in {finished.store.folder}."
    )
    assert finished.made == []
    assert finished.files() == before
    # What is there already needs no room, and a volume that does not say how large it is has room.
    finished.start()
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(0, 0, 0))
    finished.start(job(29))


def test_the_size_of_what_is_to_come():
    task = job()
    # A chunk: 16 x 3 latents of 2 x 4, and a frame of 16 x 32; once: four anchors. Videos: a bit a pixel.
    floats = 4 * (16 * 3 * 2 * 4 + 16 * 32 * 3) + 16 * 4 * 2 * 4
    video = 24 * 16 * 32 // 8
    assert needed_bytes(task.plan, task.memory, 0) == (4 * floats + video, video)
    assert needed_bytes(task.plan, task.memory, 3) == ((4 * floats + video) // 4, video)
    assert needed_bytes(task.plan, task.memory, 9) == (0, video)


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("folder", ["dance", "."])
def test_a_folder_without_the_right_to_write(finished, folder):
    (finished.root / folder).chmod(0o555)
    with pytest.raises(RunFailed, match="must be writable"):
        finished.start()
    assert finished.made == []
    (finished.root / folder).chmod(0o755)


@pytest.mark.parametrize("name", ["dance", "dance.mp4"])
def test_a_place_where_no_file_can_be_made(place, monkeypatch, name):
    """As on a volume that is read only, or in a folder of another user."""
    real = os.open

    def refuse(path, flags, *mode, **options):
        if flags & os.O_CREAT and Path(path).parent == refused:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *mode, **options)

    place.path = place.root / "video" / "dance.mp4"
    refused = place.store.folder if name == "dance" else place.path.parent
    monkeypatch.setattr(os, "open", refuse)
    told = refusal(place.start, kind=RunFailed)
    assert "must be writable and the disk not full; got [Errno 30] Read-only file system" in told
    assert place.made == []
    assert not place.store.folder.exists()


# --- by Windows' rules -----------------------------------------------------------------------------------------------


@linux_only
def test_whole_runs_by_windows_rules_leave_no_handle(place, whole, monkeypatch):
    windows_rules.install(monkeypatch)
    task = job(audio_from=DATA / "pose.mp4")

    class Stop(Exception):
        pass

    def stop(done):
        if done.index == 1:
            raise Stop

    before = windows_rules.handles()
    with pytest.raises(Stop):
        place.start(task, on_chunk=stop)
    assert windows_rules.handles() == before
    place.start(task)
    assert (place.made, place.kept) == ([2, 3], [0, 1])
    place.start(task)
    place.start(replace(task, seed=5), from_chunk=2)
    place.store.segment_path(1).unlink()
    place.store.chunk_path(0).unlink()
    place.start(replace(task, seed=5))
    place.start(task, resume=False)
    assert (place.root / "dance.1" / "manifest.json").exists()
    assert windows_rules.handles() == before
    assert not [name for name in windows_rules.opened() if str(place.root) in name]
    assert place.result()[:2] == whole.result()[:2]


# --- on volumes without locks ----------------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch):
    """A volume without locks, where a sign of life comes ten times a second."""

    def refuse(handle):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(ownership, "_lock", refuse)
    monkeypatch.setattr(run_store, "owned", partial(ownership.owned, heartbeat=0.1, stale=1.0))


def test_a_run_without_locks_and_a_second_writer(place, whole, no_locks):
    told = []

    def second(done):
        told.append(refusal(RunStore(place.store.folder).locked().__enter__))

    place.start(on_chunk=second)
    assert place.result() == whole.result()
    assert told[0].startswith(
        "Animate Long Video: a run is written by one program at a time (choose another run name or --out, or wait: 1 "
        f"seconds after it was killed it may be taken over); got a second one for {place.store.folder}, held by "
        f"process {os.getpid()} on "
    )
    assert sorted(path.name for path in place.root.iterdir()) == [".dance.lock", "dance", "dance.mp4"]


@posix_only
@pytest.mark.parametrize("when", ["sampling", "writing"])
def test_a_paused_run_that_was_taken_over_stops_and_harms_nothing(place, whole, no_locks, when):
    ready, told = os.pipe()
    words, said = os.pipe()

    def pause(index):
        if index == 2:
            os.write(told, b"x")
            os.kill(os.getpid(), signal.SIGSTOP)

    def sample(request, seed):
        if when == "sampling":
            pause(request.index)
        return exact_sampler(request, seed)

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
            place.start(sample=sample, codec=Pausing())
        except RunFailed as error:
            os.write(said, str(error).encode())
        finally:
            os._exit(0)
    os.read(ready, 1)
    time.sleep(1.5)
    place.start()
    assert place.kept == [0, 1]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.root.rglob("*") if path.is_file()}
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)
    assert os.read(words, 9999).decode() == (
        "Animate Long Video: a run is written by one program at a time; another one took over "
        f"{place.store.folder} while this one was paused, and goes on there."
    )
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in place.root.rglob("*") if path.is_file()}
    assert after == before
    assert place.result() == whole.result()


# --- files of anything -----------------------------------------------------------------------------------------------


def forged(body, **changes):
    """A manifest with a digest that fits."""
    import json

    version = changes.pop("format", "everanimate-run-2")
    return json.dumps({"format": version, "digest": digest(version, body), "run": body, **changes}).encode()


WRONG = [None, True, -1, 1.5, 10**30, "x", "\x1b[2J", [], {}, [[]], "0" * 5000, {"0": "x"}, float("1e308")]


def test_manifests_of_anything_get_words_of_our_own(finished):
    import json

    path = finished.store.folder / "manifest.json"
    whole = path.read_bytes()
    chance, body = random.Random(0), json.loads(whole)["run"]
    contents = [b"[" * 10**5, b'{"format":' * 5000, b"1" * 5000, b'{"run": ' + b"9" * 5000 + b"}", b"\xef\xbb\xbf{}"]
    contents += [forged(value) for value in WRONG] + [forged(body, format="everanimate-run-9\x1b[2J")]
    for _ in range(300):
        altered = json.loads(whole)["run"]
        place = chance.choice([altered, altered["seeds"], chance.choice(altered["chunks"])])
        name = chance.choice(list(place))
        if chance.random() < 0.3:
            del place[name]
        else:
            place[chance.choice([name, "other"])] = chance.choice(WRONG)
        contents.append(forged(altered))
        cut = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.5 else whole)
        for _ in range(chance.randrange(4)):
            cut[chance.randrange(len(cut))] = chance.randrange(256) if cut else 0
        contents.append(bytes(cut))
    for content in contents:
        path.write_bytes(content)
        try:
            found = finished.store.read_manifest()
        except RunError as error:
            assert str(error).startswith("Animate Long Video: the run's manifest.json must be as it was written")
            assert str(error).isprintable()
        else:
            assert isinstance(found, Manifest)
            assert Manifest.from_json(found.to_json().encode()) == found
            # What passes can be used: with the run, or refused as another one.
            with suppress(RunError):
                run_begin(found)


def run_begin(found):
    from everanimate_core.runs.run import begin

    begin(job(), found, 0)


def test_chunk_files_of_anything_are_damaged_or_whole(finished):
    store, task = finished.store, job()
    path, chance = store.chunk_path(0), random.Random(0)
    record, whole, key = store.read_manifest().chunks[0], path.read_bytes(), store.read_manifest().chunks[0].key
    tensors = load(whole)
    contents = [b"", b"x", b"\xff" * 99, whole[:99], b"\x10\0\0\0\0\0\0\0" + b"[" * 16]
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(1 + chance.randrange(3)):
            content[chance.randrange(len(content) if chance.random() < 0.3 else 400)] = chance.randrange(256)
        contents.append(bytes(content[: chance.randrange(len(content))] if chance.random() < 0.2 else content))
    for content in contents:
        path.write_bytes(content)
        found = store.sampled_latents(0, key)
        assert found is None or torch.equal(found, tensors["latents"])
        for taken in (record, replace(record, latents=file_digest(path))):
            try:
                loaded = store.load_chunk(0, taken, task.memory)
            except RunError as error:
                assert "chunk_0000.safetensors must be as it was written" in str(error)
            else:
                assert loaded is None or loaded[0].shape == tensors["latents"].shape


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("latents"),
        lambda tensors: tensors.update(references=tensors["last_frames"] * 1),
        lambda tensors: tensors.update(latents=tensors["latents"].half()),
        lambda tensors: tensors.update(latents=tensors["latents"][:, :, :0]),
        lambda tensors: tensors.update(identity=tensors["identity"][:, :, :2]),
        lambda tensors: tensors.update(statistics=torch.zeros(2)),
        lambda tensors: tensors.update(last_frames=tensors["last_frames"][:, :8]),
    ],
)
def test_a_chunk_that_holds_something_else_is_damaged(finished, change):
    store = finished.store
    record, path = store.read_manifest().chunks[0], store.chunk_path(0)
    tensors = load(path.read_bytes())
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    assert "must be as it was written" in refusal(
        store.load_chunk, 0, replace(record, latents=file_digest(path)), job().memory
    )


def test_names_are_shown_with_their_control_characters_escaped(tmp_path):
    assert refusal(run_folder, tmp_path, "a\x1b[2J\n").isprintable()


def test_the_video_is_closed_before_it_has_its_name(finished):
    with av.open(str(finished.path)) as container:
        assert container.streams.video[0].frames == TOTAL
