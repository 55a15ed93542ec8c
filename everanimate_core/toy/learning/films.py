"""Material to train the toy network on: films of two neighbouring chunks, each of a world of its own, as latents.

A film is a pure function of its number, so that a training run needs no other data than a seed.
"""

from pathlib import Path
from random import Random

import torch
from torch import Tensor

from ...errors import InputError, one_line
from ...everanimate.memory import encode_singly
from ...tensor_files import read_tensors, write_tensors
from ..network.state import GEOMETRY
from ..network.vae import ToyCodec
from ..world.world import World

STRIDE = GEOMETRY.frames - GEOMETRY.overlap
# The first chunk of a film starts somewhere in so many frames.
STARTS = 640
SINGLES = 6
# Worlds of the films; those of the VAE end far below, those below 998 000 are unseen by both.
FIRST_SEED = 2_000_000
SHARD = 128


def make_film(number: int, codec: ToyCodec) -> dict[str, Tensor]:
    """The latents of film `number`, normalised, float32.

    reference [16, 1, 8, 8]: frame 0 of the world. chunks, poses [2, 16, 9, 8, 8]: two chunks, the second begins
    with the last 4 frames of the first. carried [16, 9, 8, 8]: those 4 frames, then grey. singles [16, 6, 8, 8]:
    frames encoded alone, in time order, half of the films from their first chunk, the others from frames 1..32 of the
    world, as a long animation has them.
    """
    random = Random(f"film {number}")
    world = World(FIRST_SEED + number)
    start = random.randrange(STARTS)
    both = range(start, start + STRIDE + GEOMETRY.frames)
    near = random.random() < 0.5
    frames, poses = world.frames(both), world.pose(both)
    chosen = sorted(random.sample(range(1, GEOMETRY.frames), SINGLES))
    singles = frames[chosen] if near else world.frames(chosen)
    clips = [pictures[at : at + GEOMETRY.frames] for pictures in (frames, poses) for at in (0, STRIDE)]
    latents = torch.cat([codec.encode(clip) for clip in clips])
    return {
        "reference": codec.encode(world.reference()[None])[0],
        "chunks": latents[:2],
        "poses": latents[2:],
        "carried": codec.encode(grey_behind(clips[1][: GEOMETRY.overlap]))[0],
        "singles": encode_singly(singles, codec)[0],
    }


def grey_behind(frames: Tensor) -> Tensor:
    """Frames [n, H, W, 3] and mid-grey behind them, up to a whole chunk: what Wan-Animate encodes as its context."""
    grey = torch.full((GEOMETRY.frames - len(frames), *frames.shape[1:]), 0.5)
    return torch.cat([frames, grey])


def write_shard(folder: Path, shard: int, codec: ToyCodec) -> None:
    """Write films shard * 256 ... of that shard into `folder`, in half precision, unless they are there."""
    path = folder / f"films-{shard:04}.safetensors"
    if path.exists():
        return
    films = [make_film(shard * SHARD + number, codec) for number in range(SHARD)]
    write_tensors(path, {name: torch.stack([film[name] for film in films]).half() for name in films[0]})


def read_shards(folder: Path, shards: int) -> dict[str, Tensor]:
    """The films of the first so many shards, one behind another; ValueError for a damaged one."""
    parts = []
    for shard in range(shards):
        path = folder / f"films-{shard:04}.safetensors"

        def refuse(wrong: str, path: Path = path) -> InputError:
            got = f"{one_line(path)}, {wrong}"
            return InputError("the films of the toy", "must be whole", "delete the file, and it is made again", got)

        parts.append(read_tensors(path, refuse)[0])
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
