"""What a run says while it goes: a line for every chunk, and how long the rest may take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from torch import Tensor

from .takes import TakeChunk


@dataclass(frozen=True)
class Making:
    """A chunk that is about to be made. candidate: which one for its place, from 0. left: how many more will be made
    after it, of this chunk and of later ones, as far as that is known.

    catch_up: to be called between its steps, in the thread of the run. Where the chunk before was finished beside them
    meanwhile, it tells whoever watches; it never waits.
    """

    index: int
    chunks: int
    candidate: int
    candidates: int
    left: int
    catch_up: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)


@dataclass(frozen=True)
class Progress:
    """One finished chunk, for whoever watches.

    kept: it was there from an earlier start. score_name: see `Method.score_name`. last_frame: gives its last frame
    [H, W, 3]. so_far: joins the video of all that is finished, and gives its place.
    """

    index: int
    chunks: int
    record: TakeChunk
    kept: bool
    score_name: str
    last_frame: Callable[[], Tensor]
    so_far: Callable[[], Path]

    def __str__(self) -> str:
        frames = f"frames {self.record.start}-{self.record.stop - 1}"
        state = "kept" if self.kept else f"{self.record.seconds:.1f} s"
        measured = {"drift": self.record.drift}
        if self.score_name not in measured:
            measured[self.score_name] = self.record.score
        told = [f"{name} {'unknown' if value is None else f'{value:.3f}'}" for name, value in measured.items()]
        return f"chunk {self.index + 1}/{self.chunks}: {frames}, {state}, {', '.join(told)}"


class RemainingTime:
    """What is left of a run, by the median of the chunks made in it, and by the steps of the one that is being made.

    clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.seconds: list[float] = []
        self.clock = clock
        self.making: Making | None = None
        # When it was begun, how long after the one before, and when its first step ended.
        self.begun = self.between = self.first_step = 0.0
        # Seconds a step, in the first chunk and its candidates.
        self.pace = 0.0

    def begin(self, making: Making) -> None:
        """That chunk is begun."""
        now = self.clock()
        # Not every sampler tells of its first step.
        self.making, self.begun, self.between, self.first_step = making, now, now - self.begun, now

    def at_step(self, step: int, steps: int) -> str:
        """ ", 34 min left" after `step` of so many steps, from 1, of the chunk; empty where nothing can be said."""
        now = self.clock()
        if step == 1:
            self.first_step = now
        if self.seconds:
            each = median(self.seconds)
            gone = now - self.begun
        else:
            if step > 1:
                # Before the first step a model may have been loaded, which no other chunk waits for.
                self.pace = (now - self.first_step) / (step - 1)
            each, gone = self.pace * steps, self.pace * step
        if not each or self.making is None:
            return ""
        return f", {in_words(max(0.0, each - gone) + self.making.left * each)} left"

    def after(self, done: Progress) -> str:
        """ ", about 12 min left" behind the line of a chunk; empty where nothing can be said."""
        if not done.kept:
            # Where it was finished beside the next one, the run had not waited for all that it took.
            self.seconds.append(self.between if is_behind(done, self.making) else done.record.seconds)
        left = done.chunks - done.index - 1
        if not left or not self.seconds:
            return ""
        return f", about {in_words(left * median(self.seconds))} left"


def is_behind(done: Progress, making: Making | None) -> bool:
    """Whether a chunk was finished while a later one is made."""
    return making is not None and making.index > done.index


def in_words(seconds: float) -> str:
    """A time as people say it: 40 s, 34 min, 2 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
