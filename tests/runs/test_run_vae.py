"""Runs with the real VAE: causal in time, and with sums that differ in another layout."""

from itertools import chain

import pytest
import torch
from run_parts import (
    CHUNKS,
    Counting,
    Place,
    Sampler,
    assert_same_result,
    small_job,
    stop_at,
)
from safetensors.torch import load

from everanimate_core.everanimate.propagation import animate
from everanimate_core.runs.settings import BESIDE


@pytest.fixture
def place(tmp_path, codec):
    return Place(tmp_path / "out", codec=codec)


@pytest.fixture
def job(codec, sound):
    """As elsewhere, of this VAE's latents."""

    def made(*total, **changes):
        return small_job(*total, codec=codec, sound=sound, **changes)

    return made


@pytest.mark.parametrize("beside", BESIDE)
def test_a_run_is_the_loop_and_its_work(place, job, codec, beside):
    counting, work, marks = Counting(codec), [], []
    task = job()
    method = task.method
    loop = []
    for result in animate(method.plan, method.memory, Sampler(), counting, method.drivers, method.settings):
        loop.append(result)
        work.append(list(counting.work))
        counting.work.clear()
    # A later chunk: its 9 pose frames encoded, its 3 latents (9 frames) decoded, nothing else.
    assert work == [
        [("encode", 9), ("decode", 3), *[("encode", 1)] * 3],
        *[[("encode", 9), ("decode", 3)]] * (CHUNKS - 1),
    ]

    def on_chunk(done):
        marks.append(list(counting.work))
        counting.work.clear()

    outcome = place.start(task, codec=counting, on_chunk=on_chunk, beside=beside)
    if beside != "off":
        # The same work, at other times.
        marks, work = (sorted(chain.from_iterable(lists)) for lists in (marks, work))
    assert marks == work
    assert counting.work == []
    chunks = [load(place.chunk_path(i).read_bytes()) for i in range(CHUNKS)]
    for chunk, result in zip(chunks, loop, strict=True):
        assert torch.equal(chunk["latents"], result.latents)
        assert torch.equal(chunk["last_frames"], result.memory.last_frames)
    # What later chunks inherit unchanged is not written again.
    assert torch.equal(chunks[0]["identity"], loop[0].memory.identity)
    assert [sorted(chunk) for chunk in chunks[1:]] == [["last_frames", "latents"]] * 5
    assert torch.equal(outcome.frames, loop[5].frames)
    assert torch.equal(outcome.state["identity"], loop[5].memory.identity)


@pytest.mark.parametrize("chunk", [0, 3])
@pytest.mark.parametrize("stage", ["decode", "finished"])
def test_what_was_interrupted_ends_as_if_it_had_not_been(place, job, fresh, stage, chunk):
    stop_at(place, job(), stage, chunk)
    place.start(job())
    assert place.kept == list(range(chunk + (stage == "finished")))
    # Where the chunk was finished, the next one was sampled beside it.
    assert place.made == list(range(chunk + 1 + (stage == "finished"), 6))
    assert_same_result(place.result(), fresh(job()))


def test_a_redo_that_was_stopped_goes_on(finished, job, fresh):
    stop_at(finished, job(seed=7), "decode", 3, made=2, from_chunk=2)
    finished.start(job(seed=7))
    assert finished.made == [4, 5]
    assert_same_result(finished.result(), fresh(job(), (job(seed=7), {"from_chunk": 2})))


def test_a_lost_segment_is_written_again_from_the_latents(finished, job, fresh):
    finished.segment_path(3).unlink()
    finished.start(job())
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
    assert_same_result(finished.result(), fresh(job()))


def test_latent_context_is_kept_up_when_frames_are_decoded_again(place, job, fresh):
    task = job(latent_context=True)
    first = place.start(task)
    result = place.result()
    place.segment_path(2).unlink()
    again = place.start(task)
    assert place.made == []
    # Of the last chunk, whose segment is there, the frames alone are decoded again.
    assert torch.equal(again.frames, first.frames)
    assert_same_result(place.result(), result)
    assert fresh(job())[3][1:] != result[3][1:]
