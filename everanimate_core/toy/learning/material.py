"""What the two toy networks are trained on: batches in the layout of Wan-Animate, and in EverAnimate's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...everanimate.context import ContextPolicy
from ...everanimate.settings import FIRST, REFERENCE_ONLY
from ...plan import TEMPORAL_FACTOR
from ..network.state import GEOMETRY
from .films import SINGLES

# Wan-Animate: one reference; the carried frames are decoded, encoded again before grey, and marked as known.
WAN_ANIMATE = ContextPolicy(carry="pixel", identity="reference", null="grey", motion_known=True)


@dataclass(frozen=True)
class Batch:
    """clean: [B, 16, N + T, 8, 8], anchors and chunk. context: [B, 20, N + T, 8, 8], mask and y behind one another.
    pose: [B, 16, T, 8, 8]. All normalised latents (but the mask), float32."""

    clean: Tensor
    context: Tensor
    pose: Tensor

    def part(self, share: slice) -> "Batch":
        """Some of the samples."""
        return Batch(self.clean[share], self.context[share], self.pose[share])


def baseline_batch(films: dict[str, Tensor], grey: Tensor, size: int, generator: torch.Generator) -> Batch:
    """Wan-Animate's layout, N = 1; `grey` [16, 9, 8, 8] is the encoding of a grey chunk, y where nothing is carried."""
    film, first, chunk = _draw(films, size, generator)
    anchors = films["reference"][film].float()
    slots = torch.where(_per_sample(first), grey, films["carried"][film].float())
    known = torch.zeros(size, TEMPORAL_FACTOR, *slots.shape[2:])
    known[:, :, : GEOMETRY.motion] = (~first).float().view(-1, 1, 1, 1, 1)
    return _batch(films, film, chunk, anchors, slots, known)


def memory_batch(films: dict[str, Tensor], size: int, generator: torch.Generator) -> Batch:
    """EverAnimate's layout (arXiv 2605.15042, Eq. 2), N = 4."""
    film, first, chunk = _draw(films, size, generator)
    reference = films["reference"][film].float()
    repeated = reference.expand(-1, -1, GEOMETRY.anchors, -1, -1)
    order = torch.rand(size, SINGLES, generator=generator).argsort(dim=1)[:, : GEOMETRY.anchors - 1].sort(dim=1).values
    views = torch.stack([films["singles"][number][:, chosen] for number, chosen in zip(film, order, strict=True)])
    alone = first | (torch.rand(size, generator=generator) < REFERENCE_ONLY)
    anchors = torch.where(_per_sample(alone), repeated, torch.cat([views.float(), reference], dim=2))
    slots = torch.zeros(size, *films["chunks"].shape[2:])
    carried = films["chunks"][film, 0, :, -GEOMETRY.motion :].float()
    slots[:, :, : GEOMETRY.motion] = torch.where(_per_sample(first), 0.0, carried)
    return _batch(films, film, chunk, anchors, slots, torch.zeros(size, TEMPORAL_FACTOR, *slots.shape[2:]))


def _draw(films: dict[str, Tensor], size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Films, which samples are first chunks, and the chunk of the film: either one for them, the second otherwise."""
    film = torch.randint(len(films["chunks"]), (size,), generator=generator)
    first = torch.rand(size, generator=generator) < FIRST
    chunk = torch.where(first, torch.randint(2, (size,), generator=generator), 1)
    return film, first, chunk


def _batch(
    films: dict[str, Tensor], film: Tensor, chunk: Tensor, anchors: Tensor, slots: Tensor, known: Tensor
) -> Batch:
    y = torch.cat([anchors, slots], dim=2)
    mask = torch.cat([torch.ones_like(anchors[:, :TEMPORAL_FACTOR]), known], dim=2)
    clean = torch.cat([anchors, films["chunks"][film, chunk].float()], dim=2)
    return Batch(clean, torch.cat([mask, y], dim=1), films["poses"][film, chunk].float())


def _per_sample(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1, 1)
