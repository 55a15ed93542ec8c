"""Work beside sampling: the same files as in line, no more work, all of it told in order, and clean ends."""

import json
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from colour_runs import colour_job, exact_window, video_memory
from exact_parts import ExactCodec, Frames, exact_pictures
from run_parts import (
    POSE,
    Counting,
    Faces,
    Place,
    Sampler,
    assert_same_result,
    cut,
    posix_only,
    refused,
    small_job,
)

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.method import EverAnimate
from everanimate_core.runs.beside import Beside, OneAtATime, result
from everanimate_core.runs.settings import BESIDE, FILES_BESIDE
from everanimate_core.runs.store import RunFailed

# Longer than anything here takes: for what must come, or the test has failed.
PATIENCE = 60
REFERENCE = {"clip_source": "reference"}
REPLACED = Drivers(POSE.pose, Faces(), Frames(exact_pictures(60, seed=2)), Frames(exact_pictures(60, seed=3)))
FOUR = build_memory(exact_pictures(4), ExactCodec(), 4, 1)


def complete(total):
    """An animation whose identity memory no chunk completes."""
    return small_job(total, memory=FOUR, **REFERENCE)


# A job and the options of its start.
RUNS = {
    "one chunk": (small_job(9, **REFERENCE), {}),
    "two chunks": (small_job(14, **REFERENCE), {}),
    "last frame": (small_job(), {}),
    "reference": (small_job(**REFERENCE), {}),
    "complete identity": (complete(24), {}),
    "replacement": (small_job(19, drivers=REPLACED, **REFERENCE), {}),
    "poses and low frequencies": (
        small_job(19, keyframes="pose", restore_strength=0.5, restore_target="low_frequency", **REFERENCE),
        {},
    ),
    "latent context": (small_job(19, latent_context=True, **REFERENCE), {}),
    "candidates": (small_job(19, **REFERENCE), {"candidates": 3}),
    "candidates, last frame": (small_job(19), {"candidates": 3}),
    "colours": (colour_job(), {}),
    "colours of one window": (colour_job(17), {}),
    "colours, candidates": (colour_job(), {"candidates": 2}),
    "colours, autoregressive": (colour_job(reference_mode="autoregressive"), {}),
    "colours, memory": (colour_job(memory=video_memory()), {}),
}


def sampler_of(job):
    return Sampler() if isinstance(job.method, EverAnimate) else exact_window


def timeless(value):
    """What a run wrote as JSON, without what it took, and without the digest of that."""
    if isinstance(value, dict):
        return {name: timeless(part) for name, part in value.items() if name not in ("seconds", "digest")}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def files(place):
    """{path: content} of all files of a place, those that hold times without them."""
    return {
        name: timeless(json.loads(content)) if name.endswith(".json") else content
        for name, content in place.contents().items()
    }


def without_sheets(place):
    """The same but for contact sheets: pictures of chunks of earlier starts are read from their videos."""
    return {name: content for name, content in files(place).items() if not name.endswith(".jpg")}


@pytest.fixture(scope="module")
def in_line(tmp_path_factory):
    """in_line(name) -> the place where one of RUNS was made in line, and the work of its codec."""
    made = {}

    def started(name):
        if name not in made:
            place, counting = Place(tmp_path_factory.mktemp("line") / "out"), Counting()
            job, options = RUNS[name]
            place.start(job, sampler_of(job), counting, beside="off", **options)
            made[name] = place, counting.work
        return made[name]

    return started


@pytest.mark.parametrize("beside", [mode for mode in BESIDE if mode != "off"])
@pytest.mark.parametrize("name", RUNS)
def test_files_and_work_are_those_of_the_run_in_line(place, in_line, name, beside):
    expected, work = in_line(name)
    (job, options), counting = RUNS[name], Counting()
    place.start(job, sampler_of(job), counting, beside=beside, **options)
    assert files(place) == files(expected)
    assert sorted(counting.work) == sorted(work)
    assert (place.made, place.seeds, place.announced) == (expected.made, expected.seeds, expected.announced)
    assert [done.index for done in place.progress] == [done.index for done in expected.progress]
    one, other = place.outcome, expected.outcome
    assert torch.equal(one.frames, other.frames)
    assert torch.equal(one.last_frame, other.last_frame)
    assert one.state.keys() == other.state.keys()
    assert all(torch.equal(one.state[key], other.state[key]) for key in one.state)


