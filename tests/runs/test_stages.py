"""Memory that runs out: the message says at what and what to change, and what is finished stays."""

import pickle
from dataclasses import replace

import pytest
import torch
from exact_parts import ExactCodec
from run_parts import CHUNKS, Sampler, assert_same_result, small_job, video_of

from everanimate_core.runs.stages import (
    DECODING,
    ENCODING,
    MAKING,
    SAMPLING,
    OutOfDeviceMemory,
    OutOfMemory,
    memory_error,
    stage,
)

# More than any machine has.
ENDLESS = 2**50
# As torch says it on a card, the second line included.
ON_A_CARD = "CUDA out of memory. Tried to allocate 20.00 GiB.\nSee documentation for Memory Management"


def on_a_card():
    raise torch.cuda.OutOfMemoryError(ON_A_CARD)


SHORT = {
    "torch on a CPU": (lambda: torch.empty(ENDLESS), OutOfMemory, "DefaultCPUAllocator: can't allocate memory"),
    "python": (lambda: bytearray(2**60), OutOfMemory, "MemoryError."),
    "a card": (on_a_card, OutOfDeviceMemory, "CUDA out of memory. Tried to allocate 20.00 GiB."),
}


@pytest.mark.parametrize("kind", SHORT)
def test_each_memory_by_its_name(kind):
    exhaust, error, said = SHORT[kind]
    with pytest.raises(OutOfMemory) as caught, stage(DECODING):
        exhaust()
    assert type(caught.value) is error
    where = "GPU memory" if error is OutOfDeviceMemory else "memory (RAM)"
    assert str(caught.value).startswith(f"out of {where} while decoding latents; got ")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert "It needs less with tiled switched on or a smaller width or a smaller height." in str(caught.value)


def test_hosts_see_the_error_of_a_card_as_torchs_own():
    with pytest.raises(torch.cuda.OutOfMemoryError), stage(SAMPLING):
        on_a_card()
    # Of RAM there is not more when a host moves its models there.
    with pytest.raises(OutOfMemory) as caught, stage(SAMPLING):
        torch.empty(ENDLESS)
    assert not isinstance(caught.value, torch.cuda.OutOfMemoryError)


@pytest.mark.parametrize(
    "said", ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "MPS backend out of memory"]
)
def test_errors_without_a_class_of_their_own(said):
    assert memory_error(RuntimeError(said)) is OutOfDeviceMemory


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^shapes differ$") as caught, stage(SAMPLING):
        raise RuntimeError("shapes differ")
    assert type(caught.value) is RuntimeError


def test_the_innermost_stage_is_named():
    with pytest.raises(OutOfMemory, match="while encoding frames"), stage(MAKING), stage(ENCODING):
        torch.empty(ENDLESS)


def test_what_a_host_can_do_is_said_of_a_card_only():
    card, ram = (kind(SAMPLING, "full.") for kind in (OutOfDeviceMemory, OutOfMemory))
    assert "Close other programs that use it. Do this. It needs less" in card.told(host="Do this.")
    assert "Close other programs that use it. It needs less" in ram.told(host="Do this.")


def test_it_travels_between_processes():
    error = OutOfDeviceMemory(DECODING, "full.", 3, frozenset({"tiled"}), "3 are kept.").saying("A node: full")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is OutOfDeviceMemory and str(again) == "A node: full"
    assert again.told() == error.told()


def with_widgets(job, tiled=False):
    """The job with what hosts say of the video's settings."""
    return replace(job, widgets={"width": job.method.width, "height": job.method.height, "tiled": tiled})


class Exhausted(ExactCodec):
    """A codec that runs out of memory at that stage of chunk `chunk`, the first time."""

    def __init__(self, at, chunk, exhaust):
        self.at, self.left, self.exhaust = at, chunk, exhaust

    def count(self, doing, whole):
        if self.at == doing and whole:
            self.left -= 1
            if self.left == -1:
                self.exhaust()

    @stage(ENCODING)
    def encode(self, frames):
        self.count(ENCODING, len(frames) == 9)
        return super().encode(frames)

    @stage(DECODING)
    def decode(self, latents):
        self.count(DECODING, True)
        return super().decode(latents)


def exhausted_sampler(chunk, exhaust):
    def sample(request, seed):
        if request.index == chunk:
            exhaust()
        return Sampler()(request, seed)

    return sample


LESS = {
    ENCODING: "a smaller width or a smaller height (all chunks are made anew then)",
    DECODING: "tiled switched on or a smaller width or a smaller height (all chunks are made anew then; where only "
    "tiled changes, from_chunk 2 leaves finished ones)",
    SAMPLING: "a smaller width or a smaller height or a smaller chunk_frames (all chunks are made anew then)",
}


