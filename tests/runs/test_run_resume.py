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
    refused,
    sound_of,
    video_of,
    with_frame,
)

from everanimate_core.everanimate.drivers import Drivers


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
    after = place.everything()
    assert {name: content for name, (content, _) in after.items()} == {n: content for n, (content, _) in before.items()}
    assert {n for n in before if before[n] != after[n]} == {"dance.mp4"}


@pytest.mark.parametrize("k", [1, 3, 5])
def test_another_prompt_at_chunk_k_keeps_the_chunks_before(finished, job, fresh, k):
    before = finished.files(0, k - 1)
    changed = job(prompts=[""] * k + ["turns"] * (6 - k))
    finished.start(changed)
    assert finished.made == list(range(k, 6))
    assert finished.kept == list(range(k))
    assert finished.files(0, k - 1) == before
    assert_same_result(finished.result(), fresh(changed))


@pytest.mark.parametrize(("frame", "first"), [(13, 1), (14, 2), (33, 5)])
def test_another_pose_frame_changes_the_chunks_that_see_it(finished, job, fresh, frame, first):
    before = finished.files(0, first - 1)
    changed = job(drivers=Drivers(pose=with_frame(POSE.pose, frame)))
    finished.start(changed)
    assert finished.made == list(range(first, 6))
    assert finished.kept == list(range(first))
    assert finished.files(0, first - 1) == before
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
        assert place.made == [1], changes


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": ["turns"]},
        {"drivers": Drivers(pose=Frames(torch.zeros(60, 16, 32, 3)))},
        {"drivers": Drivers()},
    ],
)
def test_a_run_whose_first_chunk_differs_is_another_run(finished, job, changes):
    before = finished.everything()
    assert refused(finished.start, job(**changes)) == (
        "the driving videos and the prompt of the first chunk must be the run's own (choose another run name or --out, "
        "or start anew with resume false or --no-resume); "
        f"got others, and 6 finished chunks in {finished.store.folder}."
    )
    assert finished.made == []
    assert finished.everything() == before


def test_more_frames_keep_all_chunks(finished, job, fresh):
    before = finished.files()
    finished.start(job(44))
    assert (finished.made, finished.kept) == ([6, 7], [0, 1, 2, 3, 4, 5])
    # The last chunk was cut to the total: it shows more of itself now.
    changed = {name for name, file in finished.files(0, 5).items() if file != before[name]}
    assert changed == {"segment_0005.mp4"}
    assert_same_result(finished.result(), fresh(job(44)))
    assert len(video_of(finished.path)[0]) == 44


def test_fewer_frames_keep_all_chunks(finished, job, fresh):
    before = finished.files()
    finished.start(job(21))
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3])
    assert {name for name, file in finished.files().items() if file != before[name]} == {"segment_0003.mp4"}
    assert finished.path.read_bytes() == fresh(job(21))[4]
    assert len(video_of(finished.path)[0]) == 21
    assert abs(sound_of(finished.path)[0] - 21 / FPS) < 2 * 1024 / 44100
    # And back: nothing was lost.
    finished.start(job())
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
    assert_same_result(finished.result(), fresh(job()))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_lost_segment_is_written_again_from_the_latents(finished, job, damage):
    before, result, counting = finished.files(), finished.result(), Counting()
    damage(finished.store.segment_path(3))
    finished.start(job(), codec=counting)
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
    # Chunk 3, and the last one for the outcome.
    assert counting.work == [("decode", 3)] * 2
    assert {name for name, file in finished.files().items() if file != before[name]} == {"segment_0003.mp4"}
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
    flip(-1 if where == "latents" else 30)(place.store.chunk_path(2))
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
