"""The demo of LongAnimation: the toy colours a world's line art like one picture, beside line art and truth."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..digests import digest, weights_digest
from ..longanimation.method import long_animation
from ..media.reader import VideoFrames
from ..runs.job import make_job
from ..runs.progress import Progress, RemainingTime
from ..runs.run import run
from ..runs.settings import RunSettings
from ..runs.store import RunStore
from ..runs.videos import NewestVideo
from ..toy.network.colour_dit import load_colour
from ..toy.network.colour_state import SETTINGS
from ..toy.network.engine import WorldFrames
from ..toy.world.raster import SIZE
from ..toy.world.world import World
from .showing import frames_of, write_beside, write_drift

# What its files are called.
NAME = "coloured"


def make_colour_demo(folder: Path, seconds: float, seed: int, say: Callable[[str], None]) -> dict[str, float]:
    """Make in `folder`: coloured.mp4, comparison.mp4 (line art, colour, truth), and the drift of the first.

    seed: of the world. The run of coloured.mp4 goes on if it is there. Returns the means over the animation of what is
    measured against the truth. Raises ValueError for less than a frame.
    """
    frames = frames_of(seconds)
    world, path = World(seed), folder / f"{NAME}.mp4"
    lineart, model = WorldFrames(world.lineart, frames), load_colour()
    lines = world.reference_lineart()[None]
    job = make_job(
        long_animation(lineart, world.reference()[None], SETTINGS, SIZE, SIZE, reference_lineart=lines),
        RunSettings(width=SIZE, height=SIZE),
        network={
            "network": weights_digest(model.base.state_dict().items()),
            "sketch": weights_digest(model.sketch.state_dict().items()),
            "vae": weights_digest(model.codec.vae.state_dict().items()),
            "world": world.seed,
        },
        prompts=[digest("")],
    )
    remaining = RemainingTime()

    def on_window(done: Progress) -> None:
        say(f"{done}{remaining.after(done)}")

    sample = partial(model.sample_window, settings=SETTINGS)
    store = RunStore(path.with_suffix(".run"))
    run(job, store, sample, model.codec, NewestVideo(path, store.folder), on_chunk=on_window, say=say)
    with VideoFrames(path) as coloured:
        write_beside(folder / "comparison.mp4", [lineart, coloured, WorldFrames(world.frames, frames)])
    numbers = write_drift(path, world, job.plan.joins, say)
    say(f"Wrote {NAME}.mp4, comparison.mp4, {NAME}.drift.png and {NAME}.drift.json to {folder}")
    return numbers
