"""Digests of the host's objects: is a run continued with the network, LoRAs, sampler and prompts of its start?"""

import torch
from torch import Tensor

from ..everanimate_core.fingerprint import digest, weights_digest


def network_digest(model) -> str:
    """Stands for the checkpoint behind a MODEL, whatever LoRAs are on it or were left in memory by another graph.

    Looks at biases, norms and modulation, which LoRAs leave alone, and at the names, types and shapes of all weights.
    """
    weights = model.model_state_dict()
    untouched = [(name, weight) for name, weight in weights.items() if weight.ndim == 1 or "modulation" in name]
    return digest(weights_digest(untouched), {name: str(weight.dtype) for name, weight in weights.items()})


def patches_digest(model) -> str:
    """Stands for the LoRAs on a MODEL and their strengths."""
    parts = []
    for name in sorted(model.patches):
        for strength, patch, strength_model, *_ in model.patches[name]:
            tensors = [part for part in _flat(getattr(patch, "weights", patch)) if isinstance(part, Tensor)]
            parts += [name, strength, strength_model, weights_digest((str(i), part) for i, part in enumerate(tensors))]
    return digest(*parts)


def _flat(values):
    if isinstance(values, (tuple, list)):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def conditioning_digest(conditioning) -> str:
    """Stands for a CONDITIONING: its text embeddings and the plain values that go with them."""
    parts = []
    for embeddings, options in conditioning:
        parts.append(embeddings)
        for name in sorted(options):
            value = options[name]
            if isinstance(value, (Tensor, str, int, float, bool)):
                parts += [name, value]
    return digest(*parts)


def sampler_digest(sampler) -> str:
    """Stands for a SAMPLER: its function and options."""
    function = getattr(sampler, "sampler_function", type(sampler))
    options = getattr(sampler, "extra_options", {})
    plain = {name: value for name, value in options.items() if isinstance(value, (str, int, float, bool))}
    return digest(function.__name__, plain)


def run_settings(model, sampler, sigmas: Tensor, cfg: float, negative, clip_vision) -> dict:
    """What a run is continued with or not at all, as JSON values."""
    return {
        "network": network_digest(model),
        "lora": patches_digest(model),
        "sampler": sampler_digest(sampler),
        "sigmas": [round(float(sigma), 6) for sigma in sigmas.to(torch.float32)],
        "cfg": cfg,
        "negative": conditioning_digest(negative) if cfg != 1 else None,
        "clip_vision": clip_vision is not None,
    }
