"""Wan-Animate and Wan VAE checkpoints -> diffusers models: from a diffusers folder, or from one .safetensors file with
the original key names (those of the Wan authors, which ComfyUI uses too)."""

import re
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import InputError, one_line, shown
from ..everanimate.geometry import LATENT_CHANNELS
from .components import component, component_config, open_weights, place_weights, read_files
from .model_folders import check_counts
from .needs import extra_packages

with extra_packages():
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers


State = dict[str, Tensor]
Value = TypeVar("Value")

HEAD_DIM = 128  # the same in every Wan 2.x transformer; no weight's shape tells it
PATCH_AREA = 4  # a patch is 1x2x2 latents
# The modules that only a face video needs. A checkpoint may leave any of them out, each as a whole.
FACE_PATH = ("motion_encoder", "face_encoder", "face_adapter")
SCALED_FP8 = (".scale_weight", ".weight_scale", ".comfy_quant", "scaled_fp8")
# What diffusers calls the weights of a component's folder.
WEIGHTS = "diffusion_pytorch_model"
_BLOCK = re.compile(r"blocks\.([0-9]{1,4})\.")


def load_transformer(path: str | Path, *, device: torch.device | str, dtype: torch.dtype) -> nn.Module:
    """diffusers' WanAnimateTransformer3DModel with the weights at `path`, frozen, in eval mode, on `device`.

    path: a diffusers folder (with `transformer/` in it, or that one itself), or a .safetensors file with the original
    key names, bare or behind `diffusion_model.` or `model.diffusion_model.`; its sizes are read from its shapes.
    dtype: of all weights but the few that diffusers keeps in float32 (norms, time embedding, modulation).
    A checkpoint without motion encoder, face encoder or face adapter serves without a face video: `has_face_path`.
    Raises ValueError for another model, for scaled fp8 weights and for missing or unexpected keys.
    """
    path = Path(path)
    if path.is_dir():
        config, files = component(path, "transformer", WanAnimateTransformer3DModel)
        return _build(config, read_files(files, "model"), path, device=device, dtype=dtype)
    return transformer_from_state(read_files([path], "model"), path, device=device, dtype=dtype)


def transformer_from_state(
    state: State, source: str | PathLike, *, device: torch.device | str, dtype: torch.dtype
) -> nn.Module:
    """As `load_transformer`, from weights under their original names; `source` is what errors call them.

    Weights without the image embedder (`img_emb`) make a transformer that takes no CLIP tokens.
    """
    config, converted = _converted(state, source)
    return _build(config, converted, source, device=device, dtype=dtype)


def _build(
    config: dict, state: State, source: str | PathLike, *, device: torch.device | str, dtype: torch.dtype
) -> nn.Module:
    return place_weights(_outline(config, state, source), state, source, device=device, dtype=dtype)


def _converted(state: State, source: str | PathLike) -> tuple[dict, State]:
    """diffusers' config, and the weights under its names, of those under their original names."""
    original = _original_names(state)
    _check_animate(original, source)
    config = _transformer_config(original, source)
    return config, _foreign(lambda: convert_wan_transformer_to_diffusers(original), "model", source)


def _outline(config: dict, state: State, source: str | PathLike) -> nn.Module:
    """The transformer that has these weights, still without them."""
    check_counts(config, len(state), lambda got: _unlike_wan("model", source, f"with {got}"))
    model = _foreign(lambda: empty_transformer(config), "model", source)
    drop_face_path(model, kept={key.split(".")[0] for key in state})
    return model


def outline_transformer(path: str | Path) -> nn.Module:
    """The transformer at `path` (see `load_transformer`) on the device `meta`: its sizes, and no weights.

    Only config.json and the headers of safetensors files are read. A diffusers folder may lack its weights.
    """
    path = Path(path)
    if path.is_dir():
        config = component_config(path, "transformer", WanAnimateTransformer3DModel)[0]
        return _foreign(lambda: empty_transformer(config), "model", path)
    with open_weights(path, "model") as file:
        state = {name: torch.empty(file.shape(name), device="meta") for name in file.names}
    return _outline(*_converted(state, path), path)


