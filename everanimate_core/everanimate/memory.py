"""The context memory handed from chunk to chunk (Persistent Latent Propagation, arXiv 2605.15042, Eq. 1).

Identity memory: N latents, each the encoding of one frame on its own, that say who is animated. They begin as the
reference image and are completed once, from frames of the first chunk, so that other views of the person are kept too.
Motion memory: the last M latents of the chunk before, as the sampler left them, never decoded and encoded again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import InputError
from ..latents import SPATIAL_FACTOR, check_size
from ..plan import ChunkPlan
from ..ports import Codec
from .geometry import LATENT_CHANNELS
from .settings import RELEASED


@dataclass(frozen=True)
class ContextMemory:
    """What one chunk hands to the next; latents are float32 in the network's normalised space.

    references: [R, H, W, 3] in 0..1, R = 0 when the memory was made from latents alone. reference_latents:
    [1, 16, R, h, w]. identity: [1, 16, N, h, w]. frozen: the identity memory is complete. motion_count: M. motion:
    [1, 16, M, h, w], None before the first chunk. last_frames: the end of the last decoded chunk, [n, H, W, 3], None
    before the first chunk; n = 1 unless pixels are carried over. statistics: [2, 16], mean and spread of each channel
    of the first chunk's own latents, None before it is there. made_by, plan: the chunk that left the memory, and its
    plan; None where that is not known.
    """

    references: Tensor
    reference_latents: Tensor
    identity: Tensor
    motion_count: int
    frozen: bool
    motion: Tensor | None = None
    last_frames: Tensor | None = None
    statistics: Tensor | None = None
    made_by: int | None = None
    plan: ChunkPlan | None = None

    @property
    def anchors(self) -> int:
        """N, the number of anchors."""
        return self.identity.shape[2]

    @property
    def width(self) -> int:
        """Width of the animation in pixels."""
        return self.identity.shape[4] * SPATIAL_FACTOR

    @property
    def height(self) -> int:
        """Height of the animation in pixels."""
        return self.identity.shape[3] * SPATIAL_FACTOR


def filled(latents: Tensor, count: int) -> Tensor:
    """Repeat the last of the latents [1, 16, R, h, w] until there are `count`."""
    return torch.cat([latents, latents[:, :, -1:].expand(-1, -1, count - latents.shape[2], -1, -1)], dim=2)


def encode_singly(frames: Tensor, codec: Codec) -> Tensor:
    """Encode each of the frames [R, H, W, 3] on its own: [1, 16, R, h, w]."""
    return torch.cat([codec.encode(frame[None]) for frame in frames], dim=2)  # Eq. 1


def check_motion(motion_latents: int) -> None:
    """Raise InputError unless at least one latent is carried over."""
    if motion_latents < 1:
        raise InputError("motion_latents", "must be at least 1", "1", motion_latents)


def build_memory(
    references: Tensor,
    codec: Codec,
    identity_latents: int = RELEASED.identity_latents,
    motion_latents: int = RELEASED.motion_latents,
) -> ContextMemory:
    """The memory before the first chunk.

    references: [R, H, W, 3] in 0..1, already of the animation's size, 1 <= R <= identity_latents. With R equal to
    identity_latents they are the identity memory for good; with fewer, the last is repeated until the first chunk
    completes it. Raises InputError for no or too many references, for sizes that are not multiples of 16 and for
    motion_latents below 1.
    """
    count = references.shape[0]
    if not 1 <= count <= identity_latents:
        raise InputError(
            "reference_images", f"must hold between 1 and identity_latents ({identity_latents}) images", "", count
        )
    check_size(references.shape[2], references.shape[1])
    check_motion(motion_latents)
    latents = encode_singly(references, codec)
    identity = filled(latents, identity_latents)
    return ContextMemory(references, latents, identity, motion_latents, frozen=count == identity_latents)


def memory_from_latents(
    identity: Tensor,
    motion: Tensor | None = None,
    references: Tensor | None = None,
    motion_latents: int = RELEASED.motion_latents,
) -> ContextMemory:
    """A memory whose identity latents [1, 16, N, h, w] are given and final.

    motion: [1, 16, M, h, w] of the chunk before, None to start (then `motion_latents` says M). references: the images
    [R, H, W, 3] that CLIP vision may look at. Raises InputError when the shapes do not fit together.
    """
    for name, latents in (("identity", identity), ("motion", motion)):
        if latents is not None and (latents.ndim != 5 or latents.shape[:2] != (1, LATENT_CHANNELS)):
            raise InputError(
                name, "must be Wan latents of one video", "[1, 16, frames, height/8, width/8]", list(latents.shape)
            )
        if latents is not None and not latents.shape[2]:
            raise InputError(name, "must have at least 1 latent frame", "", "0")
    height, width = identity.shape[3] * SPATIAL_FACTOR, identity.shape[4] * SPATIAL_FACTOR
    check_size(width, height)
    check_motion(motion_latents)
    if motion is not None and motion.shape[3:] != identity.shape[3:]:
        raise InputError(
            "motion",
            "must be of identity's size",
            f"{width}x{height} pixels",
            f"{motion.shape[4] * SPATIAL_FACTOR}x{motion.shape[3] * SPATIAL_FACTOR}",
        )
    if references is None:
        references = torch.zeros(0, height, width, 3)
    elif references.shape[1:3] != (height, width):
        raise InputError(
            "reference_image",
            "must be of identity's size",
            f"{width}x{height}",
            f"{references.shape[2]}x{references.shape[1]}",
        )
    elif references.shape[0] > identity.shape[2]:
        raise InputError(
            "reference_image",
            "must hold at most as many images as identity has latent frames",
            identity.shape[2],
            references.shape[0],
        )
    return ContextMemory(
        references,
        reference_latents=identity[:, :, identity.shape[2] - references.shape[0] :],
        identity=identity,
        motion_count=motion_latents if motion is None else motion.shape[2],
        frozen=True,
        motion=motion,
    )


def retake_identity(memory: ContextMemory, frames: Tensor, keyframes: Sequence[int], codec: Codec) -> ContextMemory:
    """Complete the identity memory with `keyframes` of the decoded chunk `frames` [F, H, W, 3]; frozen from then on.

    identity = [keyframes in time order ..., references ...]: the reference comes last. Where the chunk has too few
    frames, the last reference fills up.
    """
    taken = encode_singly(frames[list(keyframes)], codec)
    identity = filled(torch.cat([taken, memory.reference_latents], dim=2), memory.anchors)
    return replace(memory, identity=identity, frozen=True)


def motion_memory(latents: Tensor, count: int) -> Tensor:
    """The last M = `count` latents of a chunk [1, 16, T, h, w], as the sampler left them: [1, 16, M, h, w].

    Laid out as they would be read from a file: sums over another layout differ in the last bit, and a run that was
    stopped and continued must not.
    """
    return latents[:, :, -count:].clone(memory_format=torch.contiguous_format)
