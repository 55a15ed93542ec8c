"""The VAE of the colouring toy: CogVideoX's own, in diffusers' class, a few hundred times smaller.

It keeps what matters about the large one: it is causal in time, and works through a video in batches (the first of
8 + F % 8 frames, then 8 at a time), over which its group norms see what they see.
"""

from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError, needed, one_line
from ...longanimation.files import LATENT_CHANNELS
from ...tensor_files import read_tensors

WEIGHTS = Path(__file__).parent / "weights" / "colour_vae.safetensors"
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
    if _shapes(state) != _shapes(vae.state_dict()):
        raise _wrong(path, "which holds other tensors")
    vae.load_state_dict(state)
    return vae.eval().requires_grad_(False)


def read_vae(path: str | PathLike = WEIGHTS) -> dict[str, Tensor]:
    """The trained VAE's weights by name, float32; InputError for a file that is none of safetensors."""
    tensors, _ = read_tensors(path, lambda wrong: _wrong(path, wrong))
    return {name: value.float() for name, value in tensors.items()}


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _wrong(path: str | PathLike, wrong: str) -> InputError:
    rule = "must be a .safetensors file of the colouring toy's VAE"
    return InputError("the toy's weights", rule, "colour_vae.safetensors", f"{one_line(path)}, {wrong}")
