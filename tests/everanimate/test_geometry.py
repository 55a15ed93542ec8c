"""Frames and latent frames of a chunk, and which sizes are refused."""

import pytest
from refusals import refusal

from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.plan import check_chunk, latent_frames, pixel_frames


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (9, 3), (33, 9), (77, 20), (81, 21), (161, 41)])
def test_a_latent_for_the_first_frame_and_one_for_every_further_four(frames, latents):
    assert latent_frames(frames) == latents
    assert pixel_frames(latents) == frames


def test_frames_beyond_the_last_full_group_are_not_counted():
    assert [latent_frames(frames) for frames in range(1, 11)] == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]


def test_defaults_are_those_of_the_released_lora():
    geometry = ChunkGeometry()
    assert (geometry.frames, geometry.anchors, geometry.motion, geometry.overlap) == (77, 4, 1, 4)
    assert (geometry.latents, geometry.input_latents) == (20, 24)


def test_input_latents_are_anchors_and_chunk():
    geometry = ChunkGeometry(frames=81, anchors=2, motion=2, overlap=8)
    assert (geometry.latents, geometry.input_latents) == (21, 23)


def test_chunk_lengths_are_exactly_those_of_form_4n_plus_1_from_5():
    legal = []
    for frames in range(-8, 170):
        try:
            check_chunk(frames, 0)
        except ValueError as error:
            rule = "chunk_frames must be 4n + 1 and at least 5 (5, 33, 77, 81)"
            assert str(error) == f"{rule}; got {frames}."
        else:
            legal.append(frames)
    assert legal == list(range(5, 170, 4))


@pytest.mark.parametrize("overlap", [0, 1, 4, 75])
def test_overlap_may_leave_two_new_frames(overlap):
    assert ChunkGeometry(overlap=overlap).overlap == overlap


@pytest.mark.parametrize("overlap", [-1, 76, 77])
def test_overlap_out_of_range_is_refused(overlap):
    rule = "overlap must lie between 0 and chunk_frames - 2 (0..75)"
    assert refusal(ChunkGeometry, overlap=overlap) == f"{rule}; got {overlap}."


def test_geometry_refuses_illegal_chunk_lengths():
    assert refusal(ChunkGeometry, frames=76).endswith("got 76.")


def test_at_least_one_anchor():
    assert ChunkGeometry(anchors=1).input_latents == 21
    assert refusal(ChunkGeometry, anchors=0) == "identity_latents must be at least 1 (4); got 0."


@pytest.mark.parametrize("motion", [1, 2, 19])
def test_motion_memory_leaves_at_least_one_latent_to_sample(motion):
    assert ChunkGeometry(motion=motion).motion == motion


@pytest.mark.parametrize("motion", [-1, 0, 20])
def test_motion_out_of_range_is_refused(motion):
    rule = "motion_latents must be between 1 and 19 for chunks of 77 frames (1)"
    assert refusal(ChunkGeometry, motion=motion) == f"{rule}; got {motion}."
