"""The network that --model and --parts name."""

import os
from pathlib import Path

import torch
from torch import nn

from ..backends.wan_checkpoint import load_transformer
from ..backends.wan_encoders import WanFiles
from ..errors import InputError, one_line
from ..lora.files import Lora, read_lora
from ..lora.fit import apply_lora
from ..toy.network.dit import load_dit
from ..toy.network.state import TOYS
from ..training.parts import Parts, wan_parts
from .toy_training import toy_parts


def model_path(model: str) -> Path:
    """Where --model lies; InputError where nothing does."""
    if not os.path.exists(model):
        raise InputError("model", "must be a folder or file that is there", "", one_line(model))
    return Path(model)


def wan_files(model: str, parts: Path | None) -> WanFiles:
    """The files that --model and --parts name; InputError when they are not there, or cannot be Wan-Animate's."""
    path = model_path(model)
    if parts is not None and not os.path.isdir(parts):
        raise InputError("parts", "must be a diffusers folder that is there", "", one_line(parts))
    if path.is_dir():
        files = WanFiles.from_folder(path)
    else:
        if parts is None:
            raise InputError(
                "parts", "must be a diffusers folder with VAE and encoders where --model is a file", "", "none"
            )
        if path.suffix != ".safetensors":
            raise InputError("model", "must be a .safetensors file, or a folder", "", one_line(path))
        files = WanFiles.from_folder(parts, path)
    files.check()
    return files


def load_animator(
    model: str, parts: Path | None, lora: Lora | Path | None, strength: float, dtype: torch.dtype, device: torch.device
) -> nn.Module:
    """The transformer that --model and --parts name, with the LoRA, or that of a file, merged in at that strength."""
    if model in TOYS:
        transformer = load_dit(TOYS[model], device=device, dtype=dtype)
    else:
        transformer = load_transformer(wan_files(model, parts).transformer, device=device, dtype=dtype)
    if lora is not None:
        apply_lora(transformer, read_lora(lora) if isinstance(lora, Path) else lora, strength)
    return transformer


def training_parts(model: str, parts: Path | None, device: torch.device) -> Parts:
    """What training needs of the network; see wan_files."""
    return toy_parts(TOYS[model]) if model in TOYS else wan_parts(wan_files(model, parts), device)
