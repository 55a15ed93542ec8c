"""One roll-out of a row in one world from one noise seed, measured frame by frame against the truth."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backends.diffusers_wan import DiffusersWan
from ..evaluation.frame_metrics import psnr, ssim
from ..evaluation.lpips import Lpips
from ..everanimate.memory import motion_memory
from ..everanimate.perturbation import Perturbation, apply
from ..everanimate.propagation import MadeChunk
from ..toy.network.engine import roll_out
from ..toy.world.world import World
from .rows import Row

# The planted drift: what the fifth chunk hands on is tinted, of more contrast and colour, and sharper.
PLANTED_CHUNK = 4
PLANT = Perturbation(gains=(1.18, 1.14, 1.0), contrast=1.22, saturation=1.35, sharpness=1.3)
# What is measured: of every frame; the last three against the true frame, as a ratio, a ratio and a distance.
METRICS = ("psnr", "ssim", "lpips", "contrast", "saturation", "colour")
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Measured:
    """curves: a number for every frame, by metric; lpips is left out where it has no weights. chunks: how many frames
    each chunk has."""

    curves: dict[str, list[float]]
    chunks: list[int]


@torch.no_grad()
def measure(
    model: DiffusersWan, row: Row, world: World, noise: int, frames: int, lpips: Lpips | None, planted: bool = False
) -> Measured:
    """Animate a world for so many frames as the row says, from that noise seed; planted: with the planted drift."""
    settings = replace(row.settings, seed=noise)
    change = planter(model) if planted else None
    made = roll_out(model, world, frames, settings, row.policy, change=change)
    return measured((chunk.frames for chunk in made), world, lpips)


def measured(chunks: Iterable[Tensor], world: World, lpips: Lpips | None) -> Measured:
    """What is measured of a world's frames [n, H, W, 3] in 0..1, chunk by chunk from its first frame on."""
    curves: dict[str, list[float]] = {name: [] for name in METRICS if name != "lpips" or lpips is not None}
    lengths: list[int] = []
    for frames in chunks:
        start = sum(lengths)
        truth = world.frames(range(start, start + len(frames)))
        for name, values in against(frames, truth, lpips):
            curves[name] += rounded(values)
        lengths.append(len(frames))
    return Measured(curves, lengths)


def rounded(values: Tensor) -> list[float]:
    """Values [n] as they are kept."""
    return [round(value, 5) for value in values.tolist()]


def against(frames: Tensor, truth: Tensor, lpips: Lpips | None) -> Iterator[tuple[str, Tensor]]:
    """The metrics of frames [n, H, W, 3] in 0..1 against the true ones: name and values [n].

    contrast: spread of luma, as a ratio. saturation: mean distance from grey, as a ratio. colour: mean distance of the
    frames' mean R, G and B.
    """
    yield "psnr", psnr(frames, truth)
    yield "ssim", ssim(frames, truth)
    if lpips is not None:
        yield "lpips", lpips(frames, truth)
    mine, true = (_luma(pictures) for pictures in (frames, truth))
    yield "contrast", mine.flatten(1).std(dim=1) / true.flatten(1).std(dim=1)
    yield "saturation", _colourfulness(frames, mine) / _colourfulness(truth, true)
    yield "colour", (frames.mean(dim=(1, 2)) - truth.mean(dim=(1, 2))).abs().mean(dim=1)


def _luma(frames: Tensor) -> Tensor:
    return (frames * frames.new_tensor(_LUMA)).sum(dim=-1)


def _colourfulness(frames: Tensor, luma: Tensor) -> Tensor:
    return (frames - luma[..., None]).abs().mean(dim=(1, 2, 3))


def planter(model: DiffusersWan) -> Callable[[MadeChunk], MadeChunk]:
    """What changes the memory that the planted chunk leaves, in latents and in pixels; its own frames stay."""

    def plant(made: MadeChunk) -> MadeChunk:
        if made.index != PLANTED_CHUNK or made.memory.last_frames is None:
            return made
        frames = apply(PLANT, model.codec.decode(made.latents))
        motion = motion_memory(model.codec.encode(frames), made.memory.motion_count)
        tail = frames[-len(made.memory.last_frames) :]
        return replace(made, memory=replace(made.memory, motion=motion, last_frames=tail))

    return plant
