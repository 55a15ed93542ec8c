"""Memory augmentation of stage 2: one affine for all anchors of a sample, so that pose and place are not copied."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

SCALE, SHIFT = (0.8, 1.2), (-0.10, 0.10)
# What lies outside of the frame.
GREY = 0.5


@dataclass(frozen=True)
class Affine:
    """scale: of the sampling grid (above 1 shows the frame smaller). x, y: its shift, half widths and half heights."""

    scale: float
    x: float
    y: float


def draw_affine(generator: torch.Generator) -> Affine:
    """Uniform over SCALE and SHIFT."""
    scale, x, y = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    low, high = SHIFT
    return Affine(SCALE[0] + (SCALE[1] - SCALE[0]) * scale, low + (high - low) * x, low + (high - low) * y)


def augment(affine: Affine, frames: Tensor) -> Tensor:
    """The frames [n, H, W, 3] in 0..1, sampled bilinearly at the affine's grid; of the same shape and range."""
    theta = torch.tensor([[affine.scale, 0, affine.x], [0, affine.scale, affine.y]], dtype=torch.float32)
    images = frames.movedim(-1, 1) - GREY  # grid_sample pads with zeros
    grid = affine_grid(theta.expand(len(frames), 2, 3), list(images.shape), align_corners=False)
    sampled = grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (sampled + GREY).movedim(1, -1).contiguous()
