"""What any host must supply: a VAE, driving videos, the network's velocity, and the sampling of one chunk.

A host is whoever runs the method: ComfyUI with its own loader and sampler, or `backends` with diffusers.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Protocol, TypeVar

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


class SampleChunk(Protocol[Request]):
    """The sampling of one chunk, from noise of the given seed."""

    def __call__(self, request: Request, noise_seed: int, /) -> Tensor:
        """The latents [1, 16, T, h, w] of the chunk, float32 on the CPU, anchors cut."""
