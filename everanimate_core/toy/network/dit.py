"""The toy's Wan-Animate transformer in diffusers' class: 5 blocks, width 256; no CLIP, no face, no text."""

from os import PathLike

import torch
from torch import Tensor, nn

from ...backends.wan_checkpoint import drop_face_path, transformer_from_state
from .state import DIM, FFN, HEADS, LAYERS, MEMORY_WEIGHTS, TEXT_DIM, read_state

try:
    from diffusers import WanAnimateTransformer3DModel
except ImportError as error:
    raise ImportError(f"everanimate: the toy needs diffusers (pip install 'everanimate[cli]'); got {error}.") from error

# What in diffusers' names is replaced, in this order, to get the original ones.
_NAMES = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    ".attn1.": ".self_attn.",
    ".attn2.bias": ".cross_attn.o.bias",
    ".to_out.0.": ".o.",
    ".to_": ".",
    ".ffn.net.0.proj.": ".ffn.0.",
    ".ffn.net.2.": ".ffn.2.",
    "scale_shift_table": "modulation",
    "proj_out.": "head.head.",
}


class _Answer(nn.Module):
    """Stands in for a block's cross-attention: one learned vector for every token, whatever the text."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(DIM))

    def forward(self, *_: Tensor | None) -> Tensor:
        return self.bias


def new_network(seed: int) -> nn.Module:
    """The network in the form in which it is trained: without text embedding, face path and CLIP.

    It takes any text of shape [B, L, C]. Gates start at 1 and the head at 0.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = WanAnimateTransformer3DModel(
            num_attention_heads=HEADS, ffn_dim=FFN, num_layers=LAYERS, text_dim=TEXT_DIM, image_dim=None
        )
    drop_face_path(network)
    network.condition_embedder.text_embedder = nn.Identity()
    with torch.no_grad():
        for block in network.blocks:
            block.attn2, block.norm2 = _Answer(), nn.Identity()
            block.scale_shift_table[:, [2, 5]] = 1
        network.proj_out.weight.zero_()
        network.proj_out.bias.zero_()
    return network


def original_name(name: str) -> str:
    """The original name of a parameter of `new_network`."""
    for own, original in _NAMES.items():
        name = name.replace(own, original)
    return "head.modulation" if name == "modulation" else name


def load_dit(
    path: str | PathLike = MEMORY_WEIGHTS, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Module:
    """A trained transformer of the toy's as diffusers' class, frozen, in eval mode, on `device`."""
    return transformer_from_state(read_state(path), path, device=device, dtype=dtype)
