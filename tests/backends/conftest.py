"""Tiny instances of the real diffusers classes, and requests to go with them."""

import pytest
import torch
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel

from everanimate_core.everanimate.context import Context
from everanimate_core.everanimate.propagation import ChunkRequest

LATENTS, HEIGHT, WIDTH = 2, 4, 6
FRAMES, FACE_SIZE = 5, 16


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine, threads wait for each other much longer than these tiny models need."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@torch.no_grad()
def randomise(model, seed=0):
    """Random values everywhere: a zero bias or padding would hide a leak."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval().requires_grad_(False)


@pytest.fixture
def transformer():
    """Two heads of 12, 10 blocks, 2 face adapters, faces of 16 pixels that are encoded two at a time."""
    return randomise(
        WanAnimateTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            text_dim=8,
            freq_dim=16,
            ffn_dim=32,
            num_layers=10,
            image_dim=16,
            added_kv_proj_dim=24,
            motion_encoder_channel_sizes={"4": 4, "8": 4, "16": 4},
            motion_encoder_size=FACE_SIZE,
            motion_style_dim=8,
            motion_dim=3,
            motion_encoder_dim=8,
            face_encoder_hidden_dim=16,
            face_encoder_num_heads=2,
            motion_encoder_batch_size=2,
        )
    )


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
