"""What a demo of the toy shows of a finished video: itself beside others, and its drift against the truth."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InputError
from ..evaluation.evaluate import evaluate
from ..evaluation.plot import save_plot
from ..evaluation.report import as_json
from ..files import write_whole
from ..media.reader import VideoFrames
from ..media.sound import Sound
from ..media.writer import VideoWriter
from ..ports import FrameSource
from ..tenths import every_tenth
from ..toy.network.engine import FPS, WorldFrames
from ..toy.world.raster import SIZE
from ..toy.world.world import World

# Enlargement of the 64 pixels in the video that shows several side by side.
SCALE = 4
_BLOCK = 50


def frames_of(seconds: float) -> int:
    """How many frames so many seconds are; InputError for less than one."""
    if not seconds * FPS >= 1:
        raise InputError("seconds", f"must be at least {float(1 / FPS)}", "60", seconds)
    return round(seconds * FPS)


def write_beside(path: Path, sources: Sequence[FrameSource], sound: Sound | None = None) -> None:
    """Write a video of the sources side by side, enlarged to one size; they are of one length, and square.

    A source that has the size already stays as it is. sound: goes with the video.
    """
    count, side = sources[0].frame_count, SCALE * SIZE
    with VideoWriter(path, FPS, side * len(sources), side, audio_from=sound) as video:
        for start in range(0, count, _BLOCK):
            block = range(start, min(start + _BLOCK, count))
            video.write(torch.cat([_enlarged(source.read(block), side) for source in sources], dim=2))


def write_drift(path: Path, world: World, joins: Sequence[int], say: Callable[[str], None]) -> dict[str, float]:
    """Measure a video of a world against the truth; its numbers, which are said, too.

    Beside the video it writes .drift.png, a plot, and .drift.json. joins: the frames at which chunks begin.
    """
    with VideoFrames(path) as video:
        frames = range(video.frame_count)
        truth, boxes = WorldFrames(world.frames, len(frames)), [world.face_box(index) for index in frames]
        told = every_tenth(lambda done, total: say(f"{path.stem}, measured {done} of {total} frames"))
        report = evaluate(video, truth, world.reference(), joins, boxes, on_frames=told)
    with write_whole(path.with_suffix(".drift.json")) as part:
        part.write_text(report.to_json(), encoding="utf-8")
    with write_whole(path.with_suffix(".drift.png")) as part:
        save_plot(report, part)
    shown = as_json({number: round(value, 3) for number, value in report.numbers.items()}, indent=None)
    say(f"{path.stem}: {shown}")
    return report.numbers


def _enlarged(frames: Tensor, side: int) -> Tensor:
    return interpolate(frames.movedim(-1, 1), (side, side), mode="nearest").movedim(1, -1)
