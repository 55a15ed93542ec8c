"""How the memory of the video corrects what SketchDiT says: the Dynamic Global-Local Memory of arXiv 2507.01945.

A video model has looked at all frames made so far (global) and at the last of them (local), and three of its layers
have kept keys and values. The tokens of the control look up in them, layer by layer, how things were coloured; what
they find is added to the control.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ..errors import InputError

DGLM = "DGLM"
# As many as layers of the video model are kept.
LAYERS = 3
# Every head is as wide in the released network. The shapes of the weights do not say it.
HEAD_DIM = 96

# Keys and values [1, heads, N, HEAD_DIM] for each layer.
Projected = tuple[tuple[Tensor, Tensor], ...]
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DglmSizes:
    """Sizes of a DGLM, read from the shapes of its weights.

    width: of the control. kv: of the memory. narrow, wide: between the two. inner: of all heads together.
    """

    width: int
    kv: int
    narrow: int
    wide: int
    inner: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight by its published name."""
        width, inner = self.width, self.inner
        found: dict[str, tuple[int, ...]] = {"proj_out": (width, width)}

        def pair(name: str, *shape: int) -> None:
            found.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

        for layer in range(LAYERS):
            for mapping in (f"key_mapping_{layer}", f"value_mapping_{layer}"):
                pair(f"{mapping}.0", self.narrow, self.kv)
                pair(f"{mapping}.1", self.narrow)
                pair(f"{mapping}.3", self.wide, self.narrow)
                pair(f"{mapping}.4", self.wide)
                pair(f"{mapping}.6", width, self.wide)
            for norm in ("0.norm1", "0.norm2", "1.0"):
                pair(f"layers.{layer}.{norm}", width)
            for part in ("to_q", "to_k", "to_v"):
                found[f"layers.{layer}.0.{part}.weight"] = (inner, width)
            found[f"layers.{layer}.0.to_out.weight"] = (width, inner)
            found[f"layers.{layer}.1.1.weight"] = (4 * width, width)
            found[f"layers.{layer}.1.3.weight"] = (width, 4 * width)
        return found


def check_dglm(sizes: DglmSizes, width: int) -> None:
    """Raise InputError unless the DGLM corrects a control of this width."""
    if sizes.width != width:
        raise InputError("memory_file", f"must be of SketchDiT's width, {width}", "", sizes.width)


def check_kv(kv: int, sizes: DglmSizes, field: str) -> None:
    """Raise InputError, which calls the memory or its video model `field`, unless the DGLM reads memories of this
    width."""
    if kv != sizes.kv:
        raise InputError(field, f"must be of the width that the {DGLM} reads, {sizes.kv}", "", kv)


def check_memory(memory: Tensor, sizes: DglmSizes, field: str = "memory") -> None:
    """Raise InputError, which calls the memory `field`, unless it is [2, 3, N, kv] as the DGLM reads it."""
    shape = list(memory.shape)
    if len(shape) != 4 or shape[:2] != [2, LAYERS] or not shape[2]:
        raise InputError(field, f"must be keys and values of {LAYERS} layers", f"[2, {LAYERS}, N, {sizes.kv}]", shape)
    check_kv(shape[3], sizes, field)


class GlobalLocalMemory(nn.Module):
    """The DGLM. It answers with what is to be added to the control; names of weights as published.

    operations: whose Linear and LayerNorm it is made of. attention: from queries, keys and values
    [1, heads, n, HEAD_DIM] to what was found, of the queries' shape. A host hands in its own. made: device and dtype of
    the weights.
    """

    def __init__(
        self,
        sizes: DglmSizes,
        operations: Any = nn,
        attention: Attention = scaled_dot_product_attention,
        **made: Any,
    ):
        super().__init__()
        self.sizes = sizes

        def mapping() -> nn.Sequential:
            return nn.Sequential(
                operations.Linear(sizes.kv, sizes.narrow, **made),
                operations.LayerNorm(sizes.narrow, **made),
                nn.LeakyReLU(),
                operations.Linear(sizes.narrow, sizes.wide, **made),
                operations.LayerNorm(sizes.wide, **made),
                nn.LeakyReLU(),
                operations.Linear(sizes.wide, sizes.width, **made),
            )

        def feed_forward() -> nn.Sequential:
            return nn.Sequential(
                operations.LayerNorm(sizes.width, **made),
                operations.Linear(sizes.width, 4 * sizes.width, bias=False, **made),
                nn.GELU(),
                operations.Linear(4 * sizes.width, sizes.width, bias=False, **made),
            )

        self.layers = nn.ModuleList()
        for layer in range(LAYERS):
            self.add_module(f"key_mapping_{layer}", mapping())
            self.add_module(f"value_mapping_{layer}", mapping())
            looking = _LookingUp(sizes.width, sizes.inner, operations, attention, made)
            self.layers.append(nn.ModuleList([looking, feed_forward()]))
        self.proj_out = nn.Parameter(torch.zeros(sizes.width, sizes.width, **made))

    def project(self, memory: Tensor) -> Projected:
        """Keys and values for each layer of a memory [2, 3, N, kv]: the same in all steps of a window."""
        keys, values = memory
        projected = []
        for number, (looking, _) in enumerate(self.layers):
            key = self.get_submodule(f"key_mapping_{number}")(keys[number, None])
            value = self.get_submodule(f"value_mapping_{number}")(values[number, None])
            projected.append(looking.project(key, value))
        return tuple(projected)

    def forward(self, projected: Projected, control: Tensor) -> Tensor:
        """What is to be added to the control [B, tokens, dim], of its shape."""
        # All rows look up in one memory, and every token by itself: they can stand in one row.
        hidden = control.flatten(0, 1)[None]
        for (looking, feed_forward), (keys, values) in zip(self.layers, projected, strict=True):
            hidden = hidden + looking(keys, values, hidden)
            hidden = hidden + feed_forward(hidden)
        # Hosts cast what is of their own classes; this parameter is of none.
        return (hidden @ self.proj_out.to(hidden)).view(control.shape)


class _LookingUp(nn.Module):
    """Attention from the control to the memory. Keys and values have one norm, as released."""

    def __init__(self, width: int, inner: int, operations: Any, attention: Attention, made: dict):
        super().__init__()
        self.attention = attention
        self.norm1, self.norm2 = (operations.LayerNorm(width, **made) for _ in range(2))
        self.to_q, self.to_k, self.to_v = (operations.Linear(width, inner, bias=False, **made) for _ in range(3))
        self.to_out = operations.Linear(inner, width, bias=False, **made)

    def project(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """[1, N, width] each -> [1, heads, N, HEAD_DIM] each."""
        return _heads(self.to_k(self.norm1(key))), _heads(self.to_v(self.norm1(value)))

    def forward(self, keys: Tensor, values: Tensor, hidden: Tensor) -> Tensor:
        """[1, tokens, width] -> what they found, of that shape."""
        found = self.attention(_heads(self.to_q(self.norm2(hidden))), keys, values)
        return self.to_out(found.transpose(1, 2).flatten(2))


def _heads(tensor: Tensor) -> Tensor:
    """[1, n, inner] -> [1, heads, n, HEAD_DIM]."""
    return tensor.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)
