"""Digests of the host's objects: is a run continued with the network, LoRAs, sampler and prompts of its start?

And of what a run has left on disk, by which the host decides whether its node has anything to do.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import comfy.controlnet
import comfy.hooks
import comfy.model_patcher
import folder_paths
import torch
from comfy.weight_adapter import WeightAdapterBase
from torch import Tensor

from ..everanimate_core.digests import weights_digest
from ..everanimate_core.errors import InputError
from ..everanimate_core.runs.content import InPart, content_digest
from ..everanimate_core.runs.names import run_folder
from ..everanimate_core.runs.videos import left_behind

# What ControlNets keep of the sampling that is going on, or was ended in the middle.
_WHILE_SAMPLING = {"cond_hint", "extra_concat", "timestep_range", "model_sampling_current", "multigpu_clones"}
# What hooks keep of it, and names that the host gives them anew at every start.
_HOOK_STATE = {"hook_ref", "hook_keyframe", "_skip_adding"}


def network_digest(model) -> str:
    """Stands for the checkpoint behind a MODEL, whatever LoRAs are on it or were left in memory by another graph.

    Looks at a few values of every weight. Raises ValueError for weights that are not in memory.
    """
    return weights_digest(original_weights(model))


def original_weights(model) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a MODEL's checkpoint by name, as they were before any LoRA and without reading their values.

    The host writes LoRAs into the weights and leaves them there until another graph needs others; what was there
    before it keeps, for all that share the network.
    """
    network, parameters = model.model, dict(model.model.named_parameters(remove_duplicate=False))
    backed_up = {name: weight for name, (weight, *_) in (model.hook_backup | model.backup).items()}
    originals = dict(_pieces(backed_up))
    for name, weight in model.model_state_dict().items():
        weight = originals.get(name, weight)
        if weight.is_meta:
            # GGUF layers fill their state dict with empty tensors, some of parameters that are not there, to say how
            # much memory they need. The packed values are in the parameters.
            if name not in parameters:
                continue
            weight = parameters[name].detach().as_subclass(Tensor)
        if weight.is_meta:
            raise InputError(
                "model", "must have its weights in memory", "as loader nodes give it", f"{name} without values"
            )
        yield name, _as_used(network, name, weight)


def _pieces(weights: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Quantised weights as the tensors that a state dict has of them, all others as they are."""
    for name, weight in weights.items():
        if hasattr(weight, "state_dict"):
            yield from weight.state_dict(name).items()
        else:
            yield name, weight


def _as_used(network: torch.nn.Module, name: str, weight: Tensor) -> Tensor:
    """A weight that lies beside whole modules (small ones, such as modulation) in the type it is used in.

    Hosts that load on demand turn just these into it for good when they first need them.
    """
    path, _, own = name.rpartition(".")
    module = network.get_submodule(path)
    used = getattr(module, f"{own}_comfy_model_dtype", None)
    return weight if used is None or not any(module.children()) else weight.to(used)


def patches_digest(model) -> str:
    """Stands for the LoRAs on a MODEL and their strengths: a few values of each of their tensors."""
    return content_digest(InPart(dict(model.patches)), "model", known)


def conditioning_digest(conditioning, name: str) -> str:
    """Stands for a CONDITIONING, the input `name`: its text embeddings and all that goes with them."""
    return content_digest(conditioning, name, known)


def sampler_digest(sampler) -> str:
    """Stands for a SAMPLER: its function and options."""
    return content_digest(sampler, "sampler", known)


def model_digest(model, name: str) -> str:
    """Stands for a MODEL or a VAE, the input `name`: its weights, and what is patched into them."""
    return content_digest(model, name, known)


def clip_vision_digest(clip_vision) -> str:
    """Stands for a CLIP_VISION: its weights."""
    return content_digest(clip_vision, "clip_vision", known)


def known(value: Any) -> Any:
    """For content_digest: what stands for an object of the host; all else as it is."""
    if isinstance(value, comfy.model_patcher.ModelPatcher):
        return ["model", network_digest(value), patches_digest(value)]
    patcher = getattr(value, "patcher", None)
    if isinstance(patcher, comfy.model_patcher.ModelPatcher):
        # A VAE, a CLIP or a CLIP_VISION.
        return patcher
    if isinstance(value, WeightAdapterBase):
        return [type(value).__qualname__, value.weights]
    if isinstance(value, comfy.controlnet.ControlBase):
        return [type(value).__qualname__, _without(value, _WHILE_SAMPLING)]
    if isinstance(value, comfy.hooks.HookGroup):
        return value.hooks
    if isinstance(value, comfy.hooks.Hook):
        # Their weights are whole LoRAs.
        return InPart([type(value).__qualname__, _without(value, _HOOK_STATE), value.hook_keyframe.keyframes])
    if isinstance(value, comfy.hooks.HookKeyframe):
        return [value.strength, value.start_percent, value.guarantee_steps]
    return value


def _without(value: Any, names: set[str]) -> dict[str, Any]:
    return {name: part for name, part in vars(value).items() if name not in names}


def run_settings(model, sampler, sigmas: Tensor, cfg: float, negative, clip_vision) -> dict:
    """What a run is continued with or not at all, as JSON values."""
    return {
        "network": network_digest(model),
        "lora": patches_digest(model),
        "sampler": sampler_digest(sampler),
        "sigmas": [round(float(sigma), 6) for sigma in sigmas.to(torch.float32)],
        "cfg": cfg,
        "negative": conditioning_digest(negative, "negative") if cfg != 1 else None,
        "clip_vision": None if clip_vision is None else clip_vision_digest(clip_vision),
    }


def disk_digest(run_name: str | None) -> str:
    """Stands for the takes and videos of a run; empty for a name that comes from a link, or that the node refuses."""
    if run_name is not None:
        with suppress(InputError):
            return left_behind(run_folder(folder_paths.get_output_directory(), run_name))
    return ""
