"""The progress bar of a run: chunks and steps, and the time left. Terminals show it; logs and pipes get lines alone."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from torch import Tensor
from tqdm import tqdm

from ..method import Sample, Sampled
from ..runs.progress import Making, Progress, is_behind
from .command import Command

# A bar of 12 columns: the whole line must leave room at its end for the ^C that a terminal shows.
FORMAT = "{desc} {percentage:3.0f}% |{bar:12}| {elapsed}, {remaining} left"


class Bar(tqdm):
    """A bar over so many chunks, each of them one long. It is drawn after each step, and gone at the end."""

    # No thread that draws it at other times: at the end it would be waited for, and after Ctrl-C perhaps in vain.
    monitor_interval = 0
    # Chunks that were there before; one that is not shown sets none.
    initial = 0
    making: Making | None = None
    n: float

    def __init__(self, chunks: int):
        super().__init__(
            total=chunks,
            desc=f"chunk 1/{chunks}",
            file=sys.stderr,
            # Behind `| tee`, others would write into it.
            disable=not (sys.stdout.isatty() and sys.stderr.isatty()),
            leave=False,
            dynamic_ncols=True,
            bar_format=FORMAT,
            # The time left by the mean of all steps: the one in which a chunk is decoded is long.
            smoothing=0,
        )

    def on_making(self, making: Making) -> None:
        """Before a chunk is made, or one of the candidates for it."""
        self.making = making
        if not making.candidate:
            self.n = making.index
            self.show(making.index)

    def sampling(self, sample: Callable[..., Tensor | Sampled]) -> Sample:
        """The same sampling of a chunk, its steps shown. sample: takes `on_step` besides."""

        def shown(request: Any, noise_seed: int) -> Tensor | Sampled:
            def on_step(step: int, steps: int, clean: Tensor) -> None:
                making = cast(Making, self.making)
                making.catch_up()
                self.n = making.index + (making.candidate + (step + 1) / steps) / making.candidates
                several = making.candidates > 1
                candidate = f", candidate {making.candidate + 1}/{making.candidates}" if several else ""
                self.show(making.index, f"{candidate}, step {step + 1}/{steps}")

            return sample(request, noise_seed, on_step=on_step)

        return shown

    def chunk_done(self, done: Progress) -> None:
        """Show a finished chunk, unless a later one is made by now. The time left goes by those that were made now."""
        self.initial += done.kept
        if not is_behind(done, self.making):
            self.n = done.index + 1
            self.show(min(done.index + 1, done.chunks - 1))

    def show(self, index: int, step: str = "") -> None:
        """Draw it, in chunk `index`."""
        self.set_description_str(f"chunk {index + 1}/{self.total}{step}")


@contextmanager
def progress_bar(chunks: int, command: Command) -> Iterator[Bar]:
    """A bar of so many chunks while the block runs; what the command says is printed above it."""
    with Bar(chunks) as bar:
        command.aside = partial(bar.external_write_mode, sys.stdout)
        yield bar
