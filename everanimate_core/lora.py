"""LoRA files for Wan(-Animate): reading every common way of naming the layers, fitting, merging, saving.

A layer changes one linear weight, ``W += strength * scale * B @ A``, where ``scale = alpha / rank`` if the file tells
alpha and 1 if it does not. The files released with EverAnimate (arXiv 2605.15042) carry no alpha.

Layers go by their target, see lora_names; a file that touches anything else is refused, not half read.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .files import part_file
from .lora_names import LoraError, normalise_key, parse_layer, place, to_diffusers

# What can be written: prefix, name of A, name of B, and whether an alpha tensor belongs to the format.
_WRITTEN = {
    "released": ("", "lora_A.default.weight", "lora_B.default.weight", False),
    "comfyui": ("diffusion_model.", "lora_A.weight", "lora_B.weight", True),
    "kohya": ("lora_unet_", "lora_down.weight", "lora_up.weight", True),
    "diffusers": ("transformer.", "lora_A.weight", "lora_B.weight", False),
    "peft": ("base_model.model.", "lora_A.weight", "lora_B.weight", False),
}
FORMATS = tuple(_WRITTEN)

# PEFT settings, alpha among them: diffusers keeps them as JSON in the metadata, PEFT in a file beside the weights.
_SETTINGS = "lora_adapter_metadata"
_PEFT_WEIGHTS, _PEFT_SETTINGS = "adapter_model.safetensors", "adapter_config.json"

_PICKLE_SUFFIXES = {".pt", ".pth", ".ckpt", ".bin", ".pkl"}
_PICKLE_MAGIC = re.compile(rb"PK\x03\x04|\x80[\x00-\x05]")
_EXAMPLE = "blocks.0.self_attn.q.lora_A.default.weight"


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """One changed linear layer: ``A: [rank, in]``, ``B: [out, rank]``, ``scale`` = alpha / rank."""

    target: str
    A: Tensor
    B: Tensor
    scale: float = 1.0

    @property
    def rank(self) -> int:
        return self.A.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight that it changes: (out, in)."""
        return self.B.shape[0], self.A.shape[1]


@dataclass(frozen=True, eq=False)
class Lora:
    """A file's layers in block order, the format that named them, its text metadata, and whether it tells alpha."""

    layers: tuple[LoraLayer, ...]
    format: str = "released"
    metadata: Mapping[str, str] = field(default_factory=dict)
    has_alpha: bool = False


@dataclass(frozen=True)
class Coverage:
    """How a LoRA fits a model; ``wrong_shape`` holds lines "<target> expected [out, in] got [out, in]"."""

    matched: int
    total: int
    missing: list[str]
    wrong_shape: list[str]
    model_layers: int

    @property
    def complete(self) -> bool:
        return self.matched == self.total > 0


def _examples(names: Sequence[str]) -> str:
    return (", ".join(names[:3]) or "none") + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_lora(path: str | os.PathLike) -> Lora:
    """Reads a LoRA safetensors file in any of the known namings, in the file's own dtypes, on the CPU.

    Alpha comes from ``.alpha`` tensors; failing that from PEFT settings in the metadata (diffusers) or, for a file with
    PEFT's own name ``adapter_model.safetensors``, from the ``adapter_config.json`` beside it.
    Raises LoraError for a missing, damaged or pickled file, and for one that is not, wholly, a LoRA of Wan's blocks.
    """
    path = Path(path)
    rule = ("a LoRA is read from a .safetensors file", "stage2_480p.safetensors")
    if not path.is_file():
        raise LoraError(*rule, f"{path}, which is not a file")
    with path.open("rb") as file:
        head = file.read(9)
    # The length in front of a safetensors header can look like pickle's magic; byte 8 still opens the JSON then.
    if path.suffix.lower() in _PICKLE_SUFFIXES or (_PICKLE_MAGIC.match(head) and head[8:] != b"{"):
        raise LoraError("pickle files are not opened, as they can run code", "use the .safetensors file", path.name)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if path.name == _PEFT_WEIGHTS and path.with_name(_PEFT_SETTINGS).is_file():
                metadata = {**metadata, _SETTINGS: path.with_name(_PEFT_SETTINGS).read_text(encoding="utf-8")}
            # A tensor of safe_open is a view of the file: without a copy, writing the file anew would change the LoRA.
            return _build(file.keys(), lambda name: file.get_tensor(name).clone(), metadata)
    except SafetensorError as error:
        raise LoraError(*rule, f"{path.name}, which is not a complete safetensors file: {error}") from error


