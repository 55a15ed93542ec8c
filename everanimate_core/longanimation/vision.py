"""What Video-XL sees of frames: CLIP's vision transformer, two linear layers, and one token for 2 x 2 patches.

The transformer is written out here, as its weights have other names from one version of transformers to the next, and
as a host's own operations can run it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, scaled_dot_product_attention

from ..errors import InputError, check_choice

# Of openai/clip-vit-large-patch14-336: colours, the width of a head, and what its norms add.
MEAN = (0.48145466, 0.4578275, 0.40821073)
SPREAD = (0.26862954, 0.26130258, 0.27577711)
HEAD_DIM, NORM_EPS = 64, 1e-5
# How the tokens of 2 x 2 patches become one.
POOLS: dict[str, Callable[..., Tensor]] = {"average": avg_pool2d, "max": max_pool2d}
STRIDE = 2
# How many frames are seen at once: 650 of them would fill the memory.
BATCH = 16
# Far beyond any network of this kind; sizes from a file could fill the memory.
_MOST_BLOCKS, _MOST = 1000, 2**20


@dataclass(frozen=True)
class VisionSettings:
    """What the network is. Raises InputError for what cannot be computed.

    width, inner: of the tokens, and within an MLP. blocks: those that are run; a checkpoint says how many of CLIP's.
    image, patch: their sides in pixels. out: width of a feature. pool: of POOLS.
    """

    width: int
    inner: int
    heads: int
    blocks: int
    image: int
    patch: int
    out: int
    pool: str = "average"

    def __post_init__(self):
        for name in ("width", "inner", "heads", "blocks", "image", "patch", "out"):
            most = _MOST_BLOCKS if name == "blocks" else _MOST
            if not 1 <= getattr(self, name) <= most:
                raise InputError(name, f"must be between 1 and {most}", "", getattr(self, name))
        if self.width % self.heads:
            raise InputError("width", f"must be a multiple of the heads ({self.heads})", "", self.width)
        if self.image % (STRIDE * self.patch):
            raise InputError("image", f"must be a multiple of two patches ({STRIDE * self.patch})", "336", self.image)
        check_choice("pool", self.pool, POOLS)

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image // self.patch

    @property
    def tokens(self) -> int:
        """Features of a frame."""
        return (self.grid // STRIDE) ** 2


class Vision(nn.Module):
    """From crops to features. operations: where Linear, LayerNorm, Conv2d and Embedding come from."""

    def __init__(
        self,
        settings: VisionSettings,
        operations: Any = nn,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.settings = settings
        self.tower = _Tower(settings, operations, device=device, dtype=dtype)
        linear = partial(operations.Linear, device=device, dtype=dtype)
        out = settings.out
        self.projector = nn.Sequential(linear(settings.width, out), nn.GELU(), linear(out, out))

    def forward(self, crops: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The features [n, tokens, out] of crops [n, S, S, 3] uint8, computed on `device` in `dtype`."""
        return torch.cat([self._seen(some.to(device), dtype) for some in crops.split(BATCH)])

    def _seen(self, crops: Tensor, dtype: torch.dtype) -> Tensor:
        patches = self.projector(self.tower(normalised(crops).to(dtype)))
        grid = patches.transpose(1, 2).unflatten(2, (self.settings.grid, -1))
        return POOLS[self.settings.pool](grid, STRIDE).flatten(2).transpose(1, 2)


def crops(frames: Tensor, side: int) -> Tensor:
    """What CLIP looks at, uint8 [n, side, side, 3], of frames [n, H, W, 3] in 0..1.

    As transformers' CLIPImageProcessor has it: the shorter edge becomes `side` pixels long (bicubic), and the middle is
    cut out.
    """
    if not len(frames):
        return torch.empty(0, side, side, 3, dtype=torch.uint8)
    return torch.stack([_crop(frame, side) for frame in frames])


def _crop(frame: Tensor, side: int) -> Tensor:
    picture = Image.fromarray((frame * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())
    short = min(picture.size)
    width, height = (int(side * edge / short) for edge in picture.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))
    return torch.from_numpy(resized[top : top + side, left : left + side].copy())


def normalised(crops: Tensor) -> Tensor:
    """Crops [n, S, S, 3] uint8 as CLIP takes them: [n, 3, S, S] float32."""
    mean, spread = (torch.tensor(values, device=crops.device) for values in (MEAN, SPREAD))
    return ((crops.float() / 255 - mean) / spread).movedim(-1, 1).contiguous()


class _Tower(nn.Module):
    """CLIP's vision transformer without its last norm. Its weights have their published names."""

    def __init__(self, settings: VisionSettings, operations: Any, **place: Any):
        super().__init__()
        width, patch = settings.width, settings.patch
        self.embeddings = nn.Module()
        self.embeddings.class_embedding = nn.Parameter(torch.empty(width, **place))
        self.embeddings.patch_embedding = operations.Conv2d(3, width, patch, stride=patch, bias=False, **place)
        self.embeddings.position_embedding = operations.Embedding(settings.grid**2 + 1, width, **place)
        self.pre_layrnorm = operations.LayerNorm(width, eps=NORM_EPS, **place)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([_Block(settings, operations, **place) for _ in range(settings.blocks)])

    def forward(self, pixels: Tensor) -> Tensor:
        """The patches [n, grid * grid, width] of pictures [n, 3, S, S]."""
        patches = self.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.embeddings.class_embedding.to(patches).expand(len(patches), 1, -1)
        hidden = torch.cat([first, patches], 1)
        places = self.embeddings.position_embedding(torch.arange(hidden.shape[1], device=hidden.device))
        hidden = self.pre_layrnorm(hidden + places.to(hidden))
        for block in self.encoder.layers:
            hidden = block(hidden)
        return hidden[:, 1:]


class _Block(nn.Module):
    def __init__(self, settings: VisionSettings, operations: Any, **place: Any):
        super().__init__()
        self.heads = settings.heads
        width, inner = settings.width, settings.inner
        linear, norm = partial(operations.Linear, **place), partial(operations.LayerNorm, eps=NORM_EPS, **place)
        self.layer_norm1, self.layer_norm2 = norm(width), norm(width)
        self.self_attn = nn.ModuleDict({f"{part}_proj": linear(width, width) for part in ("q", "k", "v", "out")})
        self.mlp = nn.ModuleDict({"fc1": linear(width, inner), "fc2": linear(inner, width)})

    def forward(self, hidden: Tensor) -> Tensor:
        """[n, patches, width] -> the same."""
        normed = self.layer_norm1(hidden)
        queries, keys, values = (
            self.self_attn[f"{part}_proj"](normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in ("q", "k", "v")
        )
        mixed = scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        hidden = hidden + self.self_attn["out_proj"](mixed)
        inner = self.mlp["fc1"](self.layer_norm2(hidden))
        # What CLIP was trained with in the place of GELU.
        return hidden + self.mlp["fc2"](inner * torch.sigmoid(1.702 * inner))
