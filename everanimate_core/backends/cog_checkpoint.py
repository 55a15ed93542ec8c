"""CogVideoX I2V, SketchDiT and their VAE as diffusers' models, from files."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError, one_line
from ..longanimation.files import (
    HEAD_DIM,
    IN_CHANNELS,
    LATENT_CHANNELS,
    CogSizes,
    check_fit,
    network_file,
    read_base,
    read_sketch,
)
from ..longanimation.names import diffusers_name
from .cog_networks import PATCH, PATCH_TIME, CogVideoXTransformer3DModel, SketchDiT
from .components import component, place_weights, read_files
from .model_folders import check_counts
from .needs import extra_packages

with extra_packages():
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKLCogVideoX


def load_networks(
    base: Path, sketch: Path, *, device: torch.device | str, dtype: torch.dtype
) -> tuple[nn.Module, nn.Module]:
    """The base network and its SketchDiT, frozen, on `device`.

    base: a diffusers folder (with `transformer/` in it, or that one itself), a file or an index, see `read_base`.
    sketch: a file. Raises InputError for other networks, and for two that do not fit each other.
    """
    control, control_sizes = read_sketch(sketch)
    state, sizes = read_base(network_file(base))
    check_fit(control_sizes, sizes)
    return (
        network_from_state(CogVideoXTransformer3DModel, state, sizes, device=device, dtype=dtype),
        network_from_state(SketchDiT, control, control_sizes, device=device, dtype=dtype),
    )


def network_from_state(
    kind: type[nn.Module],
    state: Mapping[str, Tensor],
    sizes: CogSizes,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> nn.Module:
    """A network of one of both classes with the weights of `state`, under native names, frozen, in eval mode."""
    with torch.device("meta"):
        network = kind(**config_of(sizes))
    weights = {diffusers_name(name): value.to(device, dtype) for name, value in state.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def config_of(sizes: CogSizes) -> dict:
    """What diffusers' class is made with for a network of these sizes."""
    return {
        "num_attention_heads": sizes.heads,
        "attention_head_dim": HEAD_DIM,
        "in_channels": IN_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "time_embed_dim": sizes.time,
        "ofs_embed_dim": sizes.ofs,
        "text_embed_dim": sizes.text,
        "num_layers": sizes.blocks,
        "patch_size": PATCH,
        "patch_size_t": PATCH_TIME,
        "patch_bias": False,
        "use_rotary_positional_embeddings": True,
        "use_learned_positional_embeddings": False,
    }


def load_vae(folder: Path, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """diffusers' AutoencoderKLCogVideoX from a diffusers folder (with `vae/` in it, or that one itself), frozen.

    Raises InputError for another model, and for one whose weights are not all there.
    """
    config, files = component(folder, "vae", AutoencoderKLCogVideoX)
    state = read_files(files, "vae")

    def refuse(got: str) -> InputError:
        return InputError(
            "vae", "must have the sizes and weights of CogVideoX's VAE", "", f"{got} in {one_line(folder)}"
        )

    check_counts(config, len(state), refuse)
    try:
        with init_empty_weights():
            model = AutoencoderKLCogVideoX.from_config(config)
    except Exception as error:
        # Its settings are a stranger's.
        raise refuse(f"{type(error).__name__}: {one_line(error, 200)}") from error
    return place_weights(model, state, folder, device=device, dtype=dtype)
