"""Components of a diffusers folder: settings and weights, and a model that gets all of them and no others."""

from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError, one_line, shown
from ..tensor_files import DIFFUSERS_WEIGHTS, FLOATS, TensorFile, open_tensors, weight_files
from .model_folders import read_config

State = dict[str, Tensor]


def component(path: Path, part: str, model: type) -> tuple[dict, list[Path]]:
    """Config and weight files of one component of a diffusers folder."""
    config, folder = component_config(path, part, model)
    return config, weight_files(folder, DIFFUSERS_WEIGHTS, part)


def component_config(path: Path, part: str, model: type) -> tuple[dict, Path]:
    """Config of one component of a diffusers folder, and the folder that it is in; weights need not be there."""
    folder = path if (path / "config.json").is_file() else path / part
    if not (folder / "config.json").is_file():
        raise InputError("model", f"must be a folder with {part}/config.json", "a diffusers model", one_line(path))
    config = read_config(folder, part)
    if config.get("_class_name") != model.__name__:
        found = one_line(config.get("_class_name"), 80)
        raise InputError(part, f"must be a {model.__name__}", "", f"a {found} in {one_line(folder)}")
    return config, folder


def read_files(paths: list[Path], name: str) -> State:
    """All tensors of these files; views of them."""
    state: State = {}
    for path in paths:
        with open_weights(path, name) as file:
            state.update({key: file.read(key) for key in file.names})
    return state


def open_weights(path: Path, name: str) -> AbstractContextManager[TensorFile]:
    """A weights file of the model or the VAE, for reading; InputError for one that is none."""

    def refuse(wrong: str) -> InputError:
        rule = "must be a diffusers folder or a whole .safetensors file"
        return InputError(name, rule, "", f"{one_line(path)}, {wrong}")

    return open_tensors(path, refuse)


def place_weights(
    model: nn.Module, state: State, source: str | PathLike, *, device: torch.device | str, dtype: torch.dtype
) -> nn.Module:
    """Give `model`, which has none yet, all its weights; frozen, in eval mode, on `device`.

    dtype: of all weights but those that the model's class keeps in float32. Raises ValueError, which names `source`,
    for a partial fit.
    """
    where, shapes = one_line(source), {name: value.shape for name, value in model.state_dict().items()}
    for name, value in state.items():
        if value.dtype not in FLOATS:
            got = f"{where}, where {one_line(name, 120)} is {str(value.dtype).removeprefix('torch.')}"
            raise InputError("model", "must have floating-point weights", "bfloat16", got)
        if value.shape != shapes.get(name, value.shape):
            got = f"{where}, where {one_line(name, 120)} is {shown(list(value.shape))} instead of {list(shapes[name])}"
            raise InputError("model", f"must have weights of the sizes of {type(model).__name__}", "", got)
    float32 = set(model._keep_in_fp32_modules or ())
    weights = {
        key: value.to(device, torch.float32 if float32.intersection(key.split(".")) else dtype)
        for key, value in state.items()
    }
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    if missing or unexpected:
        raise InputError(
            "model",
            f"must have all weights of {type(model).__name__}, and no others",
            "",
            f"{where}, where {_examples(missing)} are missing and {_examples(unexpected)} are unknown",
        )
    return model.to(device).eval().requires_grad_(False)


def _examples(keys: list[str]) -> str:
    return f"{len(keys)} ({', '.join(one_line(key, 120) for key in keys[:3])})" if keys else "0"
