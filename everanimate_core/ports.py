"""What any host must supply: a VAE, driving videos, a memory of them, velocities, and the sampling of one chunk.

A host is whoever runs the method: ComfyUI with its own loader and sampler, or `backends` with diffusers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from torch import Tensor

# v = network(x, sigma): of x's shape, for a scalar sigma.
Velocity = Callable[[Tensor, Tensor], Tensor]
# on_step(step, steps, clean): after each step, with the clean estimate that it saw. What it raises ends the sampling.
StepCallback = Callable[[int, int, Tensor], None]
# What a method asks to be sampled.
Request = TypeVar("Request", contravariant=True)


class Codec(Protocol):
    """A video VAE as the method sees it: frames in 0..1 on one side, the network's normalised latents on the other.

    What goes in and comes out lies on the CPU, wherever the VAE itself runs.
    """

    def encode(self, frames: Tensor) -> Tensor:
        """[F, H, W, 3] in 0..1, F = 4n + 1 -> [1, 16, n + 1, H/8, W/8] float32, the mean of the posterior."""

    def decode(self, latents: Tensor) -> Tensor:
        """[1, 16, T, h, w] -> [4(T - 1) + 1, 8h, 8w, 3] float32 in 0..1."""


class FrameSource(Protocol):
    """A driving video, read by frame number; fps is None for loose images."""

    @property
    def frame_count(self) -> int:
        """How many frames there are."""

    @property
    def width(self) -> int:
        """In pixels."""

    @property
    def height(self) -> int:
        """In pixels."""

    @property
    def fps(self) -> Fraction | None:
        """Frames a second."""

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames `indices`, in that order: [n, H, W, 3] float32 in 0..1."""


@dataclass(frozen=True)
class Held:
    """What a memory of a video has read so far, on the CPU. It saves time and changes nothing: without it, all frames
    are read again.

    past: [2, layers, n, kv_width], what is kept of the first `frames` frames.
    """

    past: Tensor
    frames: int


class VideoMemory(Protocol):
    """A network that remembers what a video looks like. Nothing in it is random."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides a memory beside the network and the frames, as JSON values by the names of the settings."""

    @property
    def side(self) -> int:
        """Width and height of what it looks at of a frame, in pixels."""

    def crops(self, frames: Tensor) -> Tensor:
        """[n, H, W, 3] in 0..1 -> what it looks at of each frame, [n, S, S, 3] uint8 on the CPU."""

    def remember(self, crops: Tensor, held: Held | None = None) -> tuple[Tensor, Held | None]:
        """The memory of all frames so far, [2, 3, N, kv_width] on the CPU, and what is held of them for the next call.

        crops: of all frames so far, [n, S, S, 3] uint8. held: what the last call for fewer frames of this video gave.
        The memory: keys and values of three layers, N those of the whole video and behind them those of its end.
        """


class SampleChunk(Protocol[Request]):
    """The sampling of one chunk, from noise of the given seed."""

    def __call__(self, request: Request, noise_seed: int, /) -> Tensor:
        """The latents [1, 16, T, h, w] of the chunk, float32 on the CPU, anchors cut."""
