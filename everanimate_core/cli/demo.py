"""`everanimate demo`: an animation with the embedded toy, nothing to download."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import tyro

from ..driving.pose_keypoint import keypoints_of, load_pose_keypoint
from ..driving.settings import OFF, Settings
from ..errors import InputError, check_number
from ..media.sound import FileSound
from ..studies.colour_demo import make_colour_demo
from ..studies.dance_demo import DANCE, make_dance_demo
from ..studies.demo import make_demo
from ..studies.showing import frames_of
from ..toy.network.engine import FPS
from ..toy.world.raster import SIZE
from .command import Command
from .driving import FinderOptions, check_with_video
from .inputs import opened
from .options import option
from .prepared import KEYPOINTS, prepare_once


@dataclass(frozen=True)
class Options:
    """Animate with the embedded toy, beside the truth, and measure what drifts. Nothing is downloaded.

    The same command goes on where it was stopped.
    """

    method: option(Literal["animate", "colour"], "Animate a person, or colour line art.", None, "animate") = "animate"
    out: option(Path, "Where the videos, the plot and the numbers go.", "DIR", "demo") = Path("demo")
    seconds: option(float, "Length of the animation; with --video, at most.", "SECONDS", 60.0) = 60.0
    seed: option(int, "Seed of the drawn world that is shown.", "N", 0) = 0
    video: option(
        Path | None,
        "A video of a real dancer: the toy's drawn figure dances the same. It does not show how good the "
        "real network's pictures are.",
        "VIDEO",
        "none",
    ) = None
    finder: tyro.conf.OmitArgPrefixes[FinderOptions] = field(default_factory=FinderOptions)


def main(options: Options, command: Command) -> None:
    """Make the demo."""
    command.kept = "finished chunks are kept"
    check_number("seconds", options.seconds, "60")
    frames_of(options.seconds)
    # A network this small gains nothing from threads, and loses a lot where other programs want the cores.
    torch.set_num_threads(1)
    if options.video is not None:
        _dance(options, options.video, command)
        return
    check_with_video(options.finder)
    make = make_colour_demo if options.method == "colour" else make_demo
    make(options.out, options.seconds, options.seed, command.say)


def _dance(options: Options, path: Path, command: Command) -> None:
    """The demo of a dancer."""
    if options.method == "colour":
        raise InputError("method", "must be animate where --video is given", "", options.method)
    folder = options.out / f"{DANCE}.driving"
    # The pose is drawn anew for the figure. Keypoints are those of the whole video.
    settings = Settings(width=4 * SIZE, height=4 * SIZE, fps=float(FPS), retarget=OFF)
    seconds = options.seconds if options.finder.keypoints is None else 0
    prepare_once(folder, path, settings, options.finder, None, command, seconds)
    command.kept = "finished chunks are kept"
    with ExitStack() as files:
        video = opened(files, "video", path, lambda line: None, FPS, options.seconds)
        sound = files.enter_context(FileSound(path))
        dancer = keypoints_of(load_pose_keypoint(folder / KEYPOINTS))
        make_dance_demo(options.out, dancer, video, sound, options.seed, command.say)
