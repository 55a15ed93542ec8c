"""A Wan-Animate transformer of diffusers at tiny size, the same random values in every process."""

import torch
from diffusers import WanAnimateTransformer3DModel

FACE_SIZE = 16


@torch.no_grad()
def randomise(model, seed=0):
    """Random values everywhere: a zero bias or padding would hide a leak."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval().requires_grad_(False)


def tiny_wan(heads=2, layers=10):
    """Heads of 12, a face adapter for each 5 layers, CLIP tokens of 16, faces of 16 pixels that are encoded two at a
    time."""
    return randomise(
        WanAnimateTransformer3DModel(
            num_attention_heads=heads,
            attention_head_dim=12,
            text_dim=8,
            freq_dim=16,
            ffn_dim=32,
            num_layers=layers,
            image_dim=16,
            added_kv_proj_dim=12 * heads,
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
