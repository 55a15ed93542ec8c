"""The demo: the embedded toy animates a world for a minute, beside the pose and the truth, with a plot of its drift."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InputError
from ..evaluation.evaluate import evaluate
from ..evaluation.plot import save_plot
from ..evaluation.report import as_json
from ..everanimate.drivers import Drivers
from ..everanimate.flow import sigma_schedule
from ..files import write_whole
from ..media.reader import VideoFrames
from ..media.writer import VideoWriter
from ..ports import FrameSource
from ..runs.fingerprint import digest, weights_digest
from ..runs.job import Job, make_job
from ..runs.progress import Progress, RemainingTime
from ..runs.run import run
from ..runs.settings import RunSettings
from ..runs.store import RunStore
from ..toy.network.engine import FPS, WorldFrames, load_toy
from ..toy.network.state import SETTINGS
from ..toy.world.raster import SIZE
from ..toy.world.world import World

# Enlargement of the 64 pixels in the video that shows pose, animation and truth side by side.
SCALE = 4
_BLOCK = 50


def make_demo(folder: Path, seconds: float, seed: int, say: Callable[[str], None]) -> dict[str, float]:
    """Make animation.mp4, comparison.mp4 (pose, animation, truth), drift.png and drift.json in `folder`.

    seed: of the world. A run that is there goes on. Returns the means over the animation of what is measured against
    the truth. Raises ValueError for less than a frame.
    """
    if not seconds * FPS >= 1:
        raise InputError("seconds", f"must be at least {float(1 / FPS)}", "60", seconds)
    world, frames = World(seed), round(seconds * FPS)
    pose, truth = WorldFrames(world.pose, frames), WorldFrames(world.frames, frames)
    animation = folder / "animation.mp4"
    job = _animate(world, pose, animation, say)
    with VideoFrames(animation) as video:
        _compare(folder / "comparison.mp4", [pose, video, truth])
        boxes = [world.face_box(index) for index in range(frames)]
        report = evaluate(video, truth, world.reference(), job.plan.joins, boxes)
    with write_whole(folder / "drift.json") as part:
        part.write_text(report.to_json(), encoding="utf-8")
    with write_whole(folder / "drift.png") as part:
        save_plot(report, part)
    say(as_json({name: round(value, 3) for name, value in report.numbers.items()}, indent=None))
    say(f"Wrote animation.mp4, comparison.mp4, drift.png and drift.json to {folder}")
    return report.numbers


def _animate(world: World, pose: FrameSource, path: Path, say: Callable[[str], None]) -> Job:
    model = load_toy()
    job = make_job(
        world.reference()[None],
        model.codec,
        Drivers(pose=pose),
        SETTINGS,
        RunSettings(width=SIZE, height=SIZE),
        network={"network": weights_digest(model.transformer.state_dict().items()), "world": world.seed},
        prompts=[digest("")],
    )
    remaining = RemainingTime()

    def on_chunk(done: Progress) -> None:
        say(f"{done}{remaining.after(done)}")

    sample = partial(model.sample_chunk, sigmas=sigma_schedule(SETTINGS.steps, SETTINGS.shift))
    run(job, RunStore(path.with_suffix(".run")), sample, model.codec, path, on_chunk=on_chunk)
    return job


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
