"""A small causal video VAE with the contract of Wan 2.1's: 16 channels, 8x8 in space, 1 + 4k frames in time.

Patches of 4 frames x 8x8 pixels are mapped to 16 channels and back by a linear pair (it starts out as the principal
components) plus a causal residual network at the latent resolution. The first frame stands four times in its patch.
There is no sampling: the latents are the mean.
"""

from os import PathLike

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import silu

from ...errors import InputError
from ...everanimate.geometry import LATENT_CHANNELS
from ...latents import SPATIAL_FACTOR
from ...plan import TEMPORAL_FACTOR, latent_frames, pixel_frames
from ...runs.stages import DECODING, ENCODING, stage
from .state import FOLDER

WEIGHTS = FOLDER / "vae.safetensors"
# Of the residual networks.
WIDTH, BLOCKS = 128, 2
# Values in a patch of 4 frames.
PATCH = 3 * TEMPORAL_FACTOR * SPATIAL_FACTOR**2
# Statistics of Wan 2.1's latents, by which hosts normalise: normalised = (raw - mean) / std.
WAN_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
WAN_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
)


def to_patches(video: Tensor) -> Tensor:
    """[B, 3, 4n + 1, H, W] -> [B, n + 1, 768, H/8, W/8]; patch 0 holds frame 0 four times."""
    first = video[:, :, :1].expand(-1, -1, TEMPORAL_FACTOR - 1, -1, -1)
    grid = torch.cat([first, video], dim=2).unflatten(2, (-1, TEMPORAL_FACTOR))
    grid = grid.unflatten(4, (-1, SPATIAL_FACTOR)).unflatten(6, (-1, SPATIAL_FACTOR))
    # batch, colour, time, frame, row, y, column, x
    return grid.permute(0, 2, 1, 3, 5, 7, 4, 6).flatten(2, 5)


def from_patches(patches: Tensor) -> Tensor:
    """[B, n + 1, 768, h, w] -> [B, 3, 4n + 1, 8h, 8w]; of patch 0 only the last frame is kept."""
    grid = patches.unflatten(2, (3, TEMPORAL_FACTOR, SPATIAL_FACTOR, SPATIAL_FACTOR))
    # batch, time, colour, frame, y, x, row, column
    video = grid.permute(0, 2, 1, 3, 6, 4, 7, 5).flatten(6, 7).flatten(4, 5).flatten(2, 3)
    return video[:, :, TEMPORAL_FACTOR - 1 :]


class _CausalBlock(nn.Module):
    """Residual block on [B, T, C, h, w]: a 3x3x3 convolution that sees no later latent, and a pointwise one."""

    def __init__(self):
        super().__init__()
        # In time the kernel is three frames stacked as channels: faster on a CPU than a 3D convolution, and every
        # frame comes out bit for bit the same however many there are.
        self.conv = nn.Conv2d(3 * WIDTH, WIDTH, 3, padding=1)
        self.out = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        padded = torch.cat([torch.zeros_like(x[:, :1])] * 2 + [silu(x)], dim=1)
        stacked = torch.cat([padded[:, at : at + x.shape[1]] for at in range(3)], dim=2).flatten(0, 1)
        y = self.out(silu(self.conv(stacked.contiguous(memory_format=torch.channels_last))))
        return x + y.unflatten(0, x.shape[:2])


class _Network(nn.Module):
    """Causal map [B, T, inputs, h, w] -> [B, T, outputs, h, w]: a linear path plus a residual network."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Conv2d(inputs, outputs, 1)
        self.stem = nn.Conv2d(inputs, WIDTH, 1)
        self.blocks = nn.Sequential(*(_CausalBlock() for _ in range(BLOCKS)))
        self.head = nn.Conv2d(WIDTH, outputs, 1)
        # Begins as the linear path alone.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        hidden = self.blocks(self.stem(frames).unflatten(0, x.shape[:2])).flatten(0, 1)
        hidden = silu(hidden).contiguous(memory_format=torch.channels_last)
        return (self.linear(frames) + self.head(hidden)).unflatten(0, x.shape[:2])


class ToyVae(nn.Module):
    """Video in -1..1 to raw latents, as hosts keep Wan's, and back. 2.0 M parameters.

    The networks work on normalised latents: after Wan 2.1's latent normalisation, those of the toy's world have mean
    0 and variance 1 in every channel.
    """

    def __init__(self):
        super().__init__()
        self.encoder = _Network(PATCH, LATENT_CHANNELS)
        self.decoder = _Network(LATENT_CHANNELS, PATCH)
        # Constants: not in the weights file.
        self.register_buffer("mean", torch.tensor(WAN_MEAN).view(1, -1, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(WAN_STD).view(1, -1, 1, 1, 1), persistent=False)

    def normalised(self, video: Tensor) -> Tensor:
        """[B, 3, F, H, W] in -1..1 -> normalised latents [B, 16, T, H/8, W/8]; ValueError as for `encode`."""
        frames, height, width = video.shape[2:]
        if frames < 1 or pixel_frames(latent_frames(frames)) != frames:
            raise InputError("the number of frames", "must be 4n + 1", "1, 33, 77", frames)
        if height % SPATIAL_FACTOR or width % SPATIAL_FACTOR:
            raise InputError("width and height", f"must be multiples of {SPATIAL_FACTOR}", "64x64", f"{width}x{height}")
        return self.encoder(to_patches(video)).transpose(1, 2)

    def from_normalised(self, latents: Tensor) -> Tensor:
        """Normalised latents [B, 16, T, h, w] -> [B, 3, 4(T - 1) + 1, 8h, 8w], -1..1 but for overshoots."""
        return from_patches(self.decoder(latents.transpose(1, 2)))

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, F, H, W] in -1..1 -> raw latents [B, 16, T, H/8, W/8]; latent t has seen frames 0..4t.

        Raises ValueError unless F is 4n + 1 and H and W are multiples of 8.
        """
        return self.normalised(video) * self.std + self.mean

    def decode(self, latents: Tensor) -> Tensor:
        """Raw latents [B, 16, T, h, w] -> [B, 3, 4(T - 1) + 1, 8h, 8w], -1..1 but for overshoots; as causal."""
        return self.from_normalised((latents - self.mean) / self.std)


def load_vae(path: str | PathLike = WEIGHTS) -> ToyVae:
    """The trained VAE in float32, for inference; the one shipped with the package unless `path` names another."""
    vae = ToyVae()
    vae.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return vae.eval().requires_grad_(False)


class ToyCodec:
    """The toy VAE as the method's `Codec`: frames in 0..1 on one side, normalised latents on the other."""

    def __init__(self, vae: ToyVae):
        self.vae = vae

    @stage(ENCODING)
    @torch.inference_mode()
    def encode(self, frames: Tensor) -> Tensor:
        """[F, H, W, 3] in 0..1, F = 4n + 1 -> [1, 16, n + 1, H/8, W/8] float32; ValueError as for ToyVae.encode."""
        return self.vae.normalised(frames.movedim(-1, 0)[None] * 2 - 1)

    @stage(DECODING, lacks="tiled")
    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """[1, 16, T, h, w] -> [4(T - 1) + 1, 8h, 8w, 3] float32 in 0..1."""
        return (self.vae.from_normalised(latents)[0] / 2 + 0.5).clamp(0, 1).movedim(0, -1).contiguous()
