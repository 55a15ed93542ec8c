"""The toy's network as an engine, and a world animated by it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from os import PathLike

import torch
from torch import Tensor, nn

from ...backends.diffusers_wan import DiffusersWan
from ...everanimate.context import METHOD, ContextPolicy
from ...everanimate.drivers import Drivers
from ...everanimate.flow import sigma_schedule
from ...everanimate.memory import build_memory
from ...everanimate.propagation import MadeChunk, animate
from ...everanimate.settings import Settings
from ...ports import FrameSource
from ..world.raster import SIZE
from ..world.world import World
from .dit import load_dit
from .state import MEMORY_WEIGHTS, SETTINGS, TEXT_DIM
from .vae import ToyCodec, load_vae

FPS = Fraction(25)
NO_TEXT = torch.zeros(1, 1, TEXT_DIM)


@dataclass(frozen=True)
class WorldFrames:
    """The first frames of a world as a frame source. read_frames: what of it, as `World.frames` or `World.pose`."""

    read_frames: Callable[[Sequence[int]], Tensor]
    frame_count: int
    fps: Fraction = FPS
    width: int = SIZE
    height: int = SIZE

    def read(self, indices: Sequence[int]) -> Tensor:
        """[n, 64, 64, 3] in 0..1."""
        return self.read_frames(indices)


def engine(transformer: nn.Module, codec: ToyCodec) -> DiffusersWan:
    """The transformer with all that it does not read left out: no text, no CLIP."""
    return DiffusersWan(transformer, codec, NO_TEXT, image_encoder=None)


def load_toy(path: str | PathLike = MEMORY_WEIGHTS) -> DiffusersWan:
    """The trained toy on the CPU, in float32. path: of the transformer's weights."""
    return engine(load_dit(path), ToyCodec(load_vae()))


def roll_out(
    model: DiffusersWan,
    world: World,
    frames: int,
    settings: Settings = SETTINGS,
    policy: ContextPolicy = METHOD,
    pose: FrameSource | None = None,
    change: Callable[[MadeChunk], MadeChunk] | None = None,
) -> Iterator[MadeChunk]:
    """Animate the world's reference for so many frames, chunk by chunk, by its own pose unless there is another one.

    change: see `animate`.
    """
    memory = build_memory(world.reference()[None], model.codec, settings.identity_latents, settings.motion_latents)
    sample = partial(model.sample_chunk, sigmas=sigma_schedule(settings.steps, settings.shift))
    drivers = Drivers(pose=WorldFrames(world.pose, frames) if pose is None else pose)
    return animate(settings.plan(frames), memory, sample, model.codec, drivers, settings, policy, change)