def lora_from_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Lora:
    """The same as read_lora for tensors in memory, e.g. those of a training run."""
    return _build(tensors, tensors.__getitem__, metadata or {})


def _build(names: Iterable[str], load: Callable[[str], Tensor], metadata: Mapping[str, str]) -> Lora:
    """All names are judged before the first tensor is loaded: a wrong file may weigh gigabytes."""
    parts, formats = _group(list(names))
    settings = _peft_alpha(metadata)
    layers = [_layer(target, {part: load(name) for part, name in parts[target].items()}, settings) for target in parts]
    layers.sort(key=lambda layer: place(layer.target))
    has_alpha = settings is not None or any("alpha" in found for found in parts.values())
    return Lora(tuple(layers), " + ".join(sorted(formats)), metadata, has_alpha)


def _group(names: list[str]) -> tuple[dict[str, dict[str, str]], set[str]]:
    """{target: {part: tensor name}} and the formats met; LoraError if a name is foreign, doubled or unpaired."""
    if not any(".lora_" in name for name in names):
        got = f"{len(names)} tensors and not one of a LoRA: {_examples(names)}"
        raise LoraError("a LoRA holds pairs of A and B", _EXAMPLE, got)
    parts, formats = {}, set()
    foreign = [name for name in names if normalise_key(name) is None]
    if foreign:
        got = f"{len(foreign)} of {len(names)} that do not: {_examples(foreign)}"
        raise LoraError("every tensor must belong to a linear layer of a Wan block", _EXAMPLE, got)
    for name in names:
        target, part, format = normalise_key(name)
        clash = parts.setdefault(target, {}).setdefault(part, name)
        if clash != name:
            raise LoraError("a layer has one A, one B, at most one alpha", _EXAMPLE, f"{clash} and {name}")
        if part == "A":
            formats.add(format)
    lonely = [name for found in parts.values() if not {"A", "B"} <= found.keys() for name in found.values()]
    if lonely:
        got = f"{len(lonely)} without the other: {_examples(lonely)}"
        raise LoraError("every layer needs both A and B", "lora_A and lora_B, or lora_down and lora_up", got)
    return parts, formats


def _peft_alpha(metadata: Mapping[str, str]) -> tuple[float, bool] | None:
    """(alpha, whether rank-stabilised) by the PEFT settings; None where there are none."""
    if _SETTINGS not in metadata:
        return None
    try:
        settings = {name.removeprefix("transformer."): value for name, value in json.loads(metadata[_SETTINGS]).items()}
    except json.JSONDecodeError as error:
        raise LoraError("PEFT settings are JSON", '{"lora_alpha": 32}', f"text that is not: {error}") from error
    if "lora_alpha" not in settings or settings.get("alpha_pattern"):
        got = f"lora_alpha {settings.get('lora_alpha')} and alpha_pattern {settings.get('alpha_pattern')}"
        raise LoraError("PEFT settings give all layers one alpha", '{"lora_alpha": 32}', got)
    return settings["lora_alpha"], bool(settings.get("use_rslora"))


def _layer(target: str, found: Mapping[str, Tensor], settings: tuple[float, bool] | None) -> LoraLayer:
    a, b, alpha = found["A"], found["B"], found.get("alpha")
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or a.shape[0] == 0:
        got = f"A {list(a.shape)} and B {list(b.shape)} at {target}"
        raise LoraError("A is [rank, in] and B is [out, rank], rank at least 1", "[32, 5120] and [5120, 32]", got)
    if alpha is not None and alpha.numel() != 1:
        raise LoraError("alpha is one number", "32", f"a tensor {list(alpha.shape)} at {target}")
    rank, rank_stabilised = a.shape[0], False
    if alpha is not None:
        alpha = alpha.item()
    else:
        alpha, rank_stabilised = settings or (rank, False)
    return LoraLayer(target, a, b, alpha / (rank**0.5 if rank_stabilised else rank))


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
        got += f"; {len(coverage.missing)} not in the model: {_examples(coverage.missing)}"
    if coverage.wrong_shape:
        got += f"; {len(coverage.wrong_shape)} of another shape: {_examples(coverage.wrong_shape)}"
    has = list(_by_target(weights)) or list(weights)
    got += f"; the model has {coverage.model_layers} such layers, its names are {_examples(has)}"
    raise LoraError("every layer of the LoRA must fit the model", "Wan2.2-Animate-14B: 40 blocks, width 5120", got)