@pytest.mark.parametrize("kind", ["torch on a CPU", "a card"])
@pytest.mark.parametrize("at", [ENCODING, DECODING, SAMPLING])
def test_finished_chunks_stay_and_the_next_start_goes_on(place, job, fresh, at, kind):
    exhaust, error, said = SHORT[kind]
    job = with_widgets(job())
    sampler = exhausted_sampler(2, exhaust) if at == SAMPLING else Sampler()
    with pytest.raises(OutOfMemory) as caught:
        place.start(job, sampler, Exhausted(at, 2, exhaust))
    assert type(caught.value) is error
    told = str(caught.value)
    assert f"while {at} in chunk 2; got " in told and said in told
    assert f"It needs less with {LESS[at]}." in told
    assert told.endswith(f"2 finished chunks are kept in {place.store.folder}; the same run goes on from there.")
    assert len(place.take().chunks) == 2
    assert len(video_of(place.path)[0]) == 14
    place.start(job)
    # What was sampled before it could not be decoded is not sampled again.
    assert place.made == list(range(3 if at == DECODING else 2, CHUNKS))
    assert place.kept == [0, 1]
    assert_same_result(place.result(), fresh(job))


@pytest.mark.parametrize("at", [ENCODING, DECODING])
def test_beside_the_sampling_of_another_chunk(place, fresh, at):
    """Of the chunk that is decoded, or encoded, there, and not of the one that is sampled meanwhile."""
    job = with_widgets(small_job(clip_source="reference"))
    with pytest.raises(OutOfMemory) as caught:
        place.start(job, Sampler(), Exhausted(at, 2, on_a_card), beside="all")
    assert f"while {at} in chunk 2; got " in str(caught.value)
    assert "With beside files, network and VAE take turns. It needs less with" in str(caught.value)
    place.start(job)
    # What was sampled of chunk 2, and meanwhile of chunk 3, is kept.
    assert place.made == ([4, 5] if at == DECODING else [2, 3, 4, 5])
    assert_same_result(place.result(), fresh(job))


def test_in_line_there_are_no_turns_to_take(place):
    with pytest.raises(OutOfMemory) as caught:
        place.start(with_widgets(small_job()), Sampler(), Exhausted(DECODING, 2, on_a_card), beside="files")
    assert "take turns" not in str(caught.value)


def test_the_first_chunk_speaks_of_no_finished_ones(place):
    with pytest.raises(OutOfMemory) as caught:
        place.start(with_widgets(small_job()), Sampler(), Exhausted(DECODING, 0, on_a_card))
    assert "a smaller height. 0 finished chunks are kept" in str(caught.value)
    assert "from_chunk" not in str(caught.value)


def test_what_is_switched_on_is_no_way_out(place):
    with pytest.raises(OutOfMemory) as caught:
        place.start(with_widgets(small_job(), tiled=True), Sampler(), Exhausted(DECODING, 2, on_a_card))
    assert "It needs less with a smaller width or a smaller height (all chunks are made anew then)." in str(
        caught.value
    )


def test_tiles_and_from_chunk_leave_finished_chunks(place):
    """As the message says."""
    network = {"network": "tiny", "sigmas": [1.0, 0.5, 0.0]}
    with pytest.raises(OutOfMemory):
        place.start(
            with_widgets(small_job(network=network | {"tiled": False})), Sampler(), Exhausted(DECODING, 2, on_a_card)
        )
    before = place.files()
    place.start(with_widgets(small_job(network=network | {"tiled": True}), tiled=True), from_chunk=2)
    assert place.made == [2, 3, 4, 5]
    assert len(before) == 4 and place.files(0, 1) == before


def test_the_frames_that_a_finished_run_hands_out(finished, job):
    """They are decoded once more, behind the last chunk: said as of any other."""
    with pytest.raises(OutOfMemory) as caught:
        finished.start(job(), codec=Exhausted(DECODING, 0, on_a_card), beside="files")
    told = str(caught.value)
    assert "while decoding latents in chunk 5; got " in told and "tiled" not in told
    assert told.endswith(f"6 finished chunks are kept in {finished.store.folder}; the same run goes on from there.")


def test_what_no_stage_names_is_the_making_of_the_chunk(place, monkeypatch):
    """Such as the memory of a method, or the video that is written."""
    job = with_widgets(small_job())
    monkeypatch.setattr(type(job.method), "hand_over", lambda *arguments: on_a_card())
    with pytest.raises(OutOfDeviceMemory, match=r"^out of GPU memory while making chunk 0; got CUDA out of memory"):
        place.start(job)
