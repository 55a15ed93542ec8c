"""Nothing bad is kept: latents and frames that are no numbers or of another shape, now and from 0.1.0."""

import shutil
from pathlib import Path

import pytest
import torch
from exact_parts import ExactCodec, exact_sampler
from run_parts import CHUNKS, Place, Sampler, assert_same_result, refused, small_job, video_of
from safetensors import safe_open
from safetensors.torch import load, save_file

from everanimate_core.digests import digest
from everanimate_core.runs.store import RunFailed, sampled_in

OLD_RUN = Path(__file__).parents[1] / "data" / "old_runs" / "core"
NETWORK = {"network": "ea7b9e304d97bffeb34ab2c7f4575889", "sigmas": [1.0, 0.5, 0.0]}


def bad_from(index, spoil):
    def sample(request, seed):
        made = Sampler()(request, seed)
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
    "longer": (
        lambda latents: torch.cat([latents, latents[:, :, :1]], 2),
        "must be of shape [1, 16, 3, 2, 4] (one video, channels, frames",
    ),
    "shorter": (lambda latents: latents[:, :, 1:], "got [1, 16, 2, 2, 4] for chunk 2."),
    "larger": (lambda latents: latents.repeat(1, 1, 1, 2, 2), "got [1, 16, 3, 4, 8] for chunk 2."),
    "of two": (lambda latents: latents.repeat(2, 1, 1, 1, 1), "got [2, 16, 3, 2, 4] for chunk 2."),
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
def test_bad_latents_are_refused_before_they_are_kept(place, job, fresh, name):
    spoil, message = BAD_LATENTS[name]
    told = refused(place.start, job(), bad_from(2, spoil), kind=RunFailed)
    assert told.startswith("a chunk's latents must be ")
    assert message in told
    assert told.endswith(
        f"Nothing of it was kept. 2 finished chunks are kept in {place.store.folder}; the same run goes on from there."
    )
    assert place.made == [0, 1, 2]
    assert len(list(place.store.folder.glob("chunks/*.safetensors"))) == 2
    assert len(place.take().chunks) == 2
    assert len(video_of(place.path)[0]) == 14
    # A healed sampler is asked again, and the finished chunks stay.
    place.start(job())
    assert (place.made, place.kept) == ([2, 3, 4, 5], [0, 1])
    assert_same_result(place.result(), fresh(job()))


def test_a_first_chunk_of_nan_leaves_nothing(place, job):
    told = refused(place.start, job(), bad_from(0, one(float("nan"))), kind=RunFailed)
    assert "in chunk 0. Nothing of it was kept. 0 finished chunks" in told
    assert place.everything() == {}
    assert not place.store.folder.exists()


class BadCodec(ExactCodec):
    """Frames of chunk `index` that are no numbers, as a VAE in fp16 makes them."""

    def __init__(self, index):
        self.left = index

    def decode(self, latents):
        self.left -= 1
        return super().decode(latents) * (float("nan") if self.left < 0 else 1)


@pytest.mark.parametrize("index", [0, 2])
def test_frames_that_are_no_numbers_are_refused_before_they_are_kept(place, job, fresh, index):
    told = refused(place.start, job(), codec=BadCodec(index), kind=ValueError if index == 0 else RunFailed)
    assert told.startswith(
        f"the decoded frames of chunk {index} must be finite numbers (decode with the VAE in bf16 or fp32 instead of "
        "fp16); got NaN or infinity."
    )
    assert len(list(place.store.folder.glob("chunks/*.mp4"))) == index
    assert len(place.take().chunks if index else place.store.take_numbers()) == index
    # What was sampled was good: with a healed VAE it is not sampled again.
    place.start(job())
    assert (place.made, place.kept) == (list(range(index + 1, CHUNKS)), list(range(index)))
    assert_same_result(place.result(), fresh(job()))


@pytest.mark.parametrize("name", ["nan", "longer", "half", "of two"])
def test_latents_on_disk_that_can_be_of_no_use_are_sampled_again(place, name):
    # A run that 0.1.0 was stopped in after it had sampled chunk 4; it kept latents before it looked at them.
    shutil.copytree(OLD_RUN, place.root, dirs_exist_ok=True)
    place = Place(place.root)
    task = small_job(network=NETWORK, prompts=[digest("")])
    path = place.store.folder / "chunk_0004.safetensors"
    with safe_open(path, "pt") as file:
        key = file.metadata()["key"]
    latents = BAD_LATENTS[name][0](load(path.read_bytes())["latents"]).contiguous()
    save_file({"latents": latents}, path, {"key": key, "latents": digest(latents)})
    before = path.read_bytes()
    assert sampled_in(path, key, ()) is not None
    place.start(task, exact_sampler)
    assert (place.made, place.kept) == ([4, 5], [0, 1, 2, 3])
    assert path.read_bytes() == before
    other = Place(place.root / "other")
    other.start(task, exact_sampler)
    assert all(torch.equal(*pair) for pair in zip(place.latents(), other.latents(), strict=True))


def test_drift_has_a_value_or_none(place, job):
    place.start(job(), lambda request, seed: torch.full(request.pose_latents.shape, 0.5))
    assert [record.drift for record in place.take().chunks] == [0] * CHUNKS
    other = Place(place.root, "large")
    outcome = other.start(job(14), lambda request, seed: Sampler()(request, seed) * (1e25 if request.index else 1))
    assert [chunk["drift"] for chunk in outcome.report["chunks"]] == [0, None]
    for path in other.store.folder.rglob("*.json"):
        assert "NaN" not in path.read_text()
        assert "Infinity" not in path.read_text()
    assert other.record(1).drift is None
    assert [str(done) for done in other.progress][1].endswith(" s, drift unknown")
