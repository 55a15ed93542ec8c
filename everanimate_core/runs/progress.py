"""What a run says while it goes: a line for every chunk, and how long the rest may take."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from torch import Tensor

from .takes import TakeChunk


@dataclass(frozen=True)
class Progress:
    """One finished chunk, for whoever watches.

    kept: it was there from an earlier start. last_frame: gives its last frame [H, W, 3]. so_far: joins the video of all
    that is finished, and gives its place.
    """

    index: int
    chunks: int
    record: TakeChunk
    kept: bool
    last_frame: Callable[[], Tensor]
    so_far: Callable[[], Path]

    def __str__(self) -> str:
        frames = f"frames {self.record.start}-{self.record.stop - 1}"
        state = "kept" if self.kept else f"{self.record.seconds:.1f} s"
        drift = "unknown" if self.record.drift is None else f"{self.record.drift:.3f}"
        return f"chunk {self.index + 1}/{self.chunks}: {frames}, {state}, drift {drift}"


class RemainingTime:
    """What is left of a run, by the median of the chunks made in it."""

    def __init__(self):
        self.seconds: list[float] = []

    def after(self, done: Progress) -> str:
        """ ", about 12 min left" behind the line of a chunk; empty where nothing can be said."""
        if not done.kept:
            self.seconds.append(done.record.seconds)
        left = done.chunks - done.index - 1
        if not left or not self.seconds:
            return ""
        minutes, seconds = divmod(round(left * median(self.seconds)), 60)
        return f", about {minutes} min {seconds} s left"