def test_candidates_share_what_is_encoded(in_line):
    _, work = in_line("candidates")
    # Three chunks: each pose once; three candidates for each are decoded, those of the first choose keyframes.
    assert sorted(work) == sorted([("encode", 9)] * 3 + [("decode", 3)] * 9 + [("encode", 1)] * 9)


# --- what is done while a chunk is sampled ---------------------------------------------------------------------------


class Seen:
    """A codec that tells what it does, and fails when two threads use it at once."""

    def __init__(self):
        self.inside, self.done, self.by = threading.Lock(), {}, {}

    def event(self, *work):
        return self.done.setdefault(work, threading.Event())

    def _work(self, kind, number, call):
        assert self.inside.acquire(blocking=False), "two threads"
        try:
            made = call()
        finally:
            self.inside.release()
        self.by[kind, number] = threading.current_thread()
        self.event(kind, number).set()
        return made

    def done_beside(self, *work):
        """Whether another thread does it, or has done it."""
        return self.event(*work).wait(PATIENCE) and self.by[work] is not threading.current_thread()

    def encode(self, frames):
        return self._work("encode", float(frames.sum()), lambda: ExactCodec().encode(frames))

    def decode(self, latents):
        return self._work("decode", float(latents.sum()), lambda: ExactCodec().decode(latents))


def test_the_next_chunk_is_encoded_and_the_one_before_decoded_while_one_is_sampled(place):
    job, codec, sampled = small_job(**REFERENCE), Seen(), []
    plan = job.plan

    def sample(request, seed):
        index = request.index
        if index + 1 < plan.chunk_count:
            pose = POSE.pose.read(plan.source_indices(index + 1, 60))
            assert codec.done_beside("encode", float(pose.sum()))
        # Chunk 0 completes the identity memory: it is decoded before the next one is asked for.
        if index > 1:
            assert codec.done_beside("decode", sampled[index - 1])
        latents = Sampler()(request, seed)
        sampled.append(float(latents.sum()))
        return latents

    place.start(job, sample, codec)
    assert place.made == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("settings", [{}, REFERENCE])
@pytest.mark.parametrize("beside", [mode for mode in BESIDE if mode != "off"])
def test_a_finished_chunk_is_written_and_told_while_the_next_one_is_sampled(place, settings, beside):
    main = threading.current_thread()

    def sample(request, seed):
        assert threading.current_thread() is main
        making = place.announced[-1]
        waited = threading.Event()
        # It is told in the thread of the run, between two steps.
        while len(place.progress) < request.index:
            waited.wait(0.01)
            making.catch_up()
        return Sampler()(request, seed)

    def told(done):
        assert threading.current_thread() is main
        assert done.so_far().is_file()
        assert done.last_frame().shape == (16, 32, 3)

    place.start(small_job(**settings), sample, on_chunk=told, beside=beside)
    assert [done.index for done in place.progress] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("settings", [{}, REFERENCE])
def test_a_codec_that_serves_one_thread_is_used_in_that_alone(place, settings):
    used = set()

    class Own(ExactCodec):
        def encode(self, frames):
            used.add(threading.current_thread())
            return super().encode(frames)

        def decode(self, latents):
            used.add(threading.current_thread())
            return super().decode(latents)

    place.start(small_job(19, **settings), codec=Own(), beside=FILES_BESIDE)
    assert used == {threading.current_thread()}


@pytest.mark.parametrize(("beside", "settings"), [("all", {}), ("files", {}), ("files", REFERENCE)])
def test_frames_of_two_chunks_are_never_held(place, beside, settings):
    """Where a chunk is decoded in line, the one before was told by then, and its frames are gone."""

    class Waiting(ExactCodec):
        decoded = 0

        def decode(self, latents):
            assert len(place.progress) == self.decoded
            self.decoded += 1
            return super().decode(latents)

    codec = Waiting()
    place.start(small_job(19, **settings), codec=codec, beside=beside)
    assert codec.decoded == 3


