"""Wan-Animate and Wan VAE checkpoints -> diffusers models: from a diffusers folder, or from one .safetensors file with
the original key names (those of the Wan authors, which ComfyUI uses too)."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..geometry import LATENT_CHANNELS

try:
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
    from diffusers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFETENSORS_WEIGHTS_NAME
except ImportError as error:
    raise ImportError(
        f"everanimate: running without ComfyUI needs diffusers (pip install 'everanimate[cli]'); got {error}."
    ) from error

State = dict[str, Tensor]

HEAD_DIM = 128  # the same in every Wan 2.x transformer; no weight's shape tells it
PATCH_AREA = 4  # a patch is 1x2x2 latents
# The modules that only a face video needs. A checkpoint may leave any of them out, each as a whole.
FACE_PATH = ("motion_encoder", "face_encoder", "face_adapter")
SCALED_FP8 = (".scale_weight", ".weight_scale", ".comfy_quant", "scaled_fp8")


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
        config, state = _read_folder(path, "transformer", WanAnimateTransformer3DModel)
        return _build(config, state, path, device=device, dtype=dtype)
    return transformer_from_state(_read_file(path, "model"), path, device=device, dtype=dtype)


def transformer_from_state(
    state: State, source: str | Path, *, device: torch.device | str, dtype: torch.dtype
) -> nn.Module:
    """As `load_transformer`, from weights under their original names; `source` is what errors call them.

    Weights without the image embedder (`img_emb`) make a transformer that takes no CLIP tokens.
    """
    original = _original_names(state)
    _check_animate(original, source)
    config = _transformer_config(original)
    return _build(config, convert_wan_transformer_to_diffusers(original), source, device=device, dtype=dtype)


def _build(
    config: dict, state: State, source: str | Path, *, device: torch.device | str, dtype: torch.dtype
) -> nn.Module:
    model = empty_transformer(config)
    drop_face_path(model, kept={key.split(".")[0] for key in state})
    return place_weights(model, state, source, device=device, dtype=dtype)


def load_vae(path: str | Path, *, device: torch.device | str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """diffusers' AutoencoderKLWan with the weights at `path`, frozen, in eval mode, on `device`.

    path: a diffusers folder (with `vae/` in it, or that one itself), or a .safetensors file with the original Wan 2.1
    names; its widths are read from its shapes. dtype: float32 by default, since every trip of a frame through the VAE
    loses a little, and over a long video that adds up.
    Raises ValueError for a VAE of other than 16 channels and for missing or unexpected keys.
    """
    path = Path(path)
    if path.is_dir():
        config, state = _read_folder(path, "vae", AutoencoderKLWan)
    else:
        original = _read_file(path, "vae")
        _require("decoder.head.2.weight", original, path, "vae: must be the Wan 2.1 VAE (wan_2.1_vae.safetensors)")
        config, state = _vae_config(original), convert_wan_vae_to_diffusers(original)
    if config["z_dim"] != LATENT_CHANNELS:
        raise ValueError(
            f"vae: must have {LATENT_CHANNELS} latent channels (wan_2.1_vae.safetensors, not the Wan 2.2 VAE); "
            f"got {config['z_dim']} in {path}."
        )
    return place_weights(empty_vae(config), state, path, device=device, dtype=dtype)


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


def place_weights(
    model: nn.Module, state: State, source: str | Path, *, device: torch.device | str, dtype: torch.dtype
) -> nn.Module:
    """Give `model`, which has none yet, all its weights; frozen, in eval mode, on `device`.

    dtype: of all weights but those that the model's class keeps in float32. Raises ValueError, which names `source`,
    for a partial fit.
    """
    float32 = set(model._keep_in_fp32_modules or ())
    weights = {
        key: value.to(device, torch.float32 if float32.intersection(key.split(".")) else dtype)
        for key, value in state.items()
    }
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if missing or unexpected:
        raise ValueError(
            f"model: the weights must be all those of a {type(model).__name__}, and no others; got {source}, where "
            f"{_examples(missing)} are missing and {_examples(unexpected)} are unknown."
        )
    return model.to(device).eval().requires_grad_(False)


def _examples(keys: list[str]) -> str:
    return f"{len(keys)} ({', '.join(keys[:3])})" if keys else "0"


def _read_folder(path: Path, component: str, model: type) -> tuple[dict, State]:
    """Config and weights of one component of a diffusers folder."""
    folder = path if (path / "config.json").is_file() else path / component
    if not (folder / "config.json").is_file():
        raise ValueError(f"model: a folder must hold {component}/config.json (a diffusers model); got {path}.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("_class_name") != model.__name__:
        raise ValueError(
            f"model: {component} must be a {model.__name__}; got a {config.get('_class_name')} in {folder}."
        )
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if not index.is_file():
        return config, _read_file(folder / SAFETENSORS_WEIGHTS_NAME, "model")
    state: State = {}
    for shard in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())):
        state.update(_read_file(folder / shard, "model"))
    return config, state


def _read_file(path: Path, name: str) -> State:
    if path.suffix != ".safetensors" or not path.is_file():
        raise ValueError(f"{name}: must be a diffusers folder or a .safetensors file that exists; got {path}.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{name}: must be a whole .safetensors file; got {path}: {error}.") from error


def _original_names(state: State) -> State:
    """Without the prefixes that ComfyUI and trainers put in front, and without the motion encoder's blur kernels:
    constants of the architecture, which the original code happens to store and diffusers computes."""
    bare = {key.removeprefix("model.").removeprefix("diffusion_model."): value for key, value in state.items()}
    return {key: value for key, value in bare.items() if not key.endswith(".kernel")}


def _check_animate(state: State, path: str | Path) -> None:
    scaled = [key for key in state if key.endswith(SCALED_FP8)]
    if scaled:
        raise ValueError(
            f"model: scaled fp8 weights work in ComfyUI only (here take wan2.2_animate_14B_bf16.safetensors); "
            f"got {path} with {scaled[0]}."
        )
    rule = "model: must be Wan2.2-Animate with its original key names (wan2.2_animate_14B_bf16.safetensors)"
    _require("pose_patch_embedding.weight", state, path, rule)


def _require(key: str, state: State, path: str | Path, rule: str) -> None:
    if key not in state:
        raise ValueError(f"{rule}; got {path}, which has no {key}.")


def _transformer_config(state: State) -> dict:
    """Sizes of the transformer, from the shapes of its original weights."""
    dim = state["head.modulation"].shape[-1]
    image = state.get("img_emb.proj.0.weight")
    return {
        "num_attention_heads": dim // HEAD_DIM,
        "attention_head_dim": HEAD_DIM,
        "in_channels": state["patch_embedding.weight"].shape[1],
        "latent_channels": state["pose_patch_embedding.weight"].shape[1],
        "out_channels": state["head.head.weight"].shape[0] // PATCH_AREA,
        "text_dim": state["text_embedding.0.weight"].shape[1],
        "freq_dim": state["time_embedding.0.weight"].shape[1],
        "ffn_dim": state["blocks.0.ffn.0.weight"].shape[0],
        "num_layers": 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
        "image_dim": None if image is None else image.shape[0],
        "added_kv_proj_dim": None if image is None else dim,
    }


def _vae_config(state: State) -> dict:
    """Widths of the VAE, from the shapes of its original weights."""
    return {
        "base_dim": state["encoder.conv1.weight"].shape[0],
        "decoder_base_dim": state["decoder.head.2.weight"].shape[1],
        "z_dim": state["conv2.weight"].shape[0],
    }
