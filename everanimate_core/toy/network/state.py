"""The weights of the toy's transformer as files and hosts have them: original key names, without what is zero.

Text does not reach the picture: each block has one learned vector in the place of its answer to the text. It is stored
as `cross_attn.o.bias`, and with zeros for the other weights of the cross-attention that is exact for any text. The
files leave the zeros out; `complete` puts them back.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError, one_line, shown
from ...everanimate.geometry import ChunkGeometry
from ...everanimate.settings import Settings
from ...tensor_files import FLOATS, all_finite, read_tensors, write_tensors

FOLDER = Path(__file__).parent / "weights"
# The network that reads EverAnimate's memory, and the one that it comes from, trained in the way of Wan-Animate; both
# have seen even light alone.
MEMORY_WEIGHTS, BASELINE_WEIGHTS = FOLDER / "even_memory.safetensors", FOLDER / "even_baseline.safetensors"
# The method in full, in light that wanders: the memory, trained on with a perturbed motion memory and restoration.
FULL_WEIGHTS = FOLDER / "memory_motion_exact.safetensors"
# What `--model` calls the embedded toy, and the other networks: Wan-Animate's way, which drifts in light that wanders
# and is what LoRAs are trained on; EverAnimate's memory in such light, and the method in full.
TOY = "toy"
TOYS = {
    TOY: MEMORY_WEIGHTS,
    "toy-baseline": FOLDER / "baseline.safetensors",
    "toy-memory": FOLDER / "memory.safetensors",
    "toy-full": FULL_WEIGHTS,
    "toy-even-baseline": BASELINE_WEIGHTS,
}
# LoRAs of the drifting baseline, by `everanimate train`, each as long as the other: the memory alone, and the method in
# full.
MEMORY_LORA, FULL_LORA = FOLDER / "memory_lora.safetensors", FOLDER / "full_lora.safetensors"
# What the networks were trained for; all else as released. 4 steps are as good as 20 on the toy.
SETTINGS = Settings(steps=4, chunk_frames=33)
GEOMETRY = ChunkGeometry(frames=SETTINGS.chunk_frames)
# Behind the name of a matrix: what its rows are multiplied by.
_SCALE = ".scale"
DIM, HEADS, FFN, LAYERS, TEXT_DIM = 256, 2, 512, 5, 4096


def read_state(path: str | PathLike = MEMORY_WEIGHTS) -> dict[str, Tensor]:
    """All weights but those of CLIP and face, float32, under their original names.

    Raises ValueError for a file that is no such thing, and for weights that are no finite numbers.
    """
    return complete(read_packed(path, "the toy's transformer", "memory.safetensors"))


def read_packed(path: str | PathLike, what: str, example: str) -> dict[str, Tensor]:
    """The weights that `write_packed` wrote, float32; InputError for a file of something else than `what`."""

    def refuse(wrong: str) -> InputError:
        rule = f"must be a .safetensors file of {what}"
        return InputError("the toy's weights", rule, example, f"{one_line(path)}, {wrong}")

    stored, _ = read_tensors(path, refuse)
    state = {}
    for name, value in stored.items():
        scale = stored.get(f"{name}{_SCALE}")
        if value.dtype == torch.int8 and scale is not None and scale.shape == value.shape[:1]:
            value = value * scale.float().view(-1, *[1] * (value.ndim - 1))
        if value.dtype not in FLOATS or not all_finite(value):
            raise refuse(f"where {shown(name)} holds no finite numbers")
        if not name.endswith(_SCALE):
            state[name] = value.float()
    return state


def write_packed(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write weights by name: matrices in 8 bits with a scale for each row, half the size of half precision, the rest in
    that."""
    stored = {}
    for name, value in state.items():
        if value.ndim < 2:
            stored[name] = value.half()
            continue
        scale = value.flatten(1).abs().amax(dim=1).clamp(min=1e-12) / 127
        stored[name] = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8)
        stored[f"{name}{_SCALE}"] = scale
    write_tensors(path, stored)


def complete(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under their original names, with the zeros that make the text path whole."""
    whole = {
        "text_embedding.0.weight": torch.zeros(DIM, TEXT_DIM),
        "text_embedding.0.bias": torch.zeros(DIM),
        "text_embedding.2.weight": torch.zeros(DIM, DIM),
        "text_embedding.2.bias": torch.zeros(DIM),
    }
    for block in range(LAYERS):
        for name in "qkvo":
            whole[f"blocks.{block}.cross_attn.{name}.weight"] = torch.zeros(DIM, DIM)
            whole[f"blocks.{block}.cross_attn.{name}.bias"] = torch.zeros(DIM)
        for name in ("cross_attn.norm_q.weight", "cross_attn.norm_k.weight", "norm3.weight", "norm3.bias"):
            whole[f"blocks.{block}.{name}"] = torch.zeros(DIM)
    return whole | state
