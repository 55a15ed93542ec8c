"""A run from the command line: a line for each finished chunk, in a terminal a bar, and how it is gone on with."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..method import Sampled
from ..ports import Codec
from ..runs.job import Job
from ..runs.progress import Progress, RemainingTime
from ..runs.run import run
from ..runs.settings import RunSettings
from ..runs.store import RunStore
from ..runs.videos import NewestVideo
from .bar import progress_bar
from .command import Command


def run_job(
    job: Job,
    sample: Callable[..., Tensor | Sampled],
    codec: Codec,
    out: Path,
    folder: Path | None,
    video: RunSettings,
    command: Command,
) -> None:
    """Make the video `out` of a job.

    sample: as a run asks for it; takes `on_step`, too. folder: where finished chunks are kept; None: beside it, with
    the suffix .run.
    """
    remaining = RemainingTime()

    store = RunStore(folder or out.with_suffix(".run"))
    with progress_bar(job.plan.chunk_count, command) as bar:

        def on_chunk(done: Progress) -> None:
            command.to_go_on = () if video.resume else ("--resume",)
            bar.chunk_done(done)
            command.say(f"{done}{remaining.after(done)}")

        run(
            job,
            store,
            bar.sampling(sample),
            codec,
            NewestVideo(out, store.folder),
            video,
            on_chunk,
            command.say,
            on_making=bar.on_making,
        )
    command.say(f"Wrote {out}")
