"""The embedded toy for `everanimate train`: its parts, and its worlds as films."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from torch import Tensor

from ..digests import digest
from ..media.frames import FittedFrames
from ..toy.learning.films import FIRST_SEED, MOMENTS, STARTS
from ..toy.network.dit import load_dit
from ..toy.network.engine import NO_TEXT, WorldFrames
from ..toy.network.state import SETTINGS
from ..toy.network.vae import ToyCodec, load_vae
from ..toy.world.light import apply_light, light_at
from ..toy.world.world import World
from ..training.parts import Parts
from ..training.sources import Demands, Film

# What --data calls the toy's worlds in light that wanders; in even light they are called as the toy is.
TOY_LIT = "toy-lit"


@dataclass(frozen=True)
class ToyEntry:
    """Film `number` of the toy's world: a world of its own, from a random frame on.

    lit: in light that wanders, from a random moment of it on, and with a reference in the light of another moment.
    """

    number: int
    prompt: str = ""
    face: None = None
    lit: bool = False

    @property
    def name(self) -> str:
        return f"toy {self.number}"

    @property
    def stamp(self) -> str:
        return digest(self.name, "lit") if self.lit else digest(self.name)

    @contextmanager
    def open(self, demands: Demands) -> Iterator[Film]:
        random = Random(f"training {self.number}")
        world, start = World(FIRST_SEED + self.number), random.randrange(STARTS)
        moment, other = random.randrange(MOMENTS), random.randrange(MOMENTS)

        def light(frames: Tensor, moments: Sequence[int]) -> Tensor:
            return apply_light(frames, light_at(f"{world.seed}", moments)) if self.lit else frames

        def film(indices: Sequence[int]) -> Tensor:
            shown = world.frames([start + index for index in indices])
            return light(shown, [moment + index for index in indices])

        def pose(indices: Sequence[int]) -> Tensor:
            return world.pose([start + index for index in indices])

        def reference(indices: Sequence[int]) -> Tensor:
            return light(world.frames(indices), [other] * len(indices))

        size = demands.width, demands.height
        sources = (
            FittedFrames(WorldFrames(read, count), *size, demands.fit)
            for read, count in ((film, demands.frames), (pose, demands.frames), (reference, 1))
        )
        frames, poses, own = sources
        yield Film(frames, poses, None, own if demands.reference else None)


def toy_parts(weights: Path) -> Parts:
    """The embedded toy with the transformer in the file `weights`: no text, no CLIP."""
    return Parts(
        texts=lambda prompts: NO_TEXT.expand(len(prompts), -1, -1),
        image_encoder=None,
        codec=lambda: ToyCodec(load_vae()),
        # So small that nothing is gained by rounding its weights.
        network=lambda device, dtype: load_dit(weights, device=device),
        steps=SETTINGS.steps,
        checkpoints=False,
    )
