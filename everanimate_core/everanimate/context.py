"""The context that conditions one chunk (arXiv 2605.15042, Eq. 2-3).

Along time, for N = 4 anchors, M = 1 motion latent and T = 20 latents of F = 77 frames:

                 anchors (N)     motion (M)  chunk (T - M)
    y          | a0 a1 a2 a3 |      m0     | 0    0    ...   0   |   in the network's normalised latent space,
    mask       | 1  1  1  1  |      0      | 0    0    ...   0   |   where a null slot is exactly zero
    pose, face | -  -  -  -  |      p0     | p1   p2   ...   p19 |
    frames                          0       1-4   5-8  ...  73-76

The network's input is [16 noisy latents | 4 mask | 16 y] channels; pose and face drive the T chunk latents only, the
anchors get nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InputError, check_choice, needed
from ..plan import TEMPORAL_FACTOR, latent_frames, pixel_frames
from ..ports import Codec
from .geometry import LATENT_CHANNELS, ChunkGeometry
from .memory import ContextMemory


@dataclass(frozen=True)
class ContextPolicy:
    """How a chunk is conditioned; the default is the method, the rest serves comparisons and ablations.

    carry: what goes from chunk to chunk, `latent` (as sampled) or `pixel` (the last O decoded frames, encoded again,
    as Wan-Animate does). identity: `fixed` (completed once from chunk 0), `reference` (the references only) or
    `last_chunk` (taken again from every chunk). null: what unknown slots hold, `zeros` or encoded `grey` frames.
    motion_known: whether the mask marks the carried slots as known.
    """

    carry: str = "latent"
    identity: str = "fixed"
    null: str = "zeros"
    motion_known: bool = False

    def __post_init__(self):
        check_choice("carry", self.carry, ("latent", "pixel"))
        check_choice("identity", self.identity, ("fixed", "reference", "last_chunk"))
        check_choice("null", self.null, ("zeros", "grey"))


METHOD = ContextPolicy()


@dataclass(frozen=True)
class Context:
    """y: [1, 16, N + T, h, w]; mask: [1, 4, N + T, h, w], 1 where y is known. Float32, normalised space."""

    y: Tensor
    mask: Tensor

    def network_input(self, x: Tensor) -> Tensor:
        """The 36 channels [16 noisy latents x | 4 mask | 16 y] that the patch embedding reads."""
        return torch.cat([x, self.mask.to(x), self.y.to(x)], dim=1)


@dataclass(frozen=True)
class Replacement:
    """A chunk's part of a scene that stays, with a person to be replaced in it.

    background: [F, H, W, 3] in 0..1. character: [F, H, W] in 0..1, 1 where the new person is to be drawn. latents:
    [1, 16, T, h, w], the background encoded, where that was done before.
    """

    background: Tensor
    character: Tensor
    latents: Tensor | None = None


def carried_slots(geometry: ChunkGeometry, memory: ContextMemory, policy: ContextPolicy) -> int:
    """How many of the T slots hold what was carried over: 0 before the first chunk."""
    if policy.carry == "pixel":
        if memory.last_frames is None:
            return 0
        if memory.last_frames.shape[0] < geometry.overlap:
            raise InputError(
                "carry 'pixel'",
                f"needs the last {geometry.overlap} frames in the memory",
                "the policy of the chunk before",
                memory.last_frames.shape[0],
            )
        return latent_frames(geometry.overlap)
    return 0 if memory.motion is None else geometry.motion


def pack_mask(known: Tensor) -> Tensor:
    """Fold a mask per frame [F, h, w] into 4 channels per latent frame [1, 4, T, h, w].

    The causal VAE gives frame 0 a latent of its own: it fills rows 0 to 3, frame f >= 1 goes to row f + 3.
    """
    rows = torch.cat([known[:1].expand(TEMPORAL_FACTOR - 1, -1, -1), known])
    return needed("einops", "packing masks").rearrange(rows, "(t r) h w -> 1 r t h w", r=TEMPORAL_FACTOR)


def chunk_context(
    geometry: ChunkGeometry,
    memory: ContextMemory,
    codec: Codec,
    replacement: Replacement | None = None,
    policy: ContextPolicy = METHOD,
) -> Context:
    """Build y and its mask for the next chunk.

    The codec is used only where pixels enter: a replacement's background, and the policies `pixel` and `grey`.
    """
    carried = carried_slots(geometry, memory, policy)
    slots = _chunk_slots(geometry, memory, codec, replacement, policy, carried)
    _, _, _, height, width = memory.identity.shape
    if replacement is None:
        known = torch.zeros(1, TEMPORAL_FACTOR, geometry.latents, height, width)
    else:
        character = interpolate(replacement.character[:, None], size=(height, width), mode="nearest")[:, 0]
        known = pack_mask(1 - character)
    known[:, :, :carried] = float(policy.motion_known)
    anchors = torch.ones(1, TEMPORAL_FACTOR, memory.anchors, height, width)
    y = torch.cat([memory.identity, slots], dim=2)  # Eq. 2
    return Context(y, torch.cat([anchors, known], dim=2))


def _chunk_slots(geometry, memory, codec, replacement, policy, carried) -> Tensor:
    """The T slots of y behind the anchors: [1, 16, T, h, w]."""
    pixels = carried and policy.carry == "pixel"
    clip = None
    if replacement is not None:
        clip = replacement.background
    elif policy.null == "grey":
        clip = torch.full((geometry.frames, memory.height, memory.width, 3), 0.5)

    if clip is None:
        slots = torch.zeros(1, LATENT_CHANNELS, geometry.latents, *memory.identity.shape[3:])
        if pixels:
            slots[:, :, :carried] = codec.encode(memory.last_frames[: pixel_frames(carried)])
    elif pixels:
        clip = clip.clone()
        clip[: geometry.overlap] = memory.last_frames
        slots = codec.encode(clip).clone()
    else:
        known = None if replacement is None else replacement.latents
        slots = (codec.encode(clip) if known is None else known).clone()
    if carried and policy.carry == "latent":
        slots[:, :, :carried] = memory.motion
    return slots


def check_alignment(anchors: int, latents: int, pose_latents: int) -> None:
    """Raise InputError unless N anchors and the pose's T latent frames make up the `latents` frames of the state."""
    if anchors + pose_latents != latents:
        raise InputError(
            "identity latents + pose latents",
            "must equal the latent frames being sampled",
            "4 + 20 = 24",
            f"{anchors} + {pose_latents} and {latents}",
        )


def prepend_null(vectors: Tensor, count: int, dim: int = 1) -> Tensor:
    """Put `count` zero vectors in front along `dim`: the anchors' share of pose or face driving."""
    shape = list(vectors.shape)
    shape[dim] = count
    return torch.cat([vectors.new_zeros(shape), vectors], dim=dim)  # Eq. 3
