import pytest
import torch

from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.training.layout import Layout


def test_the_released_frames():
    layout = Layout(ChunkGeometry())
    assert layout.references == range(4)
    assert layout.first == range(4, 85)
    assert layout.target == range(81, 158)
    assert layout.frames == 158


@pytest.mark.parametrize(("frames", "motion"), [(77, 1), (33, 1), (9, 1), (33, 2)])
def test_the_motion_memory_shows_the_first_frames_of_the_target(frames, motion):
    layout = Layout(ChunkGeometry(frames, motion=motion, overlap=4 * motion))
    assert len(layout.first) % 4 == 1
    assert len(layout.target) == frames
    # The last M latents stand for the last 4 M frames of the first chunk.
    assert list(layout.first)[-4 * motion :] == list(layout.target)[: layout.geometry.overlap]
    assert layout.first.start == layout.references.stop


def test_the_motion_latents_of_a_film_are_those_that_begin_its_target(films, codec, settings):
    """In the record, seen through the VAE: decoded behind its past, the motion memory is the target's beginning."""
    film = films.read(0, ["motion", "target_pixels"])
    shown = codec.decode(torch.cat([film["motion"]] * 2, dim=2))[-4:]
    truth = film["target_pixels"][:13].float() / 255
    errors = [(shown - truth[start : start + 4]).square().mean().item() for start in range(6)]
    assert min(errors) == errors[0]


def test_an_overlap_that_is_not_the_motion_memory_is_refused():
    with pytest.raises(ValueError, match=r"^overlap must be 4 frames for each of the 2 .* \(8\); got 4\.$"):
        Layout(ChunkGeometry(33, motion=2))
