"""Work beside sampling: what a run need not wait for is done by one thread while the next chunk is sampled.

What is sampled, and what the network does, stays in the thread of the run. Beside it, one job after the other: a
finished chunk is written, the chunk after the one that is sampled is read, and both use the VAE where it may be used
there. PyAV's readers and the VAEs serve one thread at a time: a driving video is read by whoever makes its chunk ready,
and `OneAtATime` keeps two threads out of one VAE.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from threading import Lock
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ..ports import Codec
from .undivided import undivided

Result = TypeVar("Result")
# Seconds after which a thread that waits looks whether it was interrupted: on Windows, Ctrl-C ends no wait.
LOOK = 0.2


class Beside:
    """A thread beside that of the run, which does one job after the other, in order; a context.

    on: else there is no thread, and jobs are done at once by whoever starts them. Gradients and inference mode are as
    in the thread that made this: torch has them for each thread.
    """

    def __init__(self, on: bool):
        self.on = on
        self._pool = ThreadPoolExecutor(1, "everanimate-beside") if on else None
        self._inference, self._gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def __enter__(self) -> "Beside":
        return self

    def __exit__(self, *_: object) -> None:
        self.idle()
        if self._pool is not None:
            self._pool.shutdown()

    def start(self, work: Callable[[], Result]) -> "Future[Result]":
        """Have it done. What it raises is raised by `result`; without a thread, here."""
        if self._pool is not None:
            return self._pool.submit(self._in_modes, work)
        done: Future[Result] = Future()
        done.set_result(work())
        return done

    def _in_modes(self, work: Callable[[], Result]) -> Result:
        with torch.inference_mode(self._inference), torch.set_grad_enabled(self._gradients):
            return work()

    def idle(self) -> None:
        """Wait until nothing is left to do, whatever it raises. Ctrl-C does not end the wait: a thread that still read
        or wrote would do so in files that are closed, or another's by then."""
        last = self.start(lambda: None)
        while not last.done():
            with suppress(KeyboardInterrupt):
                wait([last], LOOK)


def result(job: "Future[Result]") -> Result:
    """What a job made, once it is done; raises what it raised."""
    while not job.done():
        wait([job], LOOK)
    return job.result()


class UnderWay(Generic[Result]):
    """At most one job that a run has begun beside its sampling, and who takes what it makes, in the run's thread."""

    def __init__(self, beside: Beside):
        self.beside = beside
        self._job: tuple[Future[Result], Callable[[Result], None]] | None = None

    def begin(self, work: Callable[[], Result], taken_by: Callable[[Result], None] = lambda made: None) -> None:
        """Have it done, and taken when it is caught up with; without a thread, at once. The one before is taken."""
        self.catch_up()
        # Without a thread the work is done here, and may take long.
        with undivided() if self.beside.on else nullcontext():
            self._job = self.beside.start(work), taken_by
        if not self.beside.on:
            self.catch_up()

    def catch_up(self) -> None:
        """Wait for what is under way, and have it taken; raises what went wrong there."""
        if self._job is not None:
            job, taken_by = self._job
            made = result(job)
            with undivided():
                # Nothing of it is held on to.
                self._job = None
                taken_by(made)

    def catch_up_if_done(self) -> None:
        """The same, where there is nothing to wait for."""
        if self._job is not None and self._job[0].done():
            self.catch_up()


class OneAtATime:
    """A codec that two threads share, one after the other: VAEs keep what they have seen of a clip in themselves."""

    def __init__(self, codec: Codec):
        self.codec, self.lock = codec, Lock()

    def encode(self, frames: Tensor) -> Tensor:
        """See Codec."""
        with self.lock:
            return self.codec.encode(frames)

    def decode(self, latents: Tensor) -> Tensor:
        """See Codec."""
        with self.lock:
            return self.codec.decode(latents)
