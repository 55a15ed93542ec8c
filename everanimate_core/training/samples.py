"""One training sample: what is drawn for it, and what the network then sees and is to answer.

A sample is a function of the recipe's seed and its own number, whoever makes it: any number of processes make the same
samples, and a training that goes on makes those that it would have made.
"""

from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor

from ..everanimate.context import chunk_context
from ..everanimate.memory import encode_singly, filled, memory_from_latents, motion_memory
from ..everanimate.perturbation import Perturbation, apply, draw, is_perturbed
from ..everanimate.restoration import TRAINING_SIGMAS
from ..everanimate.settings import FIRST, REFERENCE_ONLY
from ..ports import Codec
from .augmentation import Affine, augment, draw_affine
from .recipe import BLACK_POSE, Recipe, generator
from .records import FilmSet, SetSettings, as_frames


@dataclass(frozen=True)
class Choices:
    """What is drawn for a sample.

    reference: which of the O frames. carried: whether there is a chunk before it. anchors: which N of the C candidates,
    in time order (N - 1 where the reference stands behind them); None for the reference, N times. black_pose: whether
    the pose video is black. level: the noise level, a place in restoration.TRAINING_SIGMAS. affine: what happens to the
    anchors, perturbation: to the target, motion: to the first chunk before it becomes the motion memory.
    """

    reference: int
    carried: bool
    anchors: tuple[int, ...] | None
    black_pose: bool
    level: int
    affine: Affine | None = None
    perturbation: Perturbation | None = None
    motion: Perturbation | None = None

    @property
    def sigma(self) -> float:
        return float(TRAINING_SIGMAS[self.level])


@dataclass(frozen=True)
class Batch:
    """B samples; all float32, latents normalised.

    clean, noise: [B, 16, N + T, h, w], the anchors in front. drifted: [B, 16, T, h, w], P(target). context:
    [B, 20, N + T, h, w], mask and y. pose: [B, 16, T, h, w]. text: [B, L, C]. clip: [B, 257, D] or None. face:
    [B, 3, F, S, S] in -1..1 or None. sigma: [B].
    """

    clean: Tensor
    drifted: Tensor
    noise: Tensor
    context: Tensor
    pose: Tensor
    text: Tensor
    clip: Tensor | None
    face: Tensor | None
    sigma: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        values: dict[str, Any] = {
            name: None if value is None else value.to(device) for name, value in vars(self).items()
        }
        return Batch(**values)


def join(batches: list[Batch]) -> Batch:
    """One batch of several; either all have a face, or none (as with CLIP)."""
    columns = {item.name: [getattr(batch, item.name) for batch in batches] for item in fields(Batch)}
    whole: dict[str, Any] = {name: None if values[0] is None else torch.cat(values) for name, values in columns.items()}
    return Batch(**whole)


def film_of(seed: int, number: int, films: int) -> int:
    """The film of sample `number`: all `films` films in a random order, then all in another, and so on."""
    epoch, place = divmod(number, films)
    return int(torch.randperm(films, generator=generator(seed, "epoch", epoch))[place])


def learnt_from(recipe: Recipe, films: FilmSet) -> int:
    """How many of the films are learnt from: all but the last ones, which are held out."""
    return len(films.records) - recipe.held_out


def choose(recipe: Recipe, settings: SetSettings, number: int) -> Choices:
    """Draw sample `number`. The two stages draw the same, but for what stage 2 does to anchors and target beside."""
    random = generator(recipe.seed, "sample", number)

    def coin(probability: float) -> bool:
        return bool(torch.rand((), generator=random) < probability)

    def one_of(count: int) -> int:
        return int(torch.randint(count, (), generator=random))

    reference = one_of(len(settings.layout.references))
    first, reference_only, black_pose = coin(FIRST), coin(REFERENCE_ONLY), coin(BLACK_POSE)
    views = settings.geometry.anchors - (settings.anchors == "roll-out")
    order = torch.randperm(settings.candidates, generator=random)[:views]
    anchors = None if first or reference_only else tuple(order.sort().values.tolist())
    level = one_of(len(TRAINING_SIGMAS))
    affine = perturbation = None
    if recipe.stage == 2:
        memory, drift = generator(recipe.seed, "augmentation", number), generator(recipe.seed, "drift", number)
        if torch.rand((), generator=memory) < recipe.augmented and anchors is not None:
            affine = draw_affine(memory)
        if is_perturbed(float(TRAINING_SIGMAS[level]), drift):
            perturbation = draw(recipe.perturbation, settings.height, settings.width, drift)
    motion = None
    if recipe.perturbed_motion and not first:
        chance = generator(recipe.seed, "motion", number)
        if torch.rand((), generator=chance) < recipe.perturbed_motion:
            motion = draw(recipe.perturbation, settings.height, settings.width, chance)
    return Choices(reference, not first, anchors, black_pose, level, affine, perturbation, motion)


