"""What holds for the latents of every method: sizes of their pictures, what is refused, ends, statistics, previews.

The VAEs make one latent of 8 x 8 pixels; the transformers read them in patches of 2 x 2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .errors import InputError

SPATIAL_FACTOR = 8
# Pixels of a patch.
SIZE_MULTIPLE = 16


def check_size(width: int, height: int) -> None:
    """Raise InputError, naming the one that is wrong, unless both sizes (pixels) are positive multiples of 16."""
    for name, size, example in (("width", width, 832), ("height", height, 480)):
        if size < SIZE_MULTIPLE or size % SIZE_MULTIPLE:
            raise InputError(name, f"must be a multiple of {SIZE_MULTIPLE}", example, size)


def check_latents(latents: object, shape: Sequence[int], index: int) -> None:
    """Raise InputError unless `latents` can be those of chunk `index`: float32, [1, C, T, h, w] as `shape`, finite."""
    if not isinstance(latents, Tensor) or latents.dtype != torch.float32:
        got = latents.dtype if isinstance(latents, Tensor) else type(latents).__name__
        raise InputError("a chunk's latents", "must be a float32 tensor", "", f"{got} for chunk {index}")
    if tuple(latents.shape) != tuple(shape):
        raise InputError(
            "a chunk's latents",
            f"must be of shape {list(shape)}",
            "one video, channels, frames, height, width; what stands in front of the chunk is cut",
            f"{list(latents.shape)} for chunk {index}",
        )
    bad = int((~latents.isfinite()).sum())
    if bad:
        raise InputError(
            "a chunk's latents",
            "must be finite numbers",
            "sample with the model in bf16 or fp32 instead of fp16, without fast modes, with a lower cfg, "
            "or with another sampler or other sigmas",
            f"{bad} of {latents.numel()} values that are NaN or infinite in chunk {index}",
        )


def check_frames(frames: Tensor, index: int) -> None:
    """Raise InputError unless the decoded frames of chunk `index` are finite numbers."""
    if not frames.isfinite().all():
        raise InputError(
            f"the decoded frames of chunk {index}",
            "must be finite numbers",
            "decode with the VAE in bf16 or fp32 instead of fp16",
            "NaN or infinity",
        )


def with_end(latents: Tensor, end: Tensor) -> Tensor:
    """Latents [B, C, T, h, w] with `end` [B, C, n, h, w] in the place of their last n, 0..T of them; a new tensor."""
    return torch.cat([latents[:, :, : latents.shape[2] - end.shape[2]], end.to(latents)], dim=2)


def channel_statistics(latents: Tensor) -> Tensor:
    """Mean and standard deviation of each channel over time and space: [1, C, T, h, w] -> [2, C]."""
    spread, mean = torch.std_mean(latents, dim=(0, 2, 3, 4), correction=0)
    return torch.stack([mean, spread])


def channel_drift(latents: Tensor, statistics: Tensor) -> float:
    """How far the channel means of `latents` [1, C, T, h, w] are from `statistics` [2, C], in units of its spread."""
    mean, spread = statistics
    distance = (channel_statistics(latents)[0] - mean) / spread.clamp(min=1e-6)
    return float(distance.square().mean().sqrt())


def preview_map(latents: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map from latents [C, h, w] to the colours of their picture [8h, 8w, 3] in 0..1, in least squares.

    Factors [C, 3] and bias [3], which give colours in -1..1: how previews of latents are made, for a VAE that nobody
    has measured such a map of.
    """
    cells = latents.flatten(1).T.double()
    small = avg_pool2d(picture.movedim(-1, 0).double(), SPATIAL_FACTOR).flatten(1).T * 2 - 1
    with_bias = torch.cat([cells, cells.new_ones(len(cells), 1)], dim=1)
    # The driver that finds the smallest map where a plain picture leaves many.
    found = torch.linalg.lstsq(with_bias, small, driver="gelsd").solution.float()
    return found[:-1], found[-1]
