"""A frozen base in 8 bits a weight, by torchao: half the memory of bfloat16. The LoRA stays float32."""

import re

from torch import nn

from ..errors import InputError

KINDS = ("none", "int8", "fp8")
# The layers that hold nearly all weights, also once PEFT has put a LoRA around them.
_LAYERS = re.compile(r"(?:blocks|face_adapter)\.\d+\..*?(?:\.base_layer)?")


def quantised_layers(transformer: nn.Module) -> list[str]:
    """The linear layers of blocks and face adapters, LoRAs left out: those whose weights become 8 bits."""
    return [name for name, layer in transformer.named_modules() if _is_base(layer, name)]


def quantise(transformer: nn.Module, kind: str) -> None:
    """Store the weights of `quantised_layers` in 8 bits, with a scale for each of a layer's outputs.

    kind: `int8`, or `fp8` (e4m3). What the layers compute with is multiplied out to the type that they had. Raises
    InputError without torchao.
    """
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        way = "pip install 'everanimate[quantised]'"
        raise InputError("quantised", "other than none needs torchao", way, f"{kind} without it ({error})") from error
    config = Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
    quantize_(transformer, config, filter_fn=lambda layer, name: _is_base(layer, name) and _has_scales(layer))


def _is_base(layer: nn.Module, name: str) -> bool:
    return isinstance(layer, nn.Linear) and bool(_LAYERS.fullmatch(name)) and ".lora_" not in name


def _has_scales(layer: nn.Module) -> bool:
    """Whether every output has a weight to take its scale from: torchao's fp8 makes NaN of rows of zeros."""
    return bool(layer.weight.abs().amax(dim=1).all())
