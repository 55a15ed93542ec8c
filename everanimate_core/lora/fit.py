"""How a LoRA fits a model, and merging it in: ``W += strength * scale * B @ A`` at every layer, or an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from .files import Lora, LoraLayer
from .names import LoraError, examples, parse_layer, place


@dataclass(frozen=True)
class Coverage:
    """How a LoRA fits a model: ``matched`` of its ``total`` layers do, of the model's ``model_layers``.

    ``missing`` holds the targets that the model has not, ``wrong_shape`` a line of each that is of another shape there.
    """

    matched: int
    total: int
    missing: list[str]
    wrong_shape: list[str]
    model_layers: int

    @property
    def complete(self) -> bool:
        return self.matched == self.total > 0


def _by_target(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a model's state dict that are weights of block layers, under their targets."""
    layers = {name: parse_layer(name[: -len(".weight")]) for name in weights if name.endswith(".weight")}
    return {layer[0]: weights[name] for name, layer in layers.items() if layer}


def measure_coverage(lora: Lora, weights: Mapping[str, Tensor | Sequence[int]]) -> Coverage:
    """Compares with a model's weights: {name: tensor or shape}, under original, ComfyUI or diffusers names."""
    shapes = {target: tuple(getattr(value, "shape", value)) for target, value in _by_target(weights).items()}
    missing = [layer.target for layer in lora.layers if layer.target not in shapes]
    unequal = [layer for layer in lora.layers if shapes.get(layer.target, layer.shape) != layer.shape]
    wrong_shape = [f"{own.target} expected {list(shapes[own.target])} got {list(own.shape)}" for own in unequal]
    matched = len(lora.layers) - len(missing) - len(wrong_shape)
    return Coverage(matched, len(lora.layers), missing, wrong_shape, len(shapes))


def check_coverage(lora: Lora, weights: Mapping[str, Tensor | Sequence[int]]) -> Coverage:
    """measure_coverage, and LoraError unless every layer of the LoRA fits: a partial fit is a LoRA of another model."""
    coverage = measure_coverage(lora, weights)
    if coverage.complete:
        return coverage
    got = f"a LoRA of another model, {coverage.matched} of {coverage.total} layers fit"
    if coverage.missing:
        got += f"; {len(coverage.missing)} not in the model: {examples(coverage.missing)}"
    if coverage.wrong_shape:
        got += f"; {len(coverage.wrong_shape)} of another shape: {examples(coverage.wrong_shape)}"
    has = list(_by_target(weights)) or list(weights)
    got += f"; the model has {coverage.model_layers} such layers, its names are {examples(has)}"
    raise LoraError("every layer of the LoRA must fit the model", "Wan2.2-Animate-14B: 40 blocks, width 5120", got)


def delta(layer: LoraLayer, strength: float = 1.0, device: torch.device | None = None) -> Tensor:
    """``strength * scale * B @ A``: float32 [out, in], on ``device`` or where it is; a negative strength subtracts."""
    a, b = (factor.to(device=device, dtype=torch.float32) for factor in (layer.A, layer.B))
    return strength * layer.scale * (b @ a)


def check_strength(strength: float) -> None:
    """LoraError unless the strength of a LoRA is a finite number."""
    if not isfinite(strength):
        raise LoraError("strength is a finite number", "1.0", str(strength))


@torch.no_grad()
def apply_lora(model: nn.Module | Mapping[str, Tensor], lora: Lora, strength: float = 1.0) -> Coverage:
    """Merges in place, ``W += strength * scale * B @ A``: summed in float32, then rounded to the weight's dtype.

    ``model`` is a module or a state dict with original, ComfyUI or diffusers names. If check_coverage or
    check_strength raises, nothing has changed. Applied twice, it counts twice.
    """
    check_strength(strength)
    weights = dict(model.named_parameters()) if isinstance(model, nn.Module) else model
    coverage = check_coverage(lora, weights)
    by_target = _by_target(weights)
    for layer in lora.layers:
        weight = by_target[layer.target]
        weight.copy_(weight.float() + delta(layer, strength, weight.device))
    return coverage


def describe(lora: Lora, weights: Mapping[str, Tensor | Sequence[int]] | None = None) -> dict[str, Any]:
    """What is in the LoRA, in JSON types; given a model's weights (see measure_coverage), also how it fits them."""
    blocks = sorted({place(layer.target)[0] for layer in lora.layers})
    report = {
        "format": lora.format,
        "layers": len(lora.layers),
        "ranks": dict(Counter(str(layer.rank) for layer in lora.layers)),
        "alpha": lora.has_alpha,
        "scales": sorted({layer.scale for layer in lora.layers}),
        "blocks": {"first": blocks[0], "last": blocks[-1], "count": len(blocks)},
        "targets": dict(Counter(layer.target.split(".", 2)[2] for layer in lora.layers)),
        "dtypes": sorted({str(part.dtype).removeprefix("torch.") for own in lora.layers for part in (own.A, own.B)}),
        "parameters": sum(layer.A.numel() + layer.B.numel() for layer in lora.layers),
        "metadata": dict(lora.metadata),
    }
    if weights is not None:
        coverage = measure_coverage(lora, weights)
        report["coverage"] = {"complete": coverage.complete, **asdict(coverage)}
    return report