@dataclass(frozen=True)
class Material:
    """All that a sample is made of, before the VAE sees any of it: what processes that read ahead hand over.

    record: tensors of the film's record. anchors, drifted, first: frames [n, H, W, 3] in 0..1 that are still to be
    encoded, augmented or perturbed, or None. noise: [1, 16, N + T, h, w]. black_pose: [1, 16, T, h, w], or None.
    """

    choices: Choices
    record: dict[str, Tensor]
    anchors: Tensor | None
    drifted: Tensor | None
    first: Tensor | None
    noise: Tensor
    black_pose: Tensor | None


def read_material(choices: Choices, films: FilmSet, film: int, noise: torch.Generator) -> Material:
    """What the sample of one film is made of; its noise comes from the generator."""
    own = films.settings.reference == "own" and choices.carried
    names = ["own_reference" if own else "references", "target", "pose", "text", "clip", "face"]
    names += ["motion"] if choices.motion is None else ["first_pixels"]
    names += ["target_pixels"] if choices.perturbation is not None else []
    if choices.anchors is not None:
        names += ["singles"] if choices.affine is None else ["single_pixels"]
    record = films.read(film, names)

    anchors = drifted = first = None
    if choices.affine is not None and choices.anchors is not None:
        anchors = augment(choices.affine, as_frames(record.pop("single_pixels")[list(choices.anchors)]))
    if choices.perturbation is not None:
        drifted = apply(choices.perturbation, as_frames(record.pop("target_pixels")))
    if choices.motion is not None:
        first = apply(choices.motion, as_frames(record.pop("first_pixels")))
    count, channels, latents, height, width = record["target"].shape
    shape = (count, channels, films.settings.geometry.anchors + latents, height, width)
    black = films.black_pose if choices.black_pose else None
    return Material(choices, record, anchors, drifted, first, torch.randn(shape, generator=noise), black)


@torch.no_grad()
def encode_material(material: Material, settings: SetSettings, codec: Codec | None) -> Batch:
    """The sample, as a batch of one.

    The codec encodes what is perturbed or augmented; where nothing is, it is not asked and may be None. Augmented
    anchors are their own target: the network is to give back what it sees in its memory.
    """
    codec = cast(Codec, codec)
    geometry, choices, record = settings.geometry, material.choices, material.record
    start = choices.reference
    own = record.get("own_reference")
    reference = record["references"][:, :, start : start + 1] if own is None else own
    if choices.anchors is None:
        identity = filled(reference, geometry.anchors)
    else:
        if material.anchors is None:
            identity = record["singles"][:, :, list(choices.anchors)]
        else:
            identity = encode_singly(material.anchors, codec)
        if settings.anchors == "roll-out":
            identity = torch.cat([identity, reference], dim=2)

    target = drifted = record["target"]
    if material.drifted is not None:
        drifted = codec.encode(material.drifted)

    motion = record["motion"] if choices.carried and material.first is None else None
    if material.first is not None:
        motion = motion_memory(codec.encode(material.first), geometry.motion)
    context = chunk_context(geometry, memory_from_latents(identity, motion, motion_latents=geometry.motion), codec)
    clean = torch.cat([identity, target], dim=2)
    face = record.get("face")
    return Batch(
        clean=clean,
        drifted=drifted,
        noise=material.noise,
        context=torch.cat([context.mask, context.y], dim=1),
        pose=record["pose"] if material.black_pose is None else material.black_pose,
        text=record["text"],
        clip=record.get("clip"),
        face=None if face is None else as_frames(face).movedim(-1, 0)[None] * 2 - 1,
        sigma=TRAINING_SIGMAS[choices.level].reshape(1),
    )


def assemble(choices: Choices, films: FilmSet, film: int, codec: Codec | None, noise: torch.Generator) -> Batch:
    """The sample of one film, as a batch of one; its noise comes from the generator. codec: see encode_material."""
    return encode_material(read_material(choices, films, film, noise), films.settings, codec)


def sample_material(recipe: Recipe, films: FilmSet, number: int) -> Material:
    """What sample `number` of a training is made of."""
    choices = choose(recipe, films.settings, number)
    film = film_of(recipe.seed, number, learnt_from(recipe, films))
    return read_material(choices, films, film, generator(recipe.seed, "noise", number))


def make_sample(recipe: Recipe, films: FilmSet, number: int, codec: Codec | None) -> Batch:
    """Sample `number` of a training, as a batch of one."""
    return encode_material(sample_material(recipe, films, number), films.settings, codec)


def held_out_sample(recipe: Recipe, films: FilmSet, number: int, codec: Codec | None) -> Batch:
    """The sample of one of the films that are held out, by its number among them; always the same, a batch of one."""
    film, choices = learnt_from(recipe, films) + number, choose(recipe, films.settings, number)
    return assemble(choices, films, film, codec, generator(recipe.seed, "held out", number))
