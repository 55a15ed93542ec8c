"""A tiny Wan-Animate with random weights: the whole engine in seconds on a CPU, with pictures that mean nothing."""

import math

import torch
from torch import Tensor, nn

from .diffusers_wan import DiffusersWan
from .wan_checkpoint import drop_face_path, empty_transformer, empty_vae, place_weights
from .wan_codec import WanCodec

CLIP_SHAPE = (1, 257, 1280)
TEXT_SHAPE = (1, 512, 4096)


def random_tiny(seed: int = 0, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> DiffusersWan:
    """A Wan-Animate of 5 blocks and width 256 without face path, and a VAE of width 4; equal for equal seeds.

    It has the real model's inputs and outputs. The text is all zeros, and every image has the same random CLIP tokens.
    dtype: of the transformer; the VAE is float32.
    """
    generator = torch.Generator().manual_seed(seed)
    transformer = empty_transformer(
        {"num_attention_heads": 2, "ffn_dim": 512, "num_layers": 5, "added_kv_proj_dim": 256}
    )
    vae = empty_vae({"base_dim": 4})
    drop_face_path(transformer)
    place_weights(transformer, _draw(transformer, generator), "random", device=device, dtype=dtype)
    place_weights(vae, _draw(vae, generator), "random", device=device, dtype=torch.float32)
    clip = torch.randn(CLIP_SHAPE, generator=generator)
    return DiffusersWan(transformer, WanCodec(vae), torch.zeros(TEXT_SHAPE), lambda image: clip)


def _draw(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A value for every parameter of `model`, such that signals keep their scale on the way through."""

    def value(name: str, shape: torch.Size) -> Tensor:
        if name.endswith("bias"):
            return torch.zeros(shape)
        if "norm" in name:
            return torch.ones(shape)
        return torch.randn(shape, generator=generator) / math.sqrt(shape[1:].numel())

    return {name: value(name, parameter.shape) for name, parameter in model.named_parameters()}
