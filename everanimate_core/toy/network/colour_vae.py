"""The VAE of the colouring toy: CogVideoX's own, in diffusers' class, a few hundred times smaller.

It keeps what matters about the large one: it is causal in time, and works through a video in batches (the first of
8 + F % 8 frames, then 8 at a time), over which its group norms see what they see.
"""

from os import PathLike

import torch
from torch import Tensor

from ...errors import InputError, needed, one_line
from ...longanimation.files import LATENT_CHANNELS
from .state import FOLDER, read_packed

WEIGHTS = FOLDER / "colour_vae.safetensors"
_WHAT, _EXAMPLE = "the colouring toy's VAE", WEIGHTS.name
# What CogVideoX1.5 reads latents times.
SCALE = 0.7
CHANNELS, LAYERS, GROUPS = (8, 16, 32, 32), 1, 2


def new_vae(seed: int) -> torch.nn.Module:
    """An untrained VAE (diffusers' AutoencoderKLCogVideoX), 0.7 M parameters."""
    diffusers = needed("diffusers", "the colouring toy")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return diffusers.AutoencoderKLCogVideoX(
            block_out_channels=CHANNELS,
            layers_per_block=LAYERS,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=GROUPS,
            scaling_factor=SCALE,
            invert_scale_latents=True,
        )


def load_vae(path: str | PathLike = WEIGHTS) -> torch.nn.Module:
    """The trained VAE in float32, for inference; InputError for a file of something else."""
    vae, state = new_vae(0), read_vae(path)
    own = vae.state_dict()
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in own.items()}:
        rule, got = f"must be a .safetensors file of {_WHAT}", f"{one_line(path)}, which holds other tensors"
        raise InputError("the toy's weights", rule, _EXAMPLE, got)
    vae.load_state_dict(state)
    return vae.eval().requires_grad_(False)


def read_vae(path: str | PathLike = WEIGHTS) -> dict[str, Tensor]:
    """The trained VAE's weights by name, float32; InputError for a file that `write_packed` did not write."""
    return read_packed(path, _WHAT, _EXAMPLE)
