"""What the toy's networks are trained on: batches in the layout of Wan-Animate, and in EverAnimate's.

A network is to be trained as it is tested: `Recipe` says how a sample takes its reference, its anchors and what it is
carried, and a roll-out under the recipe's policy takes them alike.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...everanimate.context import ContextPolicy
from ...everanimate.settings import FIRST, REFERENCE_ONLY
from ...plan import TEMPORAL_FACTOR
from ..network.state import GEOMETRY
from .films import SINGLES

# Wan-Animate: one reference; the carried frames are decoded, encoded again before grey, and marked as known.
WAN_ANIMATE = ContextPolicy(carry="pixel", identity="reference", null="grey", motion_known=True)
# EverAnimate's identity memory beside what Wan-Animate carries.
PIXEL_CARRY = replace(WAN_ANIMATE, identity="fixed")


@dataclass(frozen=True)
class Recipe:
    """How samples are drawn from films.

    policy: METHOD or PIXEL_CARRY (four anchors), or WAN_ANIMATE (one). lit: from films in wandering light. far: a
    sample that is carried something has its reference in the light of another moment; a first chunk has it in its own,
    as a roll-out has. perturbed_motion: share of the samples whose motion memory, if they have one, is perturbed.
    perturbation: how, and how the chunk itself is in restorative training; one of films.PERTURBATIONS. shared: both by
    the same draw, as one drift that has come into a chunk through its memory.
    """

    policy: ContextPolicy
    lit: bool = True
    far: bool = True
    perturbed_motion: float = 0.0
    perturbation: str = "released"
    shared: bool = False

    @property
    def anchors(self) -> int:
        """N."""
        return GEOMETRY.anchors if self.policy.identity == "fixed" else 1


@dataclass(frozen=True)
class Batch:
    """clean: [B, 16, N + T, 8, 8], anchors and chunk. context: [B, 20, N + T, 8, 8], mask and y behind one another.
    pose: [B, 16, T, 8, 8]. drifted: [B, 16, T, 8, 8], the chunk as a drifted roll-out might have it; the chunk itself
    where films have none. All normalised latents (but the mask), float32."""

    clean: Tensor
    context: Tensor
    pose: Tensor
    drifted: Tensor

    def part(self, share: slice) -> "Batch":
        """Some of the samples."""
        return Batch(self.clean[share], self.context[share], self.pose[share], self.drifted[share])

    def drifted_where(self, hit: Tensor) -> "Batch":
        """The same, drifted only in the samples of hit, bool [B]."""
        chunk = self.clean[:, :, -self.drifted.shape[2] :]
        return replace(self, drifted=torch.where(_per_sample(hit), self.drifted, chunk))


def draw_batch(recipe: Recipe, films: dict[str, Tensor], grey: Tensor, size: int, generator: torch.Generator) -> Batch:
    """Samples as the recipe says. grey: [16, 9, 8, 8], an encoded grey chunk, Wan-Animate's y if nothing is carried."""
    film = torch.randint(len(films["chunks"]), (size,), generator=generator)
    first = torch.rand(size, generator=generator) < FIRST
    # A first chunk is either one of the film's, another always the second.
    chunk = torch.where(first, torch.randint(2, (size,), generator=generator), 1)
    reference = films["reference"][film].float()
    if recipe.far:
        reference = torch.where(_per_sample(first), reference, films["far"][film].float())
    known = torch.zeros(size, TEMPORAL_FACTOR, *films["chunks"].shape[3:])
    anchors = reference
    if recipe.policy.identity == "fixed":
        anchors = _memory(films, film, reference, first, generator)
    if recipe.policy.carry == "latent":
        slots = torch.zeros(size, *films["chunks"].shape[2:])
        carried = films["chunks"][film, 0, :, -GEOMETRY.motion :].float()
        if recipe.perturbed_motion:
            hit = torch.rand(size, generator=generator) < recipe.perturbed_motion
            kind = "shared" if recipe.shared else "motion"
            perturbed = films[f"{kind}_{recipe.perturbation}"][film].float()
            carried = torch.where(_per_sample(hit), perturbed, carried)
        slots[:, :, : GEOMETRY.motion] = torch.where(_per_sample(first), 0.0, carried)
    else:
        slots = torch.where(_per_sample(first), grey, films["carried"][film].float())
        known[:, :, : GEOMETRY.motion] = (~first).float().view(-1, 1, 1, 1, 1)
    target = films["chunks"][film, chunk].float()
    drifted = target
    if f"drifted_{recipe.perturbation}" in films:
        drifted = torch.where(_per_sample(chunk == 1), films[f"drifted_{recipe.perturbation}"][film].float(), target)
    mask = torch.cat([torch.ones_like(anchors[:, :TEMPORAL_FACTOR]), known], dim=2)
    context = torch.cat([mask, torch.cat([anchors, slots], dim=2)], dim=1)
    return Batch(torch.cat([anchors, target], dim=2), context, films["poses"][film, chunk].float(), drifted)


def _memory(
    films: dict[str, Tensor], film: Tensor, reference: Tensor, first: Tensor, generator: torch.Generator
) -> Tensor:
    """EverAnimate's anchors (arXiv 2605.15042, Eq. 1) [B, 16, 4, 8, 8]: three frames encoded alone, in time order, and
    the reference; the reference four times in a first chunk, and now and then."""
    size = len(film)
    order = torch.rand(size, SINGLES, generator=generator).argsort(dim=1)[:, : GEOMETRY.anchors - 1].sort(dim=1).values
    views = torch.stack([films["singles"][number][:, chosen] for number, chosen in zip(film, order, strict=True)])
    alone = first | (torch.rand(size, generator=generator) < REFERENCE_ONLY)
    repeated = reference.expand(-1, -1, GEOMETRY.anchors, -1, -1)
    return torch.where(_per_sample(alone), repeated, torch.cat([views.float(), reference], dim=2))


def _per_sample(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1, 1)
