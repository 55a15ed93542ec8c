"""CogVideoX I2V, SketchDiT, DGLM and their VAE as diffusers' models, from files."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError, one_line
from ..longanimation.dglm import DglmSizes, GlobalLocalMemory, check_dglm
from ..longanimation.files import (
    HEAD_DIM,
    IN_CHANNELS,
    LATENT_CHANNELS,
    CogSizes,
    check_fit,
    network_file,
    read_base,
    read_memory,
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
    base: Path, sketch: Path, memory: Path | None = None, *, device: torch.device | str, dtype: torch.dtype
) -> tuple[nn.Module, nn.Module, GlobalLocalMemory | None]:
    """The base network, its SketchDiT and, where there is a file `memory`, its DGLM, frozen, on `device`.

    base: a diffusers folder (with `transformer/` in it, or that one itself), a file or an index, see `read_base`.
    sketch, memory: files. Raises InputError for other networks, and for those that do not fit each other.
    """
    control, control_sizes = read_sketch(sketch)
    reader = None
    if memory is not None:
        weights, memory_sizes = read_memory(memory)
        check_dglm(memory_sizes, control_sizes.width)
        reader = dglm_from_state(weights, memory_sizes, device=device, dtype=dtype)
    state, sizes = read_base(network_file(base))
    check_fit(control_sizes, sizes)
    return (
        network_from_state(CogVideoXTransformer3DModel, state, sizes, device=device, dtype=dtype),
        network_from_state(SketchDiT, control, control_sizes, device=device, dtype=dtype),
        reader,
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


def dglm_from_state(
    state: Mapping[str, Tensor], sizes: DglmSizes, *, device: torch.device | str, dtype: torch.dtype
) -> GlobalLocalMemory:
    """A DGLM with the weights of `state`, frozen, in eval mode."""
    with torch.device("meta"):
        network = GlobalLocalMemory(sizes)
    network.load_state_dict({name: value.to(device, dtype) for name, value in state.items()}, assign=True)
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
