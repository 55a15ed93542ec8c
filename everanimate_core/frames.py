"""Views of a source of frames: of another size, or of a part of it. Nothing is read before it is asked for."""

from collections.abc import Sequence
from math import ceil

from torch import Tensor

from .propagation import FrameSource
from .video import fit_frames


class FittedFrames:
    """A source whose frames are fitted to width x height pixels, by one of FIT_POLICIES, as they are read.

    The frames of the last read are kept: fingerprint, conditioning and keyframes of a chunk all ask for the same.
    """

    def __init__(self, source: FrameSource, width: int, height: int, fit: str):
        self.source, self.width, self.height, self.fit = source, width, height, fit
        self.frame_count, self.fps = source.frame_count, source.fps
        self._last: tuple[list[int], Tensor] | None = None

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames `indices`, fitted: [n, height, width, 3]."""
        if self._last is None or self._last[0] != list(indices):
            self._last = None  # frees the frames before the next are made
            frames = fit_frames(self.source.read(indices), self.width, self.height, self.fit)
            self._last = list(indices), frames
        return self._last[1]


class TrimmedFrames:
    """The part of a source from `start` seconds on, `duration` seconds long (0: to its end)."""

    def __init__(self, source: FrameSource, start: float, duration: float):
        self.source, self.fps = source, source.fps
        self.first = min(ceil(start * self.fps), source.frame_count)
        last = ceil((start + duration) * self.fps) if duration else source.frame_count
        self.frame_count = min(last, source.frame_count) - self.first

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames `indices`, counted from the start of the part: [n, H, W, 3]."""
        return self.source.read([self.first + index for index in indices])
