"""Chunk geometry: how frames, latent frames and the two memories fit together.

The Wan 2.1 VAE is causal in time: the first frame has a latent frame of its own, every further four frames share one.
A chunk of F = 4(T - 1) + 1 frames therefore has T latent frames. The network sees N identity (anchor) latents in front
of them, N + T in all; the first M of the T are where the motion memory of the previous chunk is placed.
"""

from dataclasses import dataclass

from ..errors import InputError
from ..plan import ChunkPlan, check_chunk, latent_frames
from .settings import RELEASED

LATENT_CHANNELS = 16


@dataclass(frozen=True)
class ChunkGeometry:
    """Sizes in time of one chunk; the defaults are those of the released LoRA.

    frames: F, RGB frames of a chunk (4n + 1). anchors: N, identity latents in front. motion: M, latents carried over
    from the chunk before, 1..T - 1. overlap: O, frames shared by two neighbouring chunks (the LoRA was trained on 4 M).
    """

    frames: int = RELEASED.chunk_frames
    anchors: int = RELEASED.identity_latents
    motion: int = RELEASED.motion_latents
    overlap: int = RELEASED.overlap

    def __post_init__(self):
        check_chunk(self.frames, self.overlap)
        if self.anchors < 1:
            raise InputError("identity_latents", "must be at least 1", "4", self.anchors)
        if not 1 <= self.motion < self.latents:
            raise InputError(
                "motion_latents",
                f"must be between 1 and {self.latents - 1} for chunks of {self.frames} frames",
                "1",
                self.motion,
            )

    @property
    def latents(self) -> int:
        """T, the latent frames of the chunk itself."""
        return latent_frames(self.frames)

    @property
    def input_latents(self) -> int:
        """N + T, the latent frames that the network sees and denoises."""
        return self.anchors + self.latents


def chunk_geometry(plan: ChunkPlan, anchors: int, motion: int) -> ChunkGeometry:
    """Geometry of the plan's chunks for a memory of so many anchors and `motion` carried latents."""
    return ChunkGeometry(plan.chunk_frames, anchors, motion, plan.overlap)
