"""The embedded toy for `everanimate train`: its parts, and its worlds as films."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ..media.frames import FittedFrames
from ..runs.fingerprint import digest
from ..toy.learning.films import FIRST_SEED, STARTS
from ..toy.network.dit import load_dit
from ..toy.network.engine import NO_TEXT, WorldFrames
from ..toy.network.state import SETTINGS
from ..toy.network.vae import ToyCodec, load_vae
from ..toy.world.world import World
from ..training.parts import Parts
from ..training.sources import Demands, Film


@dataclass(frozen=True)
class ToyEntry:
    """Film `number` of the toy's world: a world of its own, from a random frame on."""

    number: int
    prompt: str = ""
    face: None = None

    @property
    def name(self) -> str:
        return f"toy {self.number}"

    @property
    def stamp(self) -> str:
        return digest(self.name)

    @contextmanager
    def open(self, demands: Demands) -> Iterator[Film]:
        world, start = World(FIRST_SEED + self.number), Random(f"training {self.number}").randrange(STARTS)

        def later(read):
            return WorldFrames(lambda indices: read([start + index for index in indices]), demands.frames)

        size = demands.width, demands.height
        frames, pose = (FittedFrames(later(read), *size, demands.fit) for read in (world.frames, world.pose))
        yield Film(frames, pose, None)


def toy_parts(weights: Path) -> Parts:
    """The embedded toy with the transformer in the file `weights`: no text, no CLIP."""
    return Parts(
        texts=lambda prompts: NO_TEXT.expand(len(prompts), -1, -1),
        image_encoder=None,
        codec=lambda: ToyCodec(load_vae()),
        # So small that nothing is gained by rounding its weights.
        network=lambda device, dtype: load_dit(weights, device=device),
        steps=SETTINGS.steps,
    )
