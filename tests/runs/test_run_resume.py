"""What a second start keeps, and what it makes again because something else has changed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from exact_parts import ExactCodec, Frames, exact_pictures
from run_parts import (
    FPS,
    POSE,
    Counting,
    Faces,
    Sampler,
    Stop,
    Stopping,
    assert_same_result,
    flip,
    sound_of,
    video_of,
    with_frame,
)

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.noise import draw_noise


def pose_free(request, seed):
    """A sampler for chunks without a pose."""
    return draw_noise(request.latents_shape, seed)[:, :, request.anchors :]


def test_a_finished_run_is_kept_whole(place, job):
    first = place.start(job())
    assert (place.made, place.kept) == ([0, 1, 2, 3, 4, 5], [])
    before = place.everything()
    counting = Counting()
    again = place.start(job(), codec=counting)
    assert (place.made, place.kept) == ([], [0, 1, 2, 3, 4, 5])
    # The last chunk alone is decoded, for whoever wants its frames.
    assert counting.work == [("decode", 3)]
    assert torch.equal(again.frames, first.frames)
    assert place.everything() == before


@pytest.mark.parametrize("k", [1, 3, 5])
def test_another_prompt_at_chunk_k_keeps_the_chunks_before(finished, job, fresh, k):
    before = finished.files(0, k - 1)
    changed = job(prompts=[""] * k + ["turns"] * (6 - k))
    finished.start(changed)
    assert finished.made == list(range(k, 6))
    assert finished.kept == list(range(k))
    assert finished.files(0, k - 1) == before
    assert_same_result(finished.result(), fresh(changed))


@pytest.mark.parametrize(
    ("frame", "made"),
    # Frame 14 lies in the middle of chunk 2, which hands on the same as before; so all behind it stay.
    [(13, [1, 2, 3, 4, 5]), (14, [2]), (33, [5])],
)
def test_another_pose_frame_changes_the_chunks_that_see_it(finished, job, fresh, frame, made):
    before = finished.files(number=1)
    changed = job(drivers=Drivers(pose=with_frame(POSE.pose, frame)))
    finished.start(changed)
    assert finished.made == made
    assert finished.kept == [index for index in range(6) if index not in made]
    assert finished.files(number=1) == before
    assert finished.take().number == 2
    assert_same_result(finished.result(), fresh(changed))


def test_a_pose_frame_that_no_chunk_sees_changes_nothing(finished, job):
    finished.start(job(drivers=Drivers(pose=with_frame(POSE.pose, 34))))
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])


def test_every_driving_video_counts_where_it_is_seen(place, job):
    background, mask = Frames(exact_pictures(60, seed=2)), Frames(exact_pictures(60, seed=3))
    drivers = Drivers(POSE.pose, Faces(), background, mask)
    place.start(job(14, drivers=drivers))
    for changes in (
        {"face": Faces(changed=13)},
        {"background": with_frame(background, 13)},
        {"mask": with_frame(mask, 13)},
        {"pose": with_frame(POSE.pose, 13)},
    ):
        place.start(job(14, drivers=replace(drivers, **changes)))
        assert place.made == [1], changes
        place.start(job(14, drivers=drivers))
        assert place.made == [], changes


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": ["turns"]},
        {"drivers": Drivers(pose=Frames(torch.zeros(60, 16, 32, 3)))},
        {"drivers": Drivers()},
    ],
)
def test_when_the_first_chunk_differs_the_next_take_is_all_new(place, job, fresh, changes):
    place.start(job())
    before = place.files()
    changed = job(**changes)
    place.start(changed, Sampler(changed.prompts) if changed.method.drivers.pose else pose_free)
    assert place.made == [0, 1, 2, 3, 4, 5]
    assert place.files(number=1) == before
    assert place.take().number == 2


def test_more_frames_keep_all_chunks(finished, job, fresh):
    before = finished.files()
    finished.start(job(44))
    assert (finished.made, finished.kept) == ([6, 7], [0, 1, 2, 3, 4, 5])
    # The last chunk was cut to the total: it shows more of itself now.
    assert {name.rpartition("-")[2] for name in finished.files().keys() - before.keys()} >= {"1001.mp4"}
    assert finished.files(number=1) == before
    assert_same_result(finished.result(), fresh(job(44)))
    assert len(video_of(finished.path)[0]) == 44


def test_fewer_frames_keep_all_chunks(finished, job, fresh):
    before = finished.files()
    finished.start(job(21))
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3])
    assert len(finished.files().keys() - before.keys()) == 1
    assert finished.path.read_bytes() == fresh(job(21))[3]
    assert len(video_of(finished.path)[0]) == 21
    assert abs(sound_of(finished.path)[0] - 21 / FPS) < 2 * 1024 / 44100
    # And back: nothing was lost.
    finished.start(job())
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
    assert_same_result(finished.result(), fresh(job()))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_lost_segment_is_written_again_from_the_latents(finished, job, damage):
    before, result, counting = finished.files(), finished.result(), Counting()
    damaged = finished.segment_path(3)
    damage(damaged)
    finished.start(job(), codec=counting)
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
    # Chunk 3, and the last one for the outcome.
    assert counting.work == [("decode", 3)] * 2
    assert {name for name, file in finished.files().items() if file != before[name]} == {damaged.name}
    assert_same_result(finished.result(), result)


@pytest.mark.parametrize("k", [0, 2])
def test_what_was_sampled_but_not_decoded_is_not_sampled_again(place, job, fresh, k):
    with pytest.raises(Stop):
        place.start(job(), codec=Stopping("decode", k))
    assert place.made == list(range(k + 1))
    place.start(job())
    assert place.made == list(range(k + 1, 6))
    assert place.kept == list(range(k))
    assert_same_result(place.result(), fresh(job()))


@pytest.mark.parametrize("where", ["header", "latents"])
def test_altered_latents_that_were_never_finished_are_sampled_again(place, job, fresh, where):
    with pytest.raises(Stop):
        place.start(job(), codec=Stopping("decode", 2))
    (sampled,) = [p for p in place.store.folder.glob("chunks/*.safetensors") if not p.with_suffix(".json").exists()]
    flip(-1 if where == "latents" else 30)(sampled)
    place.start(job())
    assert place.made == [2, 3, 4, 5]
    assert_same_result(place.result(), fresh(job()))


def test_the_layout_of_what_was_sampled_does_not_matter(place, job):
    class Transposed(Sampler):
        def __call__(self, request, seed):
            return super().__call__(request, seed).transpose(3, 4).contiguous().transpose(3, 4)

    class Strict(ExactCodec):
        def decode(self, latents):
            assert latents.is_contiguous()
            return super().decode(latents)

    place.start(job(), Transposed(), Strict())
    assert place.made == [0, 1, 2, 3, 4, 5]
