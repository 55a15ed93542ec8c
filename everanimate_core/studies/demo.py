"""The demo: what drifts, and what the method does about it.

Two networks of the toy animate the same world for a minute, one in the way of Wan-Animate, one in EverAnimate's. Beside
them stand pose and truth, and for both there is a plot of their drift.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..digests import digest, weights_digest
from ..errors import InputError
from ..evaluation.evaluate import evaluate
from ..evaluation.plot import save_plot
from ..evaluation.report import as_json
from ..everanimate.drivers import Drivers
from ..everanimate.flow import sigma_schedule
from ..everanimate.method import ever_animate
from ..files import write_whole
from ..media.reader import VideoFrames
from ..media.writer import VideoWriter
from ..ports import FrameSource
from ..runs.job import Job, make_job
from ..runs.progress import Progress, RemainingTime
from ..runs.run import run
from ..runs.settings import RunSettings
from ..runs.store import RunStore
from ..toy.network.engine import FPS, WorldFrames, roll_out
from ..toy.world.raster import SIZE
from ..toy.world.world import World
from .rows import ROWS

# What the files of the two are called.
BASELINE, METHOD = "baseline", "everanimate"
# Enlargement of the 64 pixels in the video that shows pose, both animations and truth side by side.
SCALE = 4
_BLOCK = 50


def make_demo(folder: Path, seconds: float, seed: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Make in `folder`: baseline.mp4, everanimate.mp4, comparison.mp4 (pose, both, truth), and the drift of both.

    seed: of the world. The run of everanimate.mp4 goes on if it is there. Returns, for both, the means over the
    animation of what is measured against the truth. Raises ValueError for less than a frame.
    """
    if not seconds * FPS >= 1:
        raise InputError("seconds", f"must be at least {float(1 / FPS)}", "60", seconds)
    world, frames = World(seed), round(seconds * FPS)
    pose, truth = WorldFrames(world.pose, frames), WorldFrames(world.frames, frames)
    made = {BASELINE: folder / f"{BASELINE}.mp4", METHOD: folder / f"{METHOD}.mp4"}
    job = _animate(world, pose, made[METHOD], say)
    _roll_out(world, frames, made[BASELINE], say)
    with VideoFrames(made[BASELINE]) as baseline, VideoFrames(made[METHOD]) as method:
        _compare(folder / "comparison.mp4", [pose, baseline, method, truth])
    boxes = [world.face_box(index) for index in range(frames)]
    numbers = {}
    for name, path in made.items():
        with VideoFrames(path) as video:
            report = evaluate(video, truth, world.reference(), job.plan.joins, boxes)
        with write_whole(folder / f"{name}.drift.json") as part:
            part.write_text(report.to_json(), encoding="utf-8")
        with write_whole(folder / f"{name}.drift.png") as part:
            save_plot(report, part)
        numbers[name] = report.numbers
        shown = as_json({number: round(value, 3) for number, value in report.numbers.items()}, indent=None)
        say(f"{name}: {shown}")
    say(f"Wrote {BASELINE}.mp4, {METHOD}.mp4, comparison.mp4, and .drift.png and .drift.json of both, to {folder}")
    return numbers


def _animate(world: World, pose: FrameSource, path: Path, say: Callable[[str], None]) -> Job:
    """The method, as a run that is kept chunk by chunk."""
    row = ROWS["full"]
    model = row.load(None)
    job = make_job(
        ever_animate(world.reference()[None], model.codec, Drivers(pose=pose), row.settings, SIZE, SIZE),
        RunSettings(width=SIZE, height=SIZE),
        network={"network": weights_digest(model.transformer.state_dict().items()), "world": world.seed},
        prompts=[digest("")],
    )
    remaining = RemainingTime()

    def on_chunk(done: Progress) -> None:
        say(f"{METHOD}, {done}{remaining.after(done)}")

    sample = partial(model.sample_chunk, sigmas=sigma_schedule(row.settings.steps, row.settings.shift))
    run(job, RunStore(path.with_suffix(".run")), sample, model.codec, path, on_chunk=on_chunk)
    return job


def _roll_out(world: World, frames: int, path: Path, say: Callable[[str], None]) -> None:
    """The baseline. A run knows one way alone to hand over a chunk, the method's, so this one is not kept by chunks."""
    row = ROWS["baseline"]
    count = row.settings.plan(frames).chunk_count
    with VideoWriter(path, FPS, SIZE, SIZE) as video:
        for made in roll_out(row.load(None), world, frames, row.settings, row.policy):
            video.write(made.frames)
            say(f"{BASELINE}, chunk {made.index + 1}/{count}")


def _compare(path: Path, sources: list[FrameSource]) -> None:
    """Write a video of the sources side by side, enlarged."""
    count = sources[0].frame_count
    height, width = (SCALE * side for side in sources[0].read([0]).shape[1:3])
    with VideoWriter(path, FPS, width * len(sources), height) as video:
        for start in range(0, count, _BLOCK):
            block = range(start, min(start + _BLOCK, count))
            video.write(torch.cat([_enlarged(source.read(block)) for source in sources], dim=2))


def _enlarged(frames: Tensor) -> Tensor:
    return interpolate(frames.movedim(-1, 1), scale_factor=SCALE, mode="nearest").movedim(1, -1)
