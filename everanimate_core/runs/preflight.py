"""What can be known before the first chunk is sampled: that the result has its place, and the chunks theirs."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..method import Method
from .listing import amount
from .store import ANOTHER_NAME, RunError, RunFailed

# Bits of a pixel in the written video: films that are hard to compress reach this at the quality of our segments.
BITS_PER_PIXEL = 1
_FLOAT32 = 4
# Names that the folder of a run has for itself, those of 0.1.0 among them.
_OF_A_RUN = re.compile(r"chunks|takes|manifest\.json|chunk_\d+\.safetensors|segment_\d+\.mp4")


def check_places(folder: Path, path: Path, source: Any = None, begun: bool = True) -> None:
    """Raise RunError when something else stands where the run's folder or its video `path` belongs.

    A run named `b.mp4` makes the folder where a run named `b` puts its video. source: an input of the run. begun: the
    run has a take already, and what stands at `path` may be its video.
    """
    if path.is_dir():
        raise RunError(
            "the finished video's place",
            "must not be taken by a folder",
            f"{ANOTHER_NAME}, or move the folder away",
            f"the folder {path}",
        )
    if folder.exists() and not folder.is_dir():
        raise RunError(
            "the run's place",
            "must not be taken by a file",
            "choose another run name or --run, or move the file away",
            f"the file {folder}",
        )
    inside = (
        path.resolve().relative_to(folder.resolve()).parts if path.resolve().is_relative_to(folder.resolve()) else ()
    )
    if inside and _OF_A_RUN.fullmatch(inside[0]):
        raise RunError("the finished video", "must not replace a file of its run", ANOTHER_NAME, path)
    if isinstance(source, str | os.PathLike) and path.resolve() == Path(source).resolve():
        raise RunError(
            "the finished video",
            "must be another file than the driving video, which it would replace",
            ANOTHER_NAME,
            path,
        )
    if path.is_file() and not begun:
        raise RunError(
            "the finished video",
            "must not replace a file that this run did not make",
            f"{ANOTHER_NAME}, or move the file away",
            path,
        )


def needed_bytes(method: Method, chunks: int) -> tuple[int, int]:
    """What `chunks` chunks that are still to be made, and the finished video, are going to take.

    What a method keeps is float32, its size is exact; of the videos it is an estimate, BITS_PER_PIXEL.
    """
    count = method.plan.chunk_count
    video = method.plan.total_frames * method.width * method.height * BITS_PER_PIXEL // 8
    return int(chunks / count * (method.kept_numbers(count) * _FLOAT32 + video)), video


def check_space(method: Method, chunks: int, folder: Path, path: Path) -> None:
    """Raise RunFailed when a disk has too little room for the chunks to come, or for the finished video."""
    chunk_files, video = needed_bytes(method, chunks)
    needed: Mapping[Path, int] = {folder: chunk_files, path.parent: video}
    if os.stat(folder).st_dev == os.stat(path.parent).st_dev:
        needed = {folder: chunk_files + video}
    for place, size in needed.items():
        disk = shutil.disk_usage(place)
        # Some network volumes do not say how large they are.
        if disk.total and disk.free < size:
            raise RunFailed(
                f"the disk must have room for what the run still has to write, about {amount(size)} (make room, "
                f"or choose another place); got {amount(disk.free)} free in {place}."
            )