def delta(layer: LoraLayer, strength: float = 1.0, device: torch.device | None = None) -> Tensor:
    """``strength * scale * B @ A``: float32 [out, in], on ``device`` or where it is; a negative strength subtracts."""
    a, b = (factor.to(device=device, dtype=torch.float32) for factor in (layer.A, layer.B))
    return strength * layer.scale * (b @ a)


@torch.no_grad()
def apply_lora(model: nn.Module | Mapping[str, Tensor], lora: Lora, strength: float = 1.0) -> Coverage:
    """Merges in place, ``W += strength * scale * B @ A``: summed in float32, then rounded to the weight's dtype.

    ``model`` is a module or a state dict with original, ComfyUI or diffusers names. If check_coverage raises, nothing
    has changed. Applied twice, it counts twice.
    """
    weights = dict(model.named_parameters()) if isinstance(model, nn.Module) else model
    coverage = check_coverage(lora, weights)
    by_target = _by_target(weights)
    for layer in lora.layers:
        weight = by_target[layer.target]
        weight.copy_(weight.float() + delta(layer, strength, weight.device))
    return coverage


def lora_state_dict(lora: Lora, format: str = "released", dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The tensors of the LoRA under the names of ``format``, one of FORMATS; A and B rounded to ``dtype``, if given.

    "comfyui" and "kohya" know alpha: A and B stay as they are, alpha = scale * rank (float32) stands beside them. The
    others do not: a scale other than 1 is multiplied into B in float32, so that nothing is rounded twice (an
    adapter_config.json to go with "peft" must therefore say lora_alpha = r).
    """
    if format not in _WRITTEN:
        raise LoraError("a LoRA is written in a known format", ", ".join(FORMATS), format)
    prefix, name_a, name_b, knows_alpha = _WRITTEN[format]
    tensors = {}
    for layer in lora.layers:
        name = to_diffusers(layer.target) if format == "diffusers" else layer.target
        name = prefix + (name.replace(".", "_") if format == "kohya" else name)
        folds = not knows_alpha and layer.scale != 1
        b = layer.B.float() * layer.scale if folds else layer.B
        tensors[f"{name}.{name_a}"] = layer.A.to(dtype or layer.A.dtype)
        tensors[f"{name}.{name_b}"] = b.to(dtype or b.dtype)
        if knows_alpha:
            tensors[f"{name}.alpha"] = torch.tensor(layer.scale * layer.rank, dtype=torch.float32)
    return tensors


def host_state_dict(lora: Lora) -> dict[str, Tensor]:
    """The tensors under names that ComfyUI's own loader matches; bare, PEFT and diffusers names it does not."""
    return lora_state_dict(lora, "comfyui")


def save_lora(path: str | os.PathLike, lora: Lora, format: str = "released", dtype: torch.dtype | None = None) -> None:
    """Writes the LoRA (see lora_state_dict) and its metadata; the file appears whole or not at all."""
    path = Path(path)
    tensors = {name: value.contiguous() for name, value in lora_state_dict(lora, format, dtype).items()}
    # PEFT settings in the metadata would scale a second time what is already in B or in the alpha tensors.
    metadata = {name: text for name, text in lora.metadata.items() if name != _SETTINGS}
    with part_file(path) as part:
        save_file(tensors, part, metadata={"format": "pt", **metadata})


def convert(
    source: str | os.PathLike,
    destination: str | os.PathLike,
    format: str = "released",
    dtype: torch.dtype | None = None,
) -> Lora:
    """Writes ``source``, whatever its naming, to ``destination`` (see lora_state_dict); returns what was read."""
    lora = read_lora(source)
    save_lora(destination, lora, format, dtype)
    return lora


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
