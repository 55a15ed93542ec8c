"""What version 0.1.0 knew a run by, kept as it was: run folders that it began are compared with this.

It looked at fewer things than `fingerprint.py` does. A run that it began goes on as it would have gone on with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..everanimate_core.digests import digest, weights_digest

# The format that the manifests of 0.1.0 name.
FORMAT = "everanimate-run-1"


def earlier(
    model, sampler, sigmas: Tensor, cfg: float, negative, clip_vision, tiled: bool, prompts: Sequence
) -> dict[str, tuple[Mapping[str, Any], Sequence[str]]]:
    """{FORMAT: (settings, digest of each prompt)} for Job.earlier; empty where 0.1.0 could not make a run at all."""
    try:
        settings = run_settings(model, sampler, sigmas, cfg, negative, clip_vision) | {"tiled": tiled}
        return {FORMAT: (settings, [conditioning_digest(prompt) for prompt in prompts])}
    except (NotImplementedError, AttributeError):
        # GGUF files, whose state dicts hold no values, and samplers without a name: it stopped before its first chunk.
        return {}


def network_digest(model) -> str:
    """Biases, norms and modulation, and the types of all weights."""
    weights = model.model_state_dict()
    untouched = [(name, weight) for name, weight in weights.items() if weight.ndim == 1 or "modulation" in name]
    return digest(weights_digest(untouched), {name: str(weight.dtype) for name, weight in weights.items()})


def patches_digest(model) -> str:
    """The tensors of the LoRAs on a MODEL, and their strengths."""
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
    """Text embeddings and the plain values that go with them."""
    parts = []
    for embeddings, options in conditioning:
        parts.append(embeddings)
        for name in sorted(options):
            value = options[name]
            if isinstance(value, (Tensor, str, int, float, bool)):
                parts += [name, value]
    return digest(*parts)


def sampler_digest(sampler) -> str:
    """The name of a SAMPLER's function and its plain options."""
    function = getattr(sampler, "sampler_function", type(sampler))
    options = getattr(sampler, "extra_options", {})
    plain = {name: value for name, value in options.items() if isinstance(value, (str, int, float, bool))}
    return digest(function.__name__, plain)


def run_settings(model, sampler, sigmas: Tensor, cfg: float, negative, clip_vision) -> dict:
    """What a run was continued with or not at all, as JSON values."""
    return {
        "network": network_digest(model),
        "lora": patches_digest(model),
        "sampler": sampler_digest(sampler),
        "sigmas": [round(float(sigma), 6) for sigma in sigmas.to(torch.float32)],
        "cfg": cfg,
        "negative": conditioning_digest(negative) if cfg != 1 else None,
        "clip_vision": clip_vision is not None,
    }
