"""Material to train the toy network on: films of two neighbouring chunks, each of a world of its own, as latents.

A film is a pure function of its number, so that a training run needs no other data than a seed. Films come in even
light, or in light that wanders, with what light makes possible: a reference that was taken at another moment.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import TypeVar

import torch
from torch import Tensor

from ...errors import InputError, one_line
from ...everanimate.memory import encode_singly, motion_memory
from ...everanimate.perturbation import Perturbation, apply, draw
from ...tensor_files import read_tensors, write_tensors
from ..network.state import GEOMETRY
from ..network.vae import ToyCodec
from ..world.light import apply_light, light_at
from ..world.raster import SIZE
from ..world.world import World

STRIDE = GEOMETRY.frames - GEOMETRY.overlap
# The first chunk of a film starts somewhere in so many frames.
STARTS = 640
SINGLES = 6
# The moment of a lit film, and the other one of its reference, lie somewhere in so many frames of its world's light.
MOMENTS = 50_000
# How the second chunk, and the motion memory of the first, are perturbed: recipes of everanimate.perturbation.
PERTURBATIONS = ("released", "light")
# Worlds of the films; those of the VAE end far below, those below 998 000 are unseen by both.
FIRST_SEED = 2_000_000
SHARD = 128

AnyCodec = TypeVar("AnyCodec")


def make_film(number: int, codec: ToyCodec) -> dict[str, Tensor]:
    """The latents of film `number`, normalised, float32.

    reference [16, 1, 8, 8]: frame 0 of the world. chunks, poses [2, 16, 9, 8, 8]: two chunks, the second begins
    with the last 4 frames of the first. carried [16, 9, 8, 8]: those 4 frames, then grey. singles [16, 6, 8, 8]:
    frames encoded alone, in time order, half of the films from their first chunk, the others from frames 1..32 of the
    world, as a long animation has them.
    """
    random = Random(f"film {number}")
    world, both, chosen, near = _shot(number, random)
    frames = world.frames(both)
    return {
        "reference": codec.encode(world.reference()[None])[0],
        **_clips(frames, world.pose(both), codec),
        "singles": encode_singly(frames[chosen] if near else world.frames(chosen), codec)[0],
    }


def make_lit_film(number: int, codec: ToyCodec) -> dict[str, Tensor]:
    """The same of a film whose light wanders; the reference is in the light of the film's first frame.

    far [16, 1, 8, 8]: the reference in the light of another moment. drifted_*, one for each of PERTURBATIONS
    [16, 9, 8, 8]: the second chunk, perturbed. motion_* [16, 1, 8, 8]: the motion memory of the first chunk, perturbed
    otherwise; shared_* [16, 1, 8, 8]: perturbed alike.
    """
    random = Random(f"lit film {number}")
    world, both, chosen, near = _shot(number, random)
    moment, other = random.randrange(MOMENTS), random.randrange(MOMENTS)
    light = light_at(f"{world.seed}", range(moment, moment + len(both)))
    even = world.frames(both)
    frames = apply_light(even, light)
    singles = frames[chosen] if near else apply_light(world.frames(chosen), light[chosen])
    lights = torch.stack([light[0], light_at(f"{world.seed}", [other])[0]])
    references = encode_singly(apply_light(world.reference().expand(2, -1, -1, -1), lights), codec)[0]
    film = {
        "reference": references[:, :1],
        "far": references[:, 1:],
        **_clips(frames, world.pose(both), codec),
        "singles": encode_singly(singles, codec)[0],
    }

    def drawn(recipe: str) -> Perturbation:
        # The toy's networks learnt with patches of a tenth of its 64 pixels, smaller than the released ones may be.
        return draw(recipe, SIZE, SIZE, torch.Generator().manual_seed(random.randrange(2**32)), smallest=1)

    def motion(perturbation: Perturbation) -> Tensor:
        first = codec.encode(apply(perturbation, frames[: GEOMETRY.frames]))
        return motion_memory(first, GEOMETRY.motion)[0]

    for recipe in PERTURBATIONS:
        film[f"motion_{recipe}"] = motion(drawn(recipe))
        drift = drawn(recipe)
        film[f"drifted_{recipe}"] = codec.encode(apply(drift, frames[STRIDE:]))[0]
        film[f"shared_{recipe}"] = motion(drift)
    return film


def _shot(number: int, random: Random) -> tuple[World, range, list[int], bool]:
    """A film's world, the frames of both chunks, which frames are encoded alone, and whether they are the film's own
    (else the world's first)."""
    start = random.randrange(STARTS)
    near = random.random() < 0.5
    chosen = sorted(random.sample(range(1, GEOMETRY.frames), SINGLES))
    return World(FIRST_SEED + number), range(start, start + STRIDE + GEOMETRY.frames), chosen, near


def _clips(frames: Tensor, poses: Tensor, codec: ToyCodec) -> dict[str, Tensor]:
    clips = [pictures[at : at + GEOMETRY.frames] for pictures in (frames, poses) for at in (0, STRIDE)]
    latents = torch.cat([codec.encode(clip) for clip in clips])
    carried = codec.encode(grey_behind(clips[1][: GEOMETRY.overlap]))[0]
    return {"chunks": latents[:2], "poses": latents[2:], "carried": carried}


def grey_behind(frames: Tensor) -> Tensor:
    """Frames [n, H, W, 3] and mid-grey behind them, up to a whole chunk: what Wan-Animate encodes as its context."""
    grey = torch.full((GEOMETRY.frames - len(frames), *frames.shape[1:]), 0.5)
    return torch.cat([frames, grey])


def write_shard(folder: Path, shard: int, codec: AnyCodec, make: Callable[[int, AnyCodec], dict[str, Tensor]]) -> None:
    """Write the SHARD films of that shard into `folder`, half as precise (bytes stay bytes), unless they are there."""
    path = folder / f"films-{shard:04}.safetensors"
    if path.exists():
        return
    films = [make(shard * SHARD + number, codec) for number in range(SHARD)]
    write_tensors(path, {name: _stacked([film[name] for film in films]) for name in films[0]})


def _stacked(values: list[Tensor]) -> Tensor:
    stacked = torch.stack(values)
    return stacked.half() if stacked.is_floating_point() else stacked


def read_shards(folder: Path, shards: Iterable[int]) -> dict[str, Tensor]:
    """The films of those shards, one behind another; ValueError for a damaged one."""
    parts = []
    for shard in shards:
        path = folder / f"films-{shard:04}.safetensors"

        def refuse(wrong: str, path: Path = path) -> InputError:
            got = f"{one_line(path)}, {wrong}"
            return InputError("the films of the toy", "must be whole", "delete the file, and it is made again", got)

        parts.append(read_tensors(path, refuse)[0])
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
