"""Video-XL's memory of a video: a Qwen2 that keeps, of every few tokens of frames, a beacon alone.

As LongAnimation uses it (arXiv 2507.01945, after arXiv 2409.14485): no word is generated. The tokens before the frames
are read and kept. The frames are read in windows; behind every `ratio` tokens stands a beacon, and only what the
beacons say (keys and values) goes on to the next window. At last the tokens behind the frames are read.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from ..errors import InputError, check_number
from .prompt import PREFIX, SUFFIX

# Projections that can have weights of their own for beacons.
PARTS = ("q", "k", "v")
# Far beyond any network of this kind; sizes from a file could fill the memory.
MOST_LAYERS, MOST_WIDTH = 1000, 2**20


@dataclass(frozen=True)
class BeaconSettings:
    """What the network is; the defaults are LongAnimation's choice. Raises InputError for what cannot be computed.

    width, inner: of the tokens, and within an MLP. layers: of the whole checkpoint. read_layers: those whose keys and
    values are the memory, negative ones from the end; later layers are not needed. window: tokens of frames that are
    read at once. beacon_parts: of PARTS.
    """

    width: int
    inner: int
    heads: int
    kv_heads: int
    layers: int
    window: int
    rope_theta: float
    norm_eps: float
    beacon_parts: tuple[str, ...] = PARTS
    read_layers: tuple[int, ...] = (-9, -5, -1)
    ratio: int = 8

    def __post_init__(self):
        for name in ("width", "inner", "heads", "kv_heads", "layers", "window", "ratio"):
            most = MOST_LAYERS if name == "layers" else MOST_WIDTH
            if not 1 <= getattr(self, name) <= most:
                raise InputError(name, f"must be between 1 and {most}", "", getattr(self, name))
        for name in ("rope_theta", "norm_eps"):
            check_number(name, getattr(self, name), "")
            if getattr(self, name) <= 0:
                raise InputError(name, "must be above 0", "", getattr(self, name))
        if self.width % (2 * self.heads):
            raise InputError("width", f"must be a multiple of twice the heads ({2 * self.heads})", "", self.width)
        if self.heads % self.kv_heads:
            raise InputError("heads", f"must be a multiple of kv_heads ({self.kv_heads})", "", self.heads)
        if self.window % self.ratio:
            raise InputError("window", f"must be a multiple of the ratio ({self.ratio})", "1440", self.window)
        odd = [part for part in self.beacon_parts if part not in PARTS]
        if odd or len(set(self.beacon_parts)) < len(self.beacon_parts):
            raise InputError("beacon_parts", f"must be of {', '.join(PARTS)}", "", ", ".join(self.beacon_parts))
        outside = [layer for layer in self.read_layers if not -self.layers <= layer < self.layers]
        if outside or not self.read_layers:
            rule = f"must be at least one of the {self.layers} layers"
            raise InputError("read_layers", rule, "-9, -5, -1", list(self.read_layers))

    @property
    def head_dim(self) -> int:
        """Of queries, keys and values."""
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Of the keys of a token, and of its values: those of all heads, one behind the other."""
        return self.kv_heads * self.head_dim

    @property
    def read(self) -> list[int]:
        """`read_layers`, counted from the first."""
        return [layer % self.layers for layer in self.read_layers]


