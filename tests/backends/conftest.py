"""Tiny instances of the real diffusers classes, and requests to go with them."""

import pytest
import torch
from diffusers import AutoencoderKLWan
from tiny_wan import FACE_SIZE, randomise, tiny_wan

from everanimate_core.everanimate.context import Context
from everanimate_core.everanimate.propagation import ChunkRequest

LATENTS, HEIGHT, WIDTH = 2, 4, 6
FRAMES = 5


@pytest.fixture
def transformer():
    """Two heads of 12, 10 blocks, 2 face adapters, faces of 16 pixels that are encoded two at a time."""
    return tiny_wan()


@pytest.fixture
def vae():
    """The Wan VAE with widths 4, 8, 16, 16."""
    return randomise(AutoencoderKLWan(base_dim=4))


@pytest.fixture
def text():
    return torch.randn(1, 512, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def clip():
    return torch.randn(1, 257, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def make_request():
    """make_request(anchors, **changes): a request with pose and face for T = 2 latents of 4 x 6."""

    def make(anchors, **changes):
        generator = torch.Generator().manual_seed(3)

        def draw(*shape):
            return torch.randn(shape, generator=generator)

        total = anchors + LATENTS
        fields = {
            "index": 0,
            "context": Context(draw(1, 16, total, HEIGHT, WIDTH), draw(1, 4, total, HEIGHT, WIDTH)),
            "anchors": anchors,
            "pose_latents": draw(1, 16, LATENTS, HEIGHT, WIDTH),
            "face_pixels": draw(1, 3, FRAMES, FACE_SIZE, FACE_SIZE),
            "clip_image": torch.rand(1, 32, 48, 3, generator=generator),
        }
        return ChunkRequest(**(fields | changes))

    return make
