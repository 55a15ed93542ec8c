"""The names of LoRA layers and tensors: every common way of writing them, understood as one.

A layer goes by its name in the original Wan code, its *target*: ``blocks.7.self_attn.q``. Only the linear layers of the
transformer blocks are known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import InputError, one_line

# Linear layers of a block: name in the original code -> name in diffusers.
_DIFFUSERS = {
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}
_SUFFIXES = {name: own for own, other in _DIFFUSERS.items() for name in (own, other)}
_FLAT_SUFFIXES = {name.replace(".", "_"): name for name in _SUFFIXES}

_PREFIXES = {
    "": "bare",
    "pipe.dit.": "pipe.dit",
    "transformer.": "transformer",
    "base_model.model.": "peft",
    "diffusion_model.": "comfyui",
}
_LAYER = re.compile(f"({'|'.join(map(re.escape, _PREFIXES))})blocks\\.([0-9]{{1,4}})\\.(.+)")
_KOHYA_LAYER = re.compile(r"lora_unet_blocks_([0-9]{1,4})_(.+)")
_PART = re.compile(r"(.+)\.(?:lora_(A|B|down|up)(\.default)?\.weight|alpha)")

# Tensors of files that our loader cannot follow: what they are, and who can. ComfyUI's own loader adds to ours.
_HOSTS_LOADER = "load it with ComfyUI's own LoRA loader (LoraLoaderModelOnly) beside ours"
_OTHER_KINDS = (
    (r"lora_magnitude_vector", "a DoRA of PEFT: merge it into the model (merge_and_unload), no loader reads it here"),
    (r"\.dora_scale$", f"a DoRA: {_HOSTS_LOADER}, or merge it into the model"),
    (r"\.(hada_w|lokr_w|oft_|glora_|[ab][12]\.weight$)", f"a LyCORIS file: {_HOSTS_LOADER}"),
    (
        r"\.diff(_b)?$|(text|time|patch)_embedding|time_projection|img_emb|head[._]head|[._]norm",
        f"a LoRA that changes more than these layers, as those for distillation (few steps) do: {_HOSTS_LOADER}",
    ),
)


class LoraError(InputError):
    """A LoRA file, or its fit to a model, is not what it has to be."""

    def __init__(self, rule: str, example: str, got: str):
        super().__init__("", *map(one_line, (rule, example, got)))

    def __reduce__(self) -> tuple:
        return LoraError, (self.rule, self.example, self.got)


class Key(NamedTuple):
    """A tensor's name understood; ``part`` is "A", "B" or "alpha"."""

    target: str
    part: str
    format: str


def parse_layer(name: str) -> tuple[str, str] | None:
    """(target, format) of a layer's name; None if it is no linear layer of a Wan block."""
    if flat := _KOHYA_LAYER.fullmatch(name):
        block, suffix, format = flat[1], _FLAT_SUFFIXES.get(flat[2]), "kohya"
    elif dotted := _LAYER.fullmatch(name):
        block, suffix, format = dotted[2], dotted[3], _PREFIXES[dotted[1]]
        if suffix not in _DIFFUSERS:
            format = "diffusers" if format in ("bare", "transformer") else f"{format}, diffusers names"
    else:
        return None
    return (f"blocks.{int(block)}.{_SUFFIXES[suffix]}", format) if suffix in _SUFFIXES else None


def to_original(name: str) -> str:
    """``blocks.3.attn1.to_out.0`` -> ``blocks.3.self_attn.o``; LoraError if it is no linear layer of a Wan block."""
    layer = parse_layer(name)
    if layer is None:
        raise LoraError("a layer is a linear layer of a Wan block", "blocks.0.attn1.to_q or blocks.0.self_attn.q", name)
    return layer[0]


def to_diffusers(target: str) -> str:
    """``blocks.3.self_attn.o`` -> ``blocks.3.attn1.to_out.0``, the module in diffusers; errors as in to_original."""
    _, block, suffix = to_original(target).split(".", 2)
    return f"blocks.{block}.{_DIFFUSERS[suffix]}"


def normalise_key(key: str) -> Key | None:
    """Understands one tensor name of a LoRA file; None if it is no part of a LoRA on a linear layer of a Wan block.

    Formats: "released", "bare", "pipe.dit", "transformer", "peft", "comfyui" (original names under these prefixes),
    "diffusers", "peft, diffusers names" and alike, each with " down/up" if so named, and "kohya". An alpha says less.
    """
    part = _PART.fullmatch(key)
    if part is None or (layer := parse_layer(part[1])) is None:
        return None
    target, format = layer
    if format == "bare" and part[3]:
        format = "released"
    if part[2] in ("down", "up") and format != "kohya":
        format += " down/up"
    return Key(target, {None: "alpha", "down": "A", "up": "B"}.get(part[2], part[2]), format)


def other_kind(keys: Iterable[str]) -> str | None:
    """What a file is in which these tensors stand, and how it can be used, where that is known of tensors like them."""
    keys = list(keys)
    return next((what for pattern, what in _OTHER_KINDS if any(re.search(pattern, key) for key in keys)), None)


def place(target: str) -> tuple[int, int]:
    """Sorts targets: by block, then as the layers stand in it."""
    _, block, suffix = target.split(".", 2)
    return int(block), list(_DIFFUSERS).index(suffix)


def examples(names: Sequence[str]) -> str:
    """The first of these names, for a message."""
    found = ", ".join(one_line(name, 120) for name in names[:3]) or "none"
    return found + (f" and {len(names) - 3} more" if len(names) > 3 else "")
