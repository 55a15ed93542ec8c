"""What processes that compute together load: a Wan-Animate transformer that two do not divide evenly, or nothing."""

import os
import time

import torch
from diffusers import WanAnimateTransformer3DModel

FACE_SIZE = 16


@torch.no_grad()
def uneven_transformer(device="cpu"):
    """Three heads of 12, 10 blocks, 2 face adapters, faces of 16 pixels; the same random values in every process."""
    torch.set_num_threads(1)
    transformer = WanAnimateTransformer3DModel(
        num_attention_heads=3,
        attention_head_dim=12,
        text_dim=8,
        freq_dim=16,
        ffn_dim=32,
        num_layers=10,
        image_dim=16,
        added_kv_proj_dim=36,
        motion_encoder_channel_sizes={"4": 4, "8": 4, "16": 4},
        motion_encoder_size=FACE_SIZE,
        motion_style_dim=8,
        motion_dim=3,
        motion_encoder_dim=8,
        face_encoder_hidden_dim=16,
        face_encoder_num_heads=2,
        motion_encoder_batch_size=2,
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in transformer.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return transformer.to(device).eval().requires_grad_(False)


def ending(device):
    """A process that ends where it should load."""
    os._exit(3)


def loading(device):
    """A process that loads for a minute."""
    print("loading", flush=True)
    time.sleep(60)