class BeaconLayer(nn.Module):
    """A layer of Qwen2, with Video-XL's weights for beacons.

    ends: nothing is read behind it, so that it has keys and values only.
    """

    def __init__(self, settings: BeaconSettings, ends: bool, operations: Any, **place: Any):
        super().__init__()
        self.settings, self.ends = settings, ends
        linear, norm = partial(operations.Linear, **place), partial(operations.RMSNorm, eps=settings.norm_eps, **place)
        width, inner = settings.width, settings.inner
        outputs = {"q": width, "k": settings.kv_width, "v": settings.kv_width}
        self.input_layernorm = norm(width)
        self.self_attn = nn.ModuleDict()
        for part in ("k", "v") if ends else PARTS:
            self.self_attn[f"{part}_proj"] = linear(width, outputs[part])
            if part in settings.beacon_parts:
                self.self_attn[f"beacon_{part}_proj"] = linear(width, outputs[part])
        if ends:
            return
        self.self_attn["o_proj"] = linear(width, width, bias=False)
        self.post_attention_layernorm = norm(width)
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": linear(width, inner, bias=False),
                "up_proj": linear(width, inner, bias=False),
                "down_proj": linear(inner, width, bias=False),
            }
        )

    def project(self, part: str, normed: Tensor, beacons: bool) -> Tensor:
        """The queries, keys or values of tokens [n, width]; beacons: whether every (ratio + 1)th is one."""
        ordinary, name = self.self_attn[f"{part}_proj"], f"beacon_{part}_proj"
        if not beacons or name not in self.self_attn:
            return ordinary(normed)
        groups = normed.unflatten(0, (-1, self.settings.ratio + 1))
        tokens = ordinary(groups[:, :-1].flatten(0, 1)).unflatten(0, (-1, self.settings.ratio))
        return torch.cat([tokens, self.self_attn[name](groups[:, -1])[:, None]], 1).flatten(0, 1)

    def forward(
        self, hidden: Tensor, normed: Tensor, keys: Tensor, values: Tensor, beacons: bool, turns: tuple[Tensor, Tensor]
    ) -> Tensor:
        """The state [n, width] behind the layer.

        hidden: the state before it. normed: the same behind the first norm. keys, values: [m + n, kv_width], what is
        kept in front, and that of these tokens. turns: cosines and sines of the m + n places, [m + n, head_dim].
        """
        new, dim = len(hidden), self.settings.head_dim
        cosines, sines = turns
        queries = self.project("q", normed, beacons)
        queries, keys, values = (each.unflatten(1, (-1, dim)).transpose(0, 1) for each in (queries, keys, values))
        queries = _turned(queries, cosines[-new:], sines[-new:])
        keys = _turned(keys, cosines, sines)
        keys, values = (each.repeat_interleave(len(queries) // len(each), 0) for each in (keys, values))
        # A token sees all that is kept, those before it, and itself.
        places = torch.arange(len(cosines), device=hidden.device)
        seen = places <= places[-new:, None]
        mixed = scaled_dot_product_attention(queries[None], keys[None], values[None], attn_mask=seen)[0]
        hidden = hidden + self.self_attn["o_proj"](mixed.transpose(0, 1).flatten(1))
        normed = self.post_attention_layernorm(hidden)
        gated = silu(self.mlp["gate_proj"](normed)) * self.mlp["up_proj"](normed)
        return hidden + self.mlp["down_proj"](gated)


class BeaconNetwork(nn.Module):
    """The layers up to the last one that is read, and the embeddings of the prompt and of a beacon.

    operations: where Linear, Embedding and RMSNorm come from, which take device= and dtype=.

    What was read so far is a tensor, `past`: [2, layers, n, kv_width], keys (not yet rotated by their places) and
    values of the prefix and of the beacons behind it, oldest first. It can be stored, and beacons can be cut out of it.
    """

    def __init__(
        self,
        settings: BeaconSettings,
        operations: Any = nn,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.settings = settings
        place = {"device": device, "dtype": dtype}
        self.embed_tokens = operations.Embedding(len(PREFIX) + len(SUFFIX), settings.width, **place)
        self.beacon_embed_tokens = operations.Embedding(1, settings.width, **place)
        last = max(settings.read)
        self.layers = nn.ModuleList(
            [BeaconLayer(settings, number == last, operations, **place) for number in range(last + 1)]
        )

    def begin(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Tensor:
        """The `past` behind the prefix. device, dtype: of what is computed; None for those of the weights."""
        weight = self.embed_tokens.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        past = torch.empty(2, len(self.layers), 0, self.settings.kv_width, device=device, dtype=dtype)
        return self._passed(past, self._prompt(past)[: len(PREFIX)], beacons=False)

    def read(self, past: Tensor, features: Tensor) -> Tensor:
        """`past` with the beacons of further frames behind it.

        features: [n, tokens, width], tokens a multiple of the ratio. Windows begin anew with each call: frames that are
        read in two calls make the same as in one where the first call's tokens fill whole windows.
        """
        for tokens in features.to(past).flatten(0, 1).split(self.settings.window):
            groups = tokens.unflatten(0, (-1, self.settings.ratio))
            beacon = self._embedded(self.beacon_embed_tokens, past).expand(len(groups), 1, -1)
            new = self._passed(past, torch.cat([groups, beacon], 1).flatten(0, 1), beacons=True)
            past = torch.cat([past, new], 2)
        return past

    def end(self, past: Tensor) -> Tensor:
        """The memory [2, layers that are read, n + suffix, kv_width]: keys (not rotated) and values of all of `past`,
        and of the suffix behind it."""
        new = self._passed(past, self._prompt(past)[len(PREFIX) :], beacons=False)
        return torch.cat([past, new], 2)[:, self.settings.read]

    def _prompt(self, like: Tensor) -> Tensor:
        return self._embedded(self.embed_tokens, like)

    def _embedded(self, embedding: nn.Module, like: Tensor) -> Tensor:
        """All rows of an embedding, in the type and the place of `like`."""
        return embedding(torch.arange(embedding.num_embeddings, device=like.device)).to(like)

    def _passed(self, past: Tensor, hidden: Tensor, beacons: bool) -> Tensor:
        """Keys and values [2, layers, n, kv_width] of tokens [n, width] behind `past`; with beacons, of these alone."""
        turns = self._turns(past.shape[2] + len(hidden), past)
        kept = []
        for layer, (keys, values) in zip(self.layers, past.unbind(1), strict=True):
            normed = layer.input_layernorm(hidden)
            own = torch.stack([layer.project(part, normed, beacons) for part in ("k", "v")])
            kept.append(own[:, self.settings.ratio :: self.settings.ratio + 1] if beacons else own)
            if not layer.ends:
                keys, values = torch.cat([keys, own[0]]), torch.cat([values, own[1]])
                hidden = layer(hidden, normed, keys, values, beacons, turns)
        return torch.stack(kept, 1)

    def _turns(self, places: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines by which so many places are rotated, [places, head_dim]."""
        dim = self.settings.head_dim
        halves = torch.arange(0, dim, 2, dtype=torch.float32, device=like.device)
        speeds = 1.0 / self.settings.rope_theta ** (halves / dim)
        angles = torch.outer(torch.arange(places, dtype=torch.float32, device=like.device), speeds).repeat(1, 2)
        return angles.cos().to(like), angles.sin().to(like)


def _turned(vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Vectors [heads, n, dim], rotated by their places."""
    first, second = vectors.chunk(2, -1)
    return vectors * cosines + torch.cat([-second, first], -1) * sines
