"""A short clip from the network as it stands: the second chunk of a film of the set, sampled from noise."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from ..everanimate.flow import sigma_schedule
from ..everanimate.sampling import euler
from ..media.writer import VideoWriter
from ..ports import Codec
from .recipe import Recipe, generator
from .records import FilmSet
from .samples import Batch, Choices, assemble, learnt_from


def clip_batch(films: FilmSet, recipe: Recipe) -> Batch:
    """The memory, the pose and the noise of the clip, as a batch of one; the same every time.

    The film is the first that is held out; where none is, the first of the set, which is learnt from.
    """
    film = learnt_from(recipe, films) if recipe.held_out else 0
    settings = films.settings
    count, anchors = settings.candidates, settings.geometry.anchors
    spread = tuple(count * place // anchors for place in range(anchors))
    choices = Choices(reference=0, carried=True, anchors=spread, black_pose=False, level=0)
    return assemble(choices, films, film, None, generator(recipe.seed, "preview"))


@torch.no_grad()
def sample_clip(network: nn.Module, batch: Batch, steps: int) -> Tensor:
    """Latents [1, 16, T, h, w] of the batch's target, sampled from its noise in Euler steps; on the CPU."""
    anchors = batch.clean.shape[2] - batch.pose.shape[2]

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        return network(x, replace(batch, sigma=sigma.reshape(1).to(x.device))).to(x.dtype)

    return euler(velocity, batch.noise, sigma_schedule(steps))[:, :, anchors:].cpu()


def write_clip(path: Path, latents: Tensor, codec: Codec, films: FilmSet) -> None:
    """Decode the latents into a video file."""
    settings = films.settings
    with VideoWriter(path, Fraction(settings.fps), settings.width, settings.height) as video:
        video.write(codec.decode(latents))
