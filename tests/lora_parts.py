"""LoRA files in every naming, for a model of two blocks."""

import re

import pytest
import torch

from everanimate_core.errors import InputError
from everanimate_core.lora.files import (
    Lora,
    LoraLayer,
    read_lora,
)
from everanimate_core.lora.names import LoraError

WIDTH, FFN, BLOCKS = 6, 8, 2


ALPHA = 3.0


DIFFUSERS = {
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}


TARGETS = [f"blocks.{block}.{suffix}" for block in range(BLOCKS) for suffix in DIFFUSERS]


AB = ("lora_A.weight", "lora_B.weight")


DEFAULT = ("lora_A.default.weight", "lora_B.default.weight")


DOWN_UP = ("lora_down.weight", "lora_up.weight")


def in_diffusers(target):
    _, block, suffix = target.split(".", 2)
    return f"blocks.{block}.{DIFFUSERS[suffix]}"


def flat(target):
    return target.replace(".", "_")


def same(target):
    return target


# id: (prefix, how the target is written, names of A and B, format found)
NAMINGS = {
    "bare": ("", same, AB, "bare"),
    "released": ("", same, DEFAULT, "released"),
    "bare down/up": ("", same, DOWN_UP, "bare down/up"),
    "pipe.dit": ("pipe.dit.", same, AB, "pipe.dit"),
    "pipe.dit default": ("pipe.dit.", same, DEFAULT, "pipe.dit"),
    "transformer": ("transformer.", same, AB, "transformer"),
    "diffusers": ("transformer.", in_diffusers, AB, "diffusers"),
    "diffusers without prefix": ("", in_diffusers, AB, "diffusers"),
    "peft": ("base_model.model.", same, AB, "peft"),
    "peft default": ("base_model.model.", same, DEFAULT, "peft"),
    "peft diffusers": ("base_model.model.", in_diffusers, AB, "peft, diffusers names"),
    "comfyui": ("diffusion_model.", same, AB, "comfyui"),
    "comfyui default": ("diffusion_model.", same, DEFAULT, "comfyui"),
    "comfyui down/up": ("diffusion_model.", same, DOWN_UP, "comfyui down/up"),
    "kohya": ("lora_unet_", flat, DOWN_UP, "kohya"),
}


def shape(target):
    return {"0": (FFN, WIDTH), "2": (WIDTH, FFN)}.get(target.rsplit(".", 1)[1], (WIDTH, WIDTH))


def rank(target):
    return 4 if "cross_attn" in target else 2


def factors(seed=0):
    """{target: (A, B)} of a LoRA of two ranks."""
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for target in TARGETS:
        out, width = shape(target)
        a = torch.randn(rank(target), width, generator=generator)
        b = torch.randn(out, rank(target), generator=generator)
        result[target] = (a, b)
    return result


def named(naming, alpha):
    prefix, write, (name_a, name_b), _ = NAMINGS[naming]
    tensors = {}
    for target, (a, b) in factors().items():
        name = prefix + write(target)
        tensors |= {f"{name}.{name_a}": a, f"{name}.{name_b}": b}
        if alpha:
            tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return tensors


def model_weights(prefix="", write=same, dtype=torch.float32):
    generator = torch.Generator().manual_seed(7)
    weights = {target: torch.randn(*shape(target), generator=generator) for target in TARGETS}
    return {f"{prefix}{write(target)}.weight": weight.to(dtype) for target, weight in weights.items()}


def lora_of(scale=1.0, **metadata):
    return Lora(tuple(LoraLayer(target, a, b, scale) for target, (a, b) in factors().items()), "released", metadata)


def tiny_diffusers_model():
    # Imported here: the other tests also run where the cli extra, which brings diffusers, is not installed.
    from diffusers import WanAnimateTransformer3DModel

    torch.manual_seed(0)
    return WanAnimateTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=12,
        ffn_dim=8,
        text_dim=8,
        freq_dim=8,
        num_layers=5,
        latent_channels=16,
        in_channels=36,
        image_dim=8,
        added_kv_proj_dim=12,
        motion_encoder_channel_sizes={str(2**power): 2 for power in range(2, 11)},
        motion_encoder_size=4,
        motion_style_dim=4,
        motion_dim=2,
        motion_encoder_dim=4,
        face_encoder_hidden_dim=8,
        face_encoder_num_heads=1,
        inject_face_latents_blocks=5,
    )


def refused(path, message):
    with pytest.raises(LoraError, match=message) as error:
        read_lora(path)
    assert re.fullmatch(r"[^:]+ \(.+\); got .+\.", str(error.value))
    assert isinstance(error.value, InputError)
