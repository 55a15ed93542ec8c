"""CogVideoX I2V and SketchDiT in diffusers' classes, for LongAnimation without ComfyUI."""

from typing import Any

import torch
from torch import Tensor, nn

from .needs import extra_packages

with extra_packages():
    from diffusers import CogVideoXTransformer3DModel
    from diffusers.models.embeddings import get_3d_rotary_pos_embed


# What CogVideoX1.5 I2V is told beside the timestep.
OFS = 2.0
PATCH = PATCH_TIME = 2

Rotary = tuple[Tensor, Tensor]


class SketchDiT(CogVideoXTransformer3DModel):
    """The network that looks at line art: the first blocks of a CogVideoX, and a linear map in the place of its head.

    Config, and names of weights, as CogVideoX's; `zero_conv` begins at zero.
    """

    def __init__(self, **config: Any):
        super().__init__(**config)
        width = self.config.num_attention_heads * self.config.attention_head_dim
        del self.norm_final, self.norm_out, self.proj_out
        self.zero_conv = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.zero_conv.weight)

    def forward(self, x: Tensor, text: Tensor, timestep: Tensor, rotary: Rotary) -> Tensor:
        """The control [B, tokens, dim] for x [B, T, 32, h, w] (lines, reference), text [B, L, C] and timesteps [B]."""
        embedding = self._embedding(timestep, x.dtype)
        tokens = self.patch_embed(text, x)
        count = text.shape[1]
        text, hidden = tokens[:, :count], tokens[:, count:]
        for block in self.transformer_blocks:
            hidden, text = block(hidden, text, embedding, image_rotary_emb=rotary)
        return self.zero_conv(hidden)

    def _embedding(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        embedding = self.time_embedding(self.time_proj(timestep).to(dtype))
        if self.ofs_embedding is None:
            return embedding
        return embedding + self.ofs_embedding(self.ofs_proj(timestep.new_full((1,), OFS)).to(dtype))


def rotary_embedding(network: nn.Module, x: Tensor) -> Rotary:
    """Cosines and sines for state [B, T, C, h, w]: the places of its tokens in time and space, as whole numbers."""
    grid = x.shape[3] // PATCH, x.shape[4] // PATCH
    cosines, sines = get_3d_rotary_pos_embed(
        embed_dim=network.config.attention_head_dim,
        crops_coords=None,
        grid_size=grid,
        temporal_size=x.shape[1] // PATCH_TIME,
        grid_type="slice",
        max_size=grid,
        device=x.device,
    )
    return cosines, sines


def predict(base: nn.Module, x: Tensor, reference: Tensor, text: Tensor, timestep: Tensor, rotary: Rotary) -> Tensor:
    """The base network's v for the state x and the reference's slots, both [B, T, 16, h, w]."""
    ofs = None if base.ofs_embedding is None else x.new_full((1,), OFS)
    return base(
        hidden_states=torch.cat([x, reference], dim=2),
        encoder_hidden_states=text,
        timestep=timestep,
        ofs=ofs,
        image_rotary_emb=rotary,
        return_dict=False,
    )[0]
