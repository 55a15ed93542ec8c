"""Metrics of single frames: against the true frames, and of a frame alone.

Frames are [F, H, W, 3] float32 RGB in 0..1 (sRGB values); every function returns one number a frame, [F].
"""

from collections.abc import Sequence

import numpy as np
import torch
from skimage.color import rgb2lab
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from ..errors import needed

cv2 = needed("cv2", "evaluation")

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, right and bottom exclusive

SSIM_BORDER = 5  # half the window, pixels
# Sharpness is compared tile by tile, TILES x TILES of them, by the median: what moves before the scene covers few.
TILES = 8
# Laplacian energy of an 8-bit picture's rounding: tiles without texture count as equally sharp.
ROUNDING_ENERGY = (1 / 255) ** 2


def psnr(frames: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, higher is nearer; infinite for equal frames."""
    return peak_signal_noise_ratio(frames, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))


def ssim(frames: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity, at most 1 (Wang et al. 2004: Gaussian window of 11 pixels, sigma 1.5).

    Mean over the channels and over windows inside the picture, as Wang and scikit-image have it; torchmetrics' own mean
    goes over mirrored borders too. Frames of more than 10 x 10 pixels.
    """
    pair = (pictures.movedim(-1, 1) for pictures in (frames, truth))
    _, everywhere = structural_similarity_index_measure(*pair, data_range=1.0, return_full_image=True)
    return everywhere[..., SSIM_BORDER:-SSIM_BORDER, SSIM_BORDER:-SSIM_BORDER].mean(dim=(1, 2, 3))


def region_psnr(frames: Tensor, truth: Tensor, boxes: Sequence[Box | None]) -> Tensor:
    """PSNR in dB inside a box per frame (with face boxes: F-PSNR); NaN where a frame has none."""
    found = [
        torch.tensor(torch.nan) if box is None else psnr(crop(frame, box)[None], crop(true, box)[None])[0]
        for frame, true, box in zip(frames, truth, boxes, strict=True)
    ]
    return torch.stack(found)


def crop(frame: Tensor, box: Box) -> Tensor:
    """The part of a frame [H, W, C] inside the box."""
    left, top, right, bottom = box
    return frame[top:bottom, left:right]


def to_lab(frames: Tensor) -> Tensor:
    """CIE L*a*b* (D65, 2 degrees) of frames [..., 3] in 0..1: L in 0..100, a and b about -110..110."""
    return torch.from_numpy(rgb2lab(frames.numpy())).float()


def colour_curves(lab: Tensor) -> dict[str, Tensor]:
    """Mean L, a and b of Lab frames [F, H, W, 3], their contrast and their saturation.

    Contrast is the standard deviation of L, saturation the mean chroma: the distance of a and b from grey.
    """
    lightness, a, b = lab.mean(dim=(1, 2)).unbind(-1)
    return {
        "lightness": lightness,
        "a": a,
        "b": b,
        "contrast": lab[..., 0].std(dim=(1, 2), correction=0),
        "saturation": lab[..., 1:].norm(dim=-1).mean(dim=(1, 2)),
    }


def colour_cast(lab: Tensor, other: Tensor) -> Tensor:
    """Length of the median over pixels of the Lab difference: the colour shift that most of the picture shares (ΔE).

    lab, other: [F, H, W, 3]. What changes in less than half of the picture does not count.
    """
    return (lab - other).flatten(1, 2).median(dim=1).values.norm(dim=-1)


def laplacian(frames: Tensor) -> Tensor:
    """The Laplacian (4 neighbours) of the frames' luma: [F, H, W]."""
    luma = (cv2.cvtColor(frame.numpy(), cv2.COLOR_RGB2GRAY) for frame in frames)
    return torch.from_numpy(np.stack([cv2.Laplacian(picture, cv2.CV_32F) for picture in luma]))


def sharpness(edges: Tensor) -> Tensor:
    """Variance of the Laplacian [F, H, W] (Pech-Pacheco et al. 2000); higher is sharper."""
    return edges.var(dim=(1, 2), correction=0)


def sharpness_ratio(edges: Tensor, other: Tensor) -> Tensor:
    """Median over tiles of the ratio of Laplacian energies, of Laplacians [F, H, W]: below 1 is more blurred."""
    energy, base = (
        adaptive_avg_pool2d(picture.square()[:, None], TILES).flatten(1) + ROUNDING_ENERGY for picture in (edges, other)
    )
    return (energy / base).median(dim=1).values


def steps(frames: Tensor, before: Tensor) -> Tensor:
    """Mean absolute difference of every frame to the one before it; before: [H, W, 3], the one before the first."""
    return (frames - torch.cat([before[None], frames[:-1]])).abs().mean(dim=(1, 2, 3))
