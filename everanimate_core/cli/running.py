"""A run from the command line: a line for each finished chunk, and how it is gone on with."""

from pathlib import Path

from ..method import Sample
from ..ports import Codec
from ..runs.job import Job
from ..runs.progress import Progress, RemainingTime
from ..runs.run import run
from ..runs.settings import RunSettings
from ..runs.store import RunStore
from ..runs.videos import NewestVideo
from .command import Command


def run_job(
    job: Job, sample: Sample, codec: Codec, out: Path, folder: Path | None, video: RunSettings, command: Command
) -> None:
    """Make the video `out` of a job. folder: where finished chunks are kept; None: beside it, with the suffix .run."""
    remaining = RemainingTime()

    def on_chunk(done: Progress) -> None:
        command.to_go_on = () if video.resume else ("--resume",)
        command.say(f"{done}{remaining.after(done)}")

    store = RunStore(folder or out.with_suffix(".run"))
    run(job, store, sample, codec, NewestVideo(out, store.folder), video, on_chunk, command.say)
    command.say(f"Wrote {out}")
