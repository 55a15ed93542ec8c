from dataclasses import replace

import torch

from everanimate_core.everanimate.flow import sigma_schedule
from everanimate_core.everanimate.sampling import euler
from everanimate_core.media.reader import VideoFrames
from everanimate_core.training.network import Network
from everanimate_core.training.preview import clip_batch, sample_clip, write_clip
from everanimate_core.training.recipe import Recipe, generator
from everanimate_core.training.samples import Choices, assemble


def test_a_clip_is_of_a_film_that_is_not_learnt_from_if_there_is_one(films, toy):
    network = Network(toy.network("cpu", torch.float32), 4, 2, 0)
    last, first = (sample_clip(network, clip_batch(films, Recipe(1, held_out=count)), 1) for count in (1, 5))
    assert torch.equal(first, sample_clip(network, clip_batch(films, Recipe(1)), 1)) and not torch.equal(first, last)
    alone = replace(films, records=films.records[4:])
    assert torch.equal(last, sample_clip(network, clip_batch(alone, Recipe(1)), 1))


def test_a_clip_is_sampled_from_the_first_film_and_the_same_noise(films, toy, codec, tmp_path):
    network = Network(toy.network("cpu", torch.float32), 4, 2, 0)
    latents = sample_clip(network, clip_batch(films, Recipe(1)), 3)
    assert latents.shape == (1, 16, 3, 4, 4)
    # Anchors 0, 1, 3 and 4 of the 6 candidates, by hand.
    choices = Choices(reference=0, carried=True, anchors=(0, 1, 3, 4), black_pose=False, level=0)
    batch = assemble(choices, films, 0, None, generator(0, "preview"))
    with torch.no_grad():
        expected = euler(
            lambda x, sigma: network(x, replace(batch, sigma=sigma.reshape(1))), batch.noise, sigma_schedule(3)
        )
    assert torch.equal(latents, expected[:, :, 4:])
    assert not latents.requires_grad

    write_clip(tmp_path / "clip.mp4", latents, codec, films)
    with VideoFrames(tmp_path / "clip.mp4") as video:
        assert (video.frame_count, video.width, video.height, video.fps) == (9, 32, 32, 25)
        assert (video.read(range(9)) - codec.decode(latents)).abs().mean() < 0.03
