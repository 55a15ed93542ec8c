"""Frames in memory and views of a source of frames: of another size, or at another rate.

Frames are always float32 RGB on the CPU, [n, H, W, 3] in 0..1. A view reads nothing before it is asked for something.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError, check_choice
from ..ports import FrameSource
from .rates import steady_numbers

FIT_POLICIES = ("stretch", "crop", "pad", "error")


def fit_frames(frames: Tensor, width: int, height: int, fit: str, margin: float = 0.0) -> Tensor:
    """Bring frames [n, H, W, 3] to [n, height, width, 3] (pixels); frames of that size are returned as they are.

    `stretch` scales both axes on their own; `crop` scales to cover the size and keeps the centre; `pad` scales to
    fit inside and centres on `margin`, black unless it is given; `error` refuses. Scaling is bicubic with antialiasing,
    clamped to 0..1. Raises InputError for an unknown `fit`, and where `error` meets another size.
    """
    check_choice("fit", fit, FIT_POLICIES)
    old_height, old_width = frames.shape[1:3]
    if (old_width, old_height) == (width, height):
        return frames
    if fit == "error":
        raise InputError(
            "the frames", f"must be {width}x{height}", "or fit stretch, crop or pad", f"{old_width}x{old_height}"
        )
    if fit == "stretch":
        return _resize(frames, width, height)
    ratios = (width / old_width, height / old_height)
    scale = max(ratios) if fit == "crop" else min(ratios)
    frames = _resize(frames, max(1, round(old_width * scale)), max(1, round(old_height * scale)))
    # Positive margins are padding, negative ones cut: F.pad does both.
    left, top = (width - frames.shape[2]) // 2, (height - frames.shape[1]) // 2
    right, bottom = width - frames.shape[2] - left, height - frames.shape[1] - top
    return F.pad(frames, (0, 0, left, right, top, bottom), value=margin)


def _resize(frames: Tensor, width: int, height: int) -> Tensor:
    scaled = F.interpolate(frames.movedim(-1, 1), (height, width), mode="bicubic", antialias=True)
    return scaled.clamp(0, 1).movedim(1, -1).contiguous()


class TensorFrames:
    """Frames that are in memory already: images [n, H, W, 3 or 4] in 0..1 (a fourth channel, alpha, is left out).

    `fps`: frames a second, where they are known to have a rate.
    """

    def __init__(self, images: Tensor, fps: Fraction | None = None):
        self._images, self.fps = images[..., :3], fps
        self.frame_count, self.height, self.width = images.shape[:3]

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames of these numbers, in this order: [len(indices), H, W, 3]. Raises IndexError outside the video."""
        check_indices(indices, self.frame_count)
        return self._images[list(indices)].float().cpu()


class FittedFrames:
    """A source whose frames are fitted to width x height pixels, by one of FIT_POLICIES, as they are read. margin:
    brightness of what `pad` adds."""

    def __init__(self, source: FrameSource, width: int, height: int, fit: str, margin: float = 0.0):
        self.source, self.width, self.height, self.fit, self.margin = source, width, height, fit, margin
        self.frame_count, self.fps = source.frame_count, source.fps

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames `indices`, fitted: [n, height, width, 3]."""
        return fit_frames(self.source.read(indices), self.width, self.height, self.fit, self.margin)


class TimedFrames(FrameSource, Protocol):
    """A source of a known rate."""

    @property
    def fps(self) -> Fraction:
        """Frames a second."""


class ResampledFrames:
    """A source of a known rate, shown at `fps` frames a second: frame i is what it shows at i / fps."""

    def __init__(self, source: TimedFrames, fps: Fraction):
        self.source, self.fps = source, fps
        self._numbers = steady_numbers(source.frame_count, source.fps, fps)
        self.frame_count, self.width, self.height = len(self._numbers), source.width, source.height

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames `indices` at the new rate: [n, H, W, 3]."""
        check_indices(indices, self.frame_count)
        return self.source.read([self._numbers[index] for index in indices])


def check_indices(indices: Sequence[int], count: int) -> None:
    """Raise IndexError unless all frame numbers are within 0..count - 1."""
    for number in indices:
        if not 0 <= number < count:
            raise IndexError(f"frame numbers must be within 0..{count - 1}; got {number}.")