def load_vae(path: str | Path, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """diffusers' AutoencoderKLWan with the weights at `path`, frozen, in eval mode, on `device`.

    path: a diffusers folder (with `vae/` in it, or that one itself), or a .safetensors file with the original Wan 2.1
    names; its widths are read from its shapes. dtype: float32 by default, since every trip of a frame through the VAE
    loses a little, and over a long video that adds up.
    Raises ValueError for a VAE of other than 16 channels and for missing or unexpected keys.
    """
    path = Path(path)
    if path.is_dir():
        config, files = component(path, "vae", AutoencoderKLWan)
        state = read_files(files, "vae")
    else:
        original = read_files([path], "vae")
        _check_vae(original, path)
        config = _vae_config(original, path)
        state = _foreign(lambda: convert_wan_vae_to_diffusers(original), "vae", path)
    if config.get("z_dim", LATENT_CHANNELS) != LATENT_CHANNELS:
        raise InputError(
            "vae",
            f"must have {LATENT_CHANNELS} latent channels",
            "wan_2.1_vae.safetensors, not the Wan 2.2 VAE",
            f"{shown(config['z_dim'])} in {one_line(path)}",
        )
    check_counts(config, len(state), lambda got: _unlike_wan("vae", path, f"with {got}"))
    model = _foreign(lambda: empty_vae(config), "vae", path)
    return place_weights(model, state, path, device=device, dtype=dtype)


def check_transformer(path: str | Path) -> None:
    """Raise ValueError, as `load_transformer` would, for what is seen without loading the weights."""
    path = Path(path)
    if path.is_dir():
        component(path, "transformer", WanAnimateTransformer3DModel)
    else:
        with open_weights(path, "model") as file:
            _check_animate(_original_names(dict.fromkeys(file.names)), path)


def check_vae(path: str | Path) -> None:
    """Raise ValueError, as `load_vae` would, for what is seen without loading the weights."""
    path = Path(path)
    if path.is_dir():
        component(path, "vae", AutoencoderKLWan)
    else:
        with open_weights(path, "vae") as file:
            _check_vae(file.names, path)


def empty_transformer(config: dict) -> nn.Module:
    """A WanAnimateTransformer3DModel of the sizes in `config` that has no weights yet, for `place_weights`."""
    with init_empty_weights():
        return WanAnimateTransformer3DModel.from_config(config)


def empty_vae(config: dict) -> nn.Module:
    """An AutoencoderKLWan of the sizes in `config` that has no weights yet, for `place_weights`."""
    with init_empty_weights():
        return AutoencoderKLWan.from_config(config)


def drop_face_path(transformer: nn.Module, kept: Iterable[str] = ()) -> None:
    """Take the modules of FACE_PATH that are not in `kept` out of the transformer."""
    for name in set(FACE_PATH).difference(kept):
        setattr(transformer, name, nn.Identity())


def has_face_path(transformer: nn.Module) -> bool:
    """Whether the transformer has all modules that a face video needs."""
    return not any(isinstance(getattr(transformer, name), nn.Identity) for name in FACE_PATH)


def _unlike_wan(name: str, source: str | PathLike, wrong: str) -> InputError:
    """The error of a model, or a "vae", of other sizes or weights than Wan's. wrong: a clause ("which has no x")."""
    own = "Wan2.2-Animate" if name == "model" else "the Wan 2.1 VAE"
    return InputError(name, f"must have the sizes and weights of {own}", "", f"{one_line(source)}, {wrong}")


def _foreign(make: Callable, name: str, source: str | PathLike):
    """What diffusers makes of sizes and names that a stranger wrote; ValueError for whatever it stumbles over."""
    try:
        return make()
    except Exception as error:
        got = f"{type(error).__name__}: {one_line(error, 200)}"
        raise _unlike_wan(name, source, f"of which none can be made ({got})") from error


def _original_names(state: Mapping[str, Value]) -> dict[str, Value]:
    """Without the prefixes that ComfyUI and trainers put in front, and without the motion encoder's blur kernels:
    constants of the architecture, which the original code happens to store and diffusers computes."""
    bare = {key.removeprefix("model.").removeprefix("diffusion_model."): value for key, value in state.items()}
    return {key: value for key, value in bare.items() if not key.endswith(".kernel")}


def _check_animate(state: Iterable[str], path: str | PathLike) -> None:
    """state: a state dict, or its names."""
    scaled = [key for key in state if key.endswith(SCALED_FP8)]
    if scaled:
        raise InputError(
            "model",
            "must not have scaled fp8 weights, which work in ComfyUI only",
            "wan2.2_animate_14B_bf16.safetensors",
            f"{one_line(path)} with {one_line(scaled[0], 120)}",
        )
    rule = "must be Wan2.2-Animate with its original key names"
    _require("pose_patch_embedding.weight", state, path, "model", rule, "wan2.2_animate_14B_bf16.safetensors")


def _check_vae(state: Iterable[str], path: str | Path) -> None:
    """state: a state dict, or its names."""
    _require("decoder.head.2.weight", state, path, "vae", "must be the Wan 2.1 VAE", "wan_2.1_vae.safetensors")


def _require(key: str, state: Iterable[str], path: str | PathLike, name: str, rule: str, example: str) -> None:
    if key not in state:
        raise InputError(name, rule, example, f"{one_line(path)}, which has no {key}")


def _size(state: State, key: str, axis: int, name: str, path: str | PathLike) -> int:
    """The size of a weight along an axis; ValueError where there is no such weight or axis."""
    if key not in state:
        raise _unlike_wan(name, path, f"which has no {key}")
    if not -state[key].ndim <= axis < state[key].ndim:
        raise _unlike_wan(name, path, f"with {key} {list(state[key].shape)}")
    return state[key].shape[axis]


def _transformer_config(state: State, path: str | PathLike) -> dict:
    """Sizes of the transformer, from the shapes of its original weights."""

    def size(key: str, axis: int) -> int:
        return _size(state, key, axis, "model", path)

    dim = size("head.modulation", -1)
    clip = "img_emb.proj.0.weight" in state
    return {
        "num_attention_heads": dim // HEAD_DIM,
        "attention_head_dim": HEAD_DIM,
        "in_channels": size("patch_embedding.weight", 1),
        "latent_channels": size("pose_patch_embedding.weight", 1),
        "out_channels": size("head.head.weight", 0) // PATCH_AREA,
        "text_dim": size("text_embedding.0.weight", 1),
        "freq_dim": size("time_embedding.0.weight", 1),
        "ffn_dim": size("blocks.0.ffn.0.weight", 0),
        "num_layers": 1 + max(int(block[1]) for key in state if (block := _BLOCK.match(key))),
        "image_dim": size("img_emb.proj.0.weight", 0) if clip else None,
        "added_kv_proj_dim": dim if clip else None,
    }


def _vae_config(state: State, path: str | Path) -> dict:
    """Widths of the VAE, from the shapes of its original weights."""

    def size(key: str, axis: int) -> int:
        return _size(state, key, axis, "vae", path)

    return {
        "base_dim": size("encoder.conv1.weight", 0),
        "decoder_base_dim": size("decoder.head.2.weight", 1),
        "z_dim": size("conv2.weight", 0),
    }
