"""The demo: what drifts, and what the method does about it.

Two networks of the toy animate the same world for a minute, one in the way of Wan-Animate, one in EverAnimate's. Beside
them stand pose and truth, and for both there is a plot of their drift.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..digests import digest, weights_digest
from ..everanimate.drivers import Drivers
from ..everanimate.flow import sigma_schedule
from ..everanimate.method import ever_animate
from ..media.reader import VideoFrames
from ..media.sound import Sound
from ..media.writer import VideoWriter
from ..ports import FrameSource
from ..runs.job import Job, make_job
from ..runs.progress import Progress, RemainingTime
from ..runs.run import run
from ..runs.settings import RunSettings
from ..runs.store import RunStore
from ..runs.videos import NewestVideo
from ..toy.network.engine import FPS, WorldFrames, roll_out
from ..toy.world.raster import SIZE
from ..toy.world.world import World
from .rows import ROWS
from .showing import frames_of, write_beside, write_drift

# What the files of the two are called.
BASELINE, METHOD = "baseline", "everanimate"


def make_demo(folder: Path, seconds: float, seed: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Make in `folder`: baseline.mp4, everanimate.mp4, comparison.mp4 (pose, both, truth), and the drift of both.

    seed: of the world. The run of everanimate.mp4 goes on if it is there. Returns, for both, the means over the
    animation of what is measured against the truth. Raises ValueError for less than a frame.
    """
    frames = frames_of(seconds)
    world = World(seed)
    pose, truth = WorldFrames(world.pose, frames), WorldFrames(world.frames, frames)
    made = {BASELINE: folder / f"{BASELINE}.mp4", METHOD: folder / f"{METHOD}.mp4"}
    job = animate_world(world, pose, made[METHOD], METHOD, say)
    _roll_out(world, frames, made[BASELINE], say)
    say(f"Writing comparison.mp4: pose, {BASELINE}, {METHOD} and truth side by side")
    with VideoFrames(made[BASELINE]) as baseline, VideoFrames(made[METHOD]) as method:
        write_beside(folder / "comparison.mp4", [pose, baseline, method, truth])
    numbers = {name: write_drift(path, world, job.plan.joins, say) for name, path in made.items()}
    say(f"Wrote {BASELINE}.mp4, {METHOD}.mp4, comparison.mp4, and .drift.png and .drift.json of both, to {folder}")
    return numbers


def animate_world(
    world: World,
    pose: FrameSource,
    path: Path,
    name: str,
    say: Callable[[str], None],
    sound: Sound | None = None,
) -> Job:
    """Animate the figure of a world by a pose with the toy, as a run that is kept chunk by chunk, into `path`.

    name: what it is called in the lines that are said. sound: goes with it.
    """
    row = ROWS["full"]
    model = row.load(None)
    job = make_job(
        ever_animate(world.reference()[None], model.codec, Drivers(pose=pose), row.settings, SIZE, SIZE),
        RunSettings(width=SIZE, height=SIZE),
        network={"network": weights_digest(model.transformer.state_dict().items()), "world": world.seed},
        prompts=[digest("")],
        sound=sound,
    )
    remaining = RemainingTime()

    def on_chunk(done: Progress) -> None:
        say(f"{name}, {done}{remaining.after(done)}")

    sample = partial(model.sample_chunk, sigmas=sigma_schedule(row.settings.steps, row.settings.shift))
    store = RunStore(path.with_suffix(".run"))
    run(job, store, sample, model.codec, NewestVideo(path, store.folder), on_chunk=on_chunk, say=say)
    return job


def _roll_out(world: World, frames: int, path: Path, say: Callable[[str], None]) -> None:
    """The baseline. A run knows one way alone to hand over a chunk, the method's, so this one is not kept by chunks."""
    row = ROWS["baseline"]
    count = row.settings.plan(frames).chunk_count
    with VideoWriter(path, FPS, SIZE, SIZE) as video:
        for made in roll_out(row.load(None), world, frames, row.settings, row.policy):
            video.write(made.frames)
            say(f"{BASELINE}, chunk {made.index + 1}/{count}")