def test_what_a_damaged_chunk_takes_is_its_own_work(finished, job):
    """The next chunk is there: it is not encoded ahead."""
    cut(finished.chunk_path(2))
    counting = Counting()
    finished.start(job(), codec=counting)
    assert finished.made == [2]
    # The last chunk is decoded for whoever wants its frames.
    assert sorted(counting.work) == [("decode", 3), ("decode", 3), ("encode", 9)]


@pytest.mark.parametrize("settings", [{}, REFERENCE])
def test_one_chunk_alone_takes_its_own_work(place, settings):
    place.start(small_job(**settings))
    counting = Counting()
    place.start(small_job(seed=7, **settings), codec=counting, only_chunk=2)
    assert place.made == [2]
    assert sorted(counting.work) == [("decode", 3), ("decode", 3), ("encode", 9)]


# --- early ends ------------------------------------------------------------------------------------------------------


def threads():
    return [thread for thread in threading.enumerate() if "everanimate-beside" in thread.name]


def assert_clean(place):
    assert threads() == []
    assert not [path for path in place.root.rglob(".*") if path.is_file()]


class Fault(BaseException):
    """What nobody expects."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("no room"), "the run's files must be writable and the disk not full; got no room. 3 finished chunks"),
        (ValueError("no numbers."), "no numbers. 3 finished chunks"),
    ],
)
def test_what_fails_beside_is_told_by_the_run(place, error, told):
    class Failing(ExactCodec):
        decoded = 0

        def decode(self, latents):
            self.decoded += 1
            if self.decoded == 4:
                raise error
            return super().decode(latents)

    job = small_job(**REFERENCE)
    message = refused(place.start, job, codec=Failing(), kind=RunFailed)
    assert message.startswith(told)
    assert [done.index for done in place.progress] == [0, 1, 2]
    assert_clean(place)
    # What was sampled meanwhile is not sampled again.
    place.start(job)
    assert (place.made, place.kept) == ([5], [0, 1, 2])


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("settings", [{}, REFERENCE])
def test_an_interrupted_run_finishes_what_is_under_way(place, in_line, settings, beside):
    def sample(request, seed):
        if request.index == 3:
            raise Fault
        return Sampler()(request, seed)

    job = small_job(**settings)
    with pytest.raises(Fault):
        place.start(job, sample, beside=beside)
    assert_clean(place)
    # Chunk 2 was under way: it is told, and joined with the others.
    assert [done.index for done in place.progress] == [0, 1, 2]
    assert len(place.take().chunks) == 3
    stopped = Place(place.root.parent / "stopped")
    stopped.start(small_job(19, **settings))
    assert place.path.read_bytes() == stopped.path.read_bytes()
    place.start(job)
    assert (place.made, place.kept) == ([3, 4, 5], [0, 1, 2])
    assert without_sheets(place) == without_sheets(in_line("reference" if settings else "last frame")[0])


@posix_only
def test_ctrl_c_does_not_leave_what_is_under_way_behind(place, in_line, ctrl_c_raises):
    """Pressed in mid-step, and again while the thread beside still works."""
    begun, pressed = threading.Event(), threading.Event()

    class Slow(ExactCodec):
        decoded = 0

        def decode(self, latents):
            self.decoded += 1
            if self.decoded == 3:
                begun.set()
                assert pressed.wait(PATIENCE)
                for _ in range(3):
                    os.kill(os.getpid(), signal.SIGINT)
                    threading.Event().wait(0.3)
            return super().decode(latents)

    def sample(request, seed):
        if request.index == 3:
            assert begun.wait(PATIENCE)
            pressed.set()
            threading.Event().wait(PATIENCE)
        return Sampler()(request, seed)

    job = small_job(**REFERENCE)
    with pytest.raises(KeyboardInterrupt):
        place.start(job, sample, Slow())
    assert [done.index for done in place.progress] == [0, 1, 2]
    assert_clean(place)
    place.start(job)
    assert place.made == [3, 4, 5]
    assert_same_result(place.result(), in_line("reference")[0].result())


@posix_only
def test_ctrl_c_at_any_flush_leaves_no_chunk_on_disk_that_was_not_told(place, monkeypatch, ctrl_c_raises):
    flush, left, number = os.fsync, -1, 0

    def pressing(handle):
        nonlocal left
        if threading.current_thread() is threading.main_thread():
            left -= 1
            if left == -1:
                signal.raise_signal(signal.SIGINT)
        flush(handle)

    monkeypatch.setattr(os, "fsync", pressing)
    job, told = small_job(19, **REFERENCE), []
    while left < 0:
        stopped = Place(place.root / str(number))
        left = number
        with suppress(KeyboardInterrupt):
            stopped.start(job)
        told.append([done.index for done in stopped.progress])
        assert len(stopped.records()) == len(told[-1])
        number += 1
    assert [sorted(set(indices)) for indices in told] == told
    # From a start that was stopped before its first chunk to one that was not stopped.
    assert {len(indices) for indices in told} == {0, 1, 2, 3}


def test_what_is_read_ahead_is_not_read_once_its_file_is_closed(place):
    """A reader is closed as soon as the run has ended: by then nobody reads."""
    reading, ended = threading.Event(), []

    class Slow(Frames):
        def read(self, indices):
            assert not ended
            if max(indices) > 20:
                reading.set()
                threading.Event().wait(0.3)
                assert not ended
            return super().read(indices)

    def sample(request, seed):
        if request.index == 2:
            assert reading.wait(PATIENCE)
            raise Fault
        return Sampler()(request, seed)

    with pytest.raises(Fault):
        place.start(small_job(drivers=Drivers(pose=Slow(POSE.pose.frames))), sample)
    ended.append(True)
    assert_clean(place)


# --- runs of earlier versions ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BeforeBeside(EverAnimate):
    """The method as it was when every chunk handed its last frame on, and was decoded for it."""

    def _hands_on_frames(self, state):
        return True


def before_beside(job):
    method = job.method
    return replace(job, method=BeforeBeside(method.plan, method.memory, method.drivers, method.settings))


@pytest.mark.parametrize("total", [14, 19])
def test_a_run_that_was_begun_before_goes_on_byte_for_byte(place, total):
    place.start(before_beside(small_job(total, **REFERENCE)))
    before = place.files()
    place.start(small_job(**REFERENCE))
    assert place.kept == list(range(2 if total == 14 else 3))
    assert before.items() <= place.files().items()
    other = Place(place.root.parent / "other")
    other.start(before_beside(small_job(total, **REFERENCE)))
    other.start(before_beside(small_job(**REFERENCE)))
    assert files(place) == files(other)
    # And damaged in its middle.
    cut(place.chunk_path(1))
    place.start(small_job(**REFERENCE))
    assert (place.made, place.take().number) == ([1], other.take().number)
    assert without_sheets(place) == without_sheets(other)


# --- the thread ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [False, True])
def test_jobs_are_done_in_order_in_the_modes_of_the_thread_that_asks(on):
    told = []

    def work(number):
        told.append((number, torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        return number

    for inference, gradients in ((True, False), (False, False), (False, True)):
        told.clear()
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients), Beside(on) as beside:
            jobs = [beside.start(partial(work, number)) for number in range(5)]
            assert [result(job) for job in jobs] == [0, 1, 2, 3, 4]
        assert told == [(number, inference, gradients) for number in range(5)]
    assert threads() == []


def test_what_a_job_raises_is_raised_by_its_result_and_the_next_is_done():
    def fail():
        raise Fault

    with Beside(True) as beside:
        failed, done = beside.start(fail), beside.start(lambda: 3)
        assert result(done) == 3
        with pytest.raises(Fault):
            result(failed)
    # Without a thread, at once.
    with Beside(False) as beside, pytest.raises(Fault):
        beside.start(fail)


def test_the_end_waits_for_what_is_begun():
    told = []

    def slow():
        threading.Event().wait(0.3)
        told.append("done")

    with Beside(True) as beside:
        beside.start(slow)
    assert told == ["done"]


def test_two_threads_share_a_codec_one_after_the_other():
    shared, pictures = OneAtATime(Seen()), exact_pictures(9)
    latents = ExactCodec().encode(pictures)
    with Beside(True) as beside:
        jobs = [beside.start(lambda: shared.encode(pictures)) for _ in range(50)]
        for _ in range(50):
            assert torch.equal(shared.decode(latents), ExactCodec().decode(latents))
        assert all(torch.equal(result(job), latents) for job in jobs)
