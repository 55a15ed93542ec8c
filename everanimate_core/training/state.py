"""What a training needs to go on, in one safetensors file: the LoRA, the optimiser's moments, the step, the recipe.

Gathered and handed out by torch's own state dict functions, so that names and values are the same in one process, with
DDP and with FSDP. All processes call both functions; the first alone writes.
"""

import json
import os
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.optim import Optimizer

_OPTIONS = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False)
_WEIGHT = "weight."
# Of AdamW, for every parameter.
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def gather(network: nn.Module, optimiser: Optimizer) -> dict[str, Tensor]:
    """weight.NAME of what is trained, and MOMENT.NAME of AdamW; empty but in the first process."""
    weights, optimiser_state = get_state_dict(network, optimiser, options=_OPTIONS)
    tensors = {f"{_WEIGHT}{name}": value for name, value in weights.items()}
    for name, moments in optimiser_state.get("state", {}).items():
        tensors |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS}
    return tensors


def weights_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights among what `gather` gave, under their names inside the module `prefix`."""
    start = f"{_WEIGHT}{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def write_state(path: Path, tensors: dict[str, Tensor], step: int, facts: dict) -> None:
    """Write what `gather` gave, at once or not at all. facts: what a file of another training differs in (JSON)."""
    new = path.with_suffix(".new")
    header = {"training": json.dumps({"step": step, "facts": facts})}
    save_file({name: value.contiguous() for name, value in tensors.items()}, new, metadata=header)
    os.replace(new, path)


def read_state(path: Path, network: nn.Module, optimiser: Optimizer, facts: dict) -> int:
    """Restore network and optimiser; the step that comes next. ValueError when the file is of another training."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["training"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    before = header["facts"]
    if before != facts:
        changed = [name for name in facts if before.get(name) != facts[name]]
        was, now = (", ".join(f"{name} {found.get(name)}" for name in changed) for found in (before, facts))
        raise ValueError(f"train: --resume goes on with the settings of the training in --out ({was}); got {now}.")
    weights = {name.removeprefix(_WEIGHT): value for name, value in tensors.items() if name.startswith(_WEIGHT)}
    moments = {name: {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS} for name in weights}
    # The settings, which torch wants as well, stay as they are.
    settings = {name: value for name, value in optimiser.param_groups[0].items() if name != "params"}
    set_state_dict(
        network,
        optimiser,
        model_state_dict=weights,
        optim_state_dict={"state": moments, "param_groups": [{"params": list(weights), **settings}]},
        options=_OPTIONS,
    )
    return header["step"]
