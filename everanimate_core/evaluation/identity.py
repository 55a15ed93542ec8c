"""How far the person's colours are from the reference's: an identity measure that needs no weights.

It sees clothes, hair and skin change colour, it does not recognise faces, and a person who turns round moves it too:
read it against the same curve of the true video. A colour cast of the whole picture is taken out first.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .frame_metrics import Box, crop, to_lab

# Middles of equal parts of the distribution: the extremes, single pixels, do not count.
QUANTILES = (torch.arange(64) + 0.5) / 64
DARKEST = 1e-3  # a channel whose median is darker than this has no usable gain


@dataclass(frozen=True)
class PersonColours:
    """What a picture says of a person: its medians in linear RGB, [3], and the quantiles of L, a, b inside the box."""

    median: Tensor
    quantiles: Tensor


def person_colours(picture: Tensor, box: Box | None = None) -> PersonColours:
    """The colours of a person in a picture [H, W, 3] in 0..1; box: where the person or the face is, None: all of it."""
    return PersonColours(median(to_linear(picture)), quantiles(picture if box is None else crop(picture, box)))


def identity_distance(frame: Tensor, person: PersonColours, box: Box | None = None) -> Tensor:
    """Distance of the colours inside the box of a frame to those of a person, in units of ΔE, 0 or more; a scalar.

    frame: [H, W, 3] in 0..1, of any size; box: as above; the closer it fits, the more the measure is about the person.
    The frame is first given the person's medians in linear RGB (von Kries). Then the Wasserstein-1 distances of the
    L, a and b distributions are put together as a Euclidean length.
    """
    linear = to_linear(frame)
    gain = person.median.clamp(min=DARKEST) / median(linear).clamp(min=DARKEST)
    inside = linear if box is None else crop(linear, box)
    aligned = from_linear((inside * gain).clamp(0, 1))
    return (quantiles(aligned) - person.quantiles).abs().mean(dim=0).norm()


def median(picture: Tensor) -> Tensor:
    """Median of each channel: [H, W, 3] -> [3]."""
    return picture.flatten(0, 1).median(dim=0).values


def quantiles(picture: Tensor) -> Tensor:
    """Quantiles of L, a and b of a picture [H, W, 3] in 0..1: [64, 3]."""
    lab = to_lab(picture).flatten(0, 1).sort(dim=0).values
    # Indexed, since torch.quantile refuses the number of pixels of a full-size frame.
    return lab[(QUANTILES * len(lab)).long()]


def to_linear(values: Tensor) -> Tensor:
    """sRGB values in 0..1 -> linear light (IEC 61966-2-1)."""
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def from_linear(light: Tensor) -> Tensor:
    """Linear light in 0..1 -> sRGB values (IEC 61966-2-1)."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
