"""LoRA files for Wan(-Animate): reading every common way of naming the layers, fitting, merging, saving.

A layer changes one linear weight, ``W += strength * scale * B @ A``, where ``scale = alpha / rank`` if the file tells
alpha and 1 if it does not. The files released with EverAnimate (arXiv 2605.15042) carry no alpha.

Layers go by their target, see names.py; a file that touches anything else is refused, not half read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import shown
from ..json_files import check_fields, is_kind, parse_json, read_text
from ..tensor_files import FLOATS, all_finite, open_tensors, write_tensors
from .names import LoraError, examples, normalise_key, other_kind, place, to_diffusers

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

# A file of whole weights is no LoRA at all, and needs no word on which kind.
_LORA_LIKE = re.compile(r"\.lora_|\.diff(_b)?$|\.(hada_w|lokr_w|oft_|glora_)")
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_LARGEST = torch.finfo(torch.float32).max
_FINITE = ("weights, alpha and what they add up to are finite numbers", "0.01")
_EXAMPLE = "blocks.0.self_attn.q.lora_A.default.weight"


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """One changed linear layer: ``A: [rank, in]``, ``B: [out, rank]``, ``scale`` = alpha / rank.

    LoraError for weights or a scale that are not finite, or so large that what they change could not be.
    """

    target: str
    A: Tensor
    B: Tensor
    scale: float = 1.0

    def __post_init__(self):
        for name, factor in (("A", self.A), ("B", self.B)):
            if factor.dtype not in FLOATS:
                got = f"{str(factor.dtype).removeprefix('torch.')} in {name} of {self.target}"
                raise LoraError("A and B hold floating-point numbers", "bfloat16", got)
            if not all_finite(factor):
                raise LoraError(*_FINITE, f"NaN or infinity in {name} of {self.target}")
        largest = abs(self.scale) * self.rank
        for factor in (self.A, self.B):
            largest *= float(factor.detach().float().abs().max())
        if not largest <= _LARGEST:
            raise LoraError(*_FINITE, f"A and B up to {largest:.0e} together, scale {self.scale:g}, at {self.target}")

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


def read_lora(path: str | os.PathLike) -> Lora:
    """Reads a LoRA safetensors file in any of the known namings, in the file's own dtypes, on the CPU.

    Alpha comes from ``.alpha`` tensors; failing that from PEFT settings in the metadata (diffusers) or, for a file with
    PEFT's own name ``adapter_model.safetensors``, from the ``adapter_config.json`` beside it.
    Raises LoraError for a missing, damaged or pickled file, and for one that is not, wholly, a LoRA of Wan's blocks.
    """
    path = Path(path)
    name = path.name if os.path.isfile(path) else path

    def refuse(wrong: str) -> LoraError:
        rule = "a LoRA is read from a .safetensors file"
        return LoraError(rule, "stage2_480p.safetensors", f"{name}, {wrong}")

    with open_tensors(path, refuse) as file:
        metadata = dict(file.metadata)
        if path.name == _PEFT_WEIGHTS and path.with_name(_PEFT_SETTINGS).is_file():
            metadata[_SETTINGS] = read_text(path.with_name(_PEFT_SETTINGS), _refuse_settings)
        # A tensor of the file is a view of it: without a copy, writing the file anew would change the LoRA.
        return _build(file.names, lambda name: file.read(name).clone(), metadata)


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
    known = {name: key for name in names if (key := normalise_key(name)) is not None}
    foreign = [name for name in names if name not in known]
    kind = other_kind(foreign)
    way_out = f"; this is {kind}" if kind and any(_LORA_LIKE.search(name) for name in names) else ""
    if not any(".lora_" in name for name in names):
        got = f"{len(names)} tensors and not one of a LoRA: {examples(names)}{way_out}"
        raise LoraError("a LoRA holds pairs of A and B", _EXAMPLE, got)
    parts: dict[str, dict[str, str]] = {}
    formats: set[str] = set()
    if foreign:
        got = f"{len(foreign)} of {len(names)} that do not: {examples(foreign)}{way_out}"
        raise LoraError("every tensor must belong to a linear layer of a Wan block", _EXAMPLE, got)
    for name, (target, part, format) in known.items():
        clash = parts.setdefault(target, {}).setdefault(part, name)
        if clash != name:
            raise LoraError("a layer has one A, one B, at most one alpha", _EXAMPLE, f"{clash} and {name}")
        if part == "A":
            formats.add(format)
    lonely = [name for found in parts.values() if not {"A", "B"} <= found.keys() for name in found.values()]
    if lonely:
        got = f"{len(lonely)} without the other: {examples(lonely)}"
        raise LoraError("every layer needs both A and B", "lora_A and lora_B, or lora_down and lora_up", got)
    return parts, formats


def _refuse_settings(got: str) -> LoraError:
    return LoraError("PEFT settings are JSON with one alpha for all layers", '{"lora_alpha": 32}', got)


def _peft_alpha(metadata: Mapping[str, str]) -> tuple[float, bool] | None:
    """(alpha, whether rank-stabilised) by the PEFT settings; None where there are none."""
    if _SETTINGS not in metadata:
        return None
    found = check_fields(parse_json(metadata[_SETTINGS], _refuse_settings), {}, _refuse_settings, others=True)
    settings = {name.removeprefix("transformer."): value for name, value in found.items()}
    alpha: Any = settings.get("lora_alpha")
    stabilised = settings.get("use_rslora")
    if not is_kind(alpha, float) or settings.get("alpha_pattern"):
        raise _refuse_settings(f"lora_alpha {shown(alpha)} and alpha_pattern {shown(settings.get('alpha_pattern'))}")
    if not is_kind(stabilised, bool, type(None)):
        raise _refuse_settings(f"use_rslora {shown(stabilised)}, which is not true or false")
    return alpha, bool(stabilised)


def _layer(target: str, found: Mapping[str, Tensor], settings: tuple[float, bool] | None) -> LoraLayer:
    a, b, own = found["A"], found["B"], found.get("alpha")
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or 0 in (*a.shape, *b.shape):
        got = f"A {shown(list(a.shape))} and B {shown(list(b.shape))} at {target}"
        raise LoraError("A is [rank, in] and B is [out, rank], rank at least 1", "[32, 5120] and [5120, 32]", got)
    rank = a.shape[0]
    alpha, rank_stabilised = (settings or (rank, False)) if own is None else (_alpha(own, target), False)
    return LoraLayer(target, a, b, alpha / (rank**0.5 if rank_stabilised else rank))


def _alpha(alpha: Tensor, target: str) -> float:
    if alpha.numel() != 1 or alpha.dtype not in (*FLOATS, *_WHOLE):
        got = f"a tensor {shown(list(alpha.shape))} at {target}, of {str(alpha.dtype).removeprefix('torch.')}"
        raise LoraError("alpha is one number", "32", got)
    if not isfinite(alpha.item()):
        raise LoraError(*_FINITE, f"alpha {alpha.item()} at {target}")
    return alpha.item()


def lora_state_dict(lora: Lora, format: str = "released", dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The tensors of the LoRA under the names of ``format``, one of FORMATS; A and B rounded to ``dtype``, if given.

    "comfyui" and "kohya" know alpha: A and B stay as they are, alpha = scale * rank (float32) stands beside them. The
    others do not: a scale other than 1 is multiplied into B in float32, so that nothing is rounded twice (an
    adapter_config.json to go with "peft" must therefore say lora_alpha = r).
    """
    if format not in _WRITTEN:
        raise LoraError("a LoRA is written in a known format", ", ".join(FORMATS), format)
    prefix, name_a, name_b, knows_alpha = _WRITTEN[format]
    tensors: dict[str, Tensor] = {}
    for layer in lora.layers:
        name = to_diffusers(layer.target) if format == "diffusers" else layer.target
        name = prefix + (name.replace(".", "_") if format == "kohya" else name)
        folds = not knows_alpha and layer.scale != 1
        b = layer.B.float() * layer.scale if folds else layer.B
        factors = {name_a: layer.A.to(dtype or layer.A.dtype), name_b: b.to(dtype or b.dtype)}
        if not all(all_finite(factor) for factor in factors.values()):
            got = f"{layer.target}, which does not fit into {str(dtype or b.dtype).removeprefix('torch.')}"
            raise LoraError("written weights are finite numbers", "--dtype bfloat16 holds what float16 does not", got)
        tensors |= {f"{name}.{part}": factor for part, factor in factors.items()}
        if knows_alpha:
            tensors[f"{name}.alpha"] = torch.tensor(layer.scale * layer.rank, dtype=torch.float32)
    return tensors


def host_state_dict(lora: Lora) -> dict[str, Tensor]:
    """The tensors under names that ComfyUI's own loader matches; bare, PEFT and diffusers names it does not."""
    return lora_state_dict(lora, "comfyui")


def save_lora(path: str | os.PathLike, lora: Lora, format: str = "released", dtype: torch.dtype | None = None) -> None:
    """Writes the LoRA (see lora_state_dict) and its metadata; the file appears whole or not at all."""
    # PEFT settings in the metadata would scale a second time what is already in B or in the alpha tensors.
    metadata = {name: text for name, text in lora.metadata.items() if name != _SETTINGS}
    write_tensors(path, lora_state_dict(lora, format, dtype), {"format": "pt", **metadata})


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
