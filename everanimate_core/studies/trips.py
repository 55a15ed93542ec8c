"""Finding 1 of the paper (arXiv 2605.15042): what every trip through the VAE costs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..evaluation.report import mean
from ..ports import Codec
from ..toy.learning.scores import psnr
from ..toy.network.state import GEOMETRY
from ..toy.network.vae import ToyCodec, load_vae
from ..toy.world.world import World

TRIPS = 50


@torch.no_grad()
def round_trips(codec: Codec, frames: Tensor, trips: int = TRIPS) -> list[float]:
    """PSNR in dB of a static scene after 1, 2, ... trips through the VAE, each of the last one's pictures.

    frames: [F, H, W, 3] in 0..1, F = 4n + 1: one picture, or a chunk of a picture that stands still.
    """
    truth, values = frames, []
    for _ in range(trips):
        frames = codec.decode(codec.encode(frames))
        values.append(psnr(frames, truth))
    return values


@torch.no_grad()
def carried_trips(codec: Codec, frame: Tensor, chunk_frames: int, trips: int = TRIPS) -> list[float]:
    """The same as a long animation meets it: of every chunk of a picture that stands still, the last frame is carried.

    frame: [H, W, 3] in 0..1. The next chunk is the carried frame throughout. PSNR in dB of each chunk's last frame.
    """
    carried, values = frame, []
    for _ in range(trips):
        carried = codec.decode(codec.encode(carried.expand(chunk_frames, -1, -1, -1)))[-1]
        values.append(psnr(carried, frame))
    return values


def finding_one(seeds: Sequence[int], trips: int = TRIPS) -> dict[str, list[float]]:
    """Both curves, each the mean over the first frames of the worlds of those seeds."""
    codec = ToyCodec(load_vae())
    pictures = [World(seed).reference() for seed in seeds]
    single = [round_trips(codec, picture[None], trips) for picture in pictures]
    carried = [carried_trips(codec, picture, GEOMETRY.frames, trips) for picture in pictures]
    return {
        "static picture": [mean(values) for values in zip(*single, strict=True)],
        "static chunk, last frame carried": [mean(values) for values in zip(*carried, strict=True)],
    }
