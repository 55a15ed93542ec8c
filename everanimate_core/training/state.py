"""What a training needs to go on, in one safetensors file: the LoRA, the optimiser's moments, the step, the recipe.

Gathered and handed out by torch's own state dict functions, so that names and values are the same in one process, with
DDP and with FSDP. All processes call both functions; the first alone writes.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from torch.optim import Optimizer

from ..backends.needs import extra_packages
from ..errors import InputError, one_line, shown
from ..json_files import check_fields, parse_json
from ..tensor_files import read_tensors, write_tensors

with extra_packages():
    from diffusers.training_utils import EMAModel

_OPTIONS = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False)
# For the names of what is trained, in every process, and nothing gathered.
_NAMES = StateDictOptions(ignore_frozen_params=True)
WEIGHT, AVERAGE = "weight.", "average."
# Of AdamW, for every parameter.
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def gather(network: nn.Module, optimiser: Optimizer, average: EMAModel | None = None) -> dict[str, Tensor]:
    """weight.NAME of what is trained, MOMENT.NAME of AdamW, and average.NAME; empty but in the first process."""
    # Torch's types allow for any values; those of AdamW and of what is trained are tensors.
    states: Any = get_state_dict(network, optimiser, options=_OPTIONS)
    weights, optimiser_state = states
    tensors = {f"{WEIGHT}{name}": value for name, value in weights.items()}
    for name, moments in optimiser_state.get("state", {}).items():
        tensors |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS}
    if average is not None:
        # In the network's place for a moment: so it is gathered as that is, shared out or not.
        average.store(trained_parameters(network))
        average.copy_to(trained_parameters(network))
        averaged: Any = get_model_state_dict(network, options=_OPTIONS)
        tensors |= {f"{AVERAGE}{name}": value.clone() for name, value in averaged.items()}
        average.restore(trained_parameters(network))
    return tensors


def trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """What is trained, in this process."""
    return [value for value in network.parameters() if value.requires_grad]


def weights_of(tensors: dict[str, Tensor], prefix: str, kind: str = WEIGHT) -> dict[str, Tensor]:
    """The weights (or their AVERAGE) among what `gather` gave, under their names inside the module `prefix`."""
    start = f"{kind}{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def saved_loras(folder: Path) -> list[Path]:
    """The LoRAs of a training, in the order of their steps."""
    return sorted(folder.glob("lora-*.safetensors"))


def write_state(path: Path, tensors: Mapping[str, Tensor], step: int, facts: dict) -> None:
    """Write what `gather` gave, at once or not at all. facts: what a file of another training differs in (JSON).

    ValueError, and an older file stays, where a value is not a finite number.
    """
    write_tensors(path, tensors, {"training": json.dumps({"step": step, "facts": facts})})


def read_state(
    path: Path, network: nn.Module, optimiser: Optimizer, facts: dict, average: EMAModel | None = None
) -> int:
    """Restore network, optimiser and average; the step that comes next. ValueError when the file is of another
    training, and when it is none that write_state wrote."""
    tensors, step, before = _read(path)
    if before != facts:
        changed = [name for name in {**facts, **before} if before.get(name) != facts.get(name)]
        was, now = (
            # Facts leave out what is off.
            ", ".join(f"{one_line(name, 80)} {one_line(found.get(name, 'off'), 80)}" for name in changed)
            for found in (before, facts)
        )
        raise InputError("resume", "goes on with the settings of the training that is there", was, now)
    weights: dict[str, Any] = {
        name.removeprefix(WEIGHT): value for name, value in tensors.items() if name.startswith(WEIGHT)
    }
    trained: dict[str, Any] = get_model_state_dict(network, options=_NAMES)
    shapes = {name: value.shape for name, value in trained.items()}
    moments: dict[str, Any] = {
        name: {moment: tensors.get(f"{moment}.{name}") for moment in _MOMENTS} for name in weights
    }
    for name, shape in shapes.items():
        found = [weights.get(name), *(moments.get(name, {}).get(moment) for moment in _MOMENTS[1:])]
        if any(value is None or value.shape != shape for value in found) or moments[name]["step"] is None:
            raise _damaged(path, f"where weights or moments of {name} do not fit the network")
    if len(weights) > len(shapes):
        raise _damaged(path, f"with {len(weights)} weights for the {len(shapes)} of the network")
    if average is not None:
        averaged: dict[str, Any] = {
            name.removeprefix(AVERAGE): value for name, value in tensors.items() if name.startswith(AVERAGE)
        }
        for name, shape in shapes.items():
            if name not in averaged or averaged[name].shape != shape:
                raise _damaged(path, f"where the average of {name} does not fit the network")
        set_model_state_dict(network, averaged, options=_OPTIONS)
        average.shadow_params = [value.detach().clone() for value in trained_parameters(network)]
        average.optimization_step = step
    # The settings, which torch wants as well, stay as they are.
    settings = {name: value for name, value in optimiser.param_groups[0].items() if name != "params"}
    set_state_dict(
        network,
        optimiser,
        model_state_dict=weights,
        optim_state_dict={"state": moments, "param_groups": [{"params": list(weights), **settings}]},
        options=_OPTIONS,
    )
    return step


def _read(path: Path) -> tuple[dict[str, Tensor], int, dict]:
    """Tensors, step and facts of a file."""
    tensors, metadata = read_tensors(path, partial(_damaged, path))

    def refuse(got: str) -> InputError:
        return _damaged(path, f"with {got} as what it says of its training")

    header = parse_json(metadata.get("training", "null"), refuse)
    check_fields(header, {"step": int, "facts": dict}, refuse)
    if not 0 <= header["step"] < 2**63:
        raise refuse(f"step {shown(header['step'])}")
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise _damaged(path, f"with NaN or infinity in {one_line(name, 120)}")
    return tensors, header["step"], header["facts"]


def _damaged(path: Path, wrong: str) -> InputError:
    """The error of a state that cannot be gone on from. wrong: a clause ("which is not a file")."""
    loras = saved_loras(path.parent)
    way = f"begin a new --out with --lora {loras[-1]}, the last LoRA there" if loras else "begin a new --out"
    rule = "must be as `everanimate train` writes it"
    return InputError("the state of a training", rule, way, f"{one_line(path)}, {wrong}")
