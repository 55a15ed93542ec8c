"""Driving videos from the command line: what finds the person, and a folder that one program at a time writes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..driving.engines.choice import AUTO, ENGINES, chosen_engine
from ..driving.pose_keypoint import load_pose_keypoint
from ..driving.prepare import FOUND, Prepared, prepare
from ..driving.settings import Settings
from ..errors import InputError, one_line
from ..media.sound import Sound
from ..ports import FrameSource
from ..runs.driving import driving_folder
from ..tenths import every_tenth
from .command import Command
from .options import option

VIDEOS = ("pose.mp4", "face.mp4", "background.mp4", "mask.mp4")


@dataclass(frozen=True)
class FinderOptions:
    """What finds the person."""

    engine: option(
        Literal[ENGINES],
        "What finds people: onnx (the released detector's files), litert (MediaPipe's networks, which find masks too), "
        "or auto: onnx where its files are in --pose-models, else litert.",
        None,
        AUTO,
    ) = AUTO
    pose_models: option(
        Path | None,
        "Folder of the engine's networks: *.onnx, or MediaPipe's wheel.",
        "DIR",
        "the user's cache, then for litert the installed package mediapipe",
    ) = None
    keypoints: option(
        Path | None,
        "Keypoints of every frame of the video, as JSON in the format POSE_KEYPOINT. Nobody is looked for then.",
        "FILE",
        "none",
    ) = None

    def given(self) -> list[dict[str, Any]] | None:
        """The keypoints, None where there are none. Raises InputError for a file that holds something else."""
        return None if self.keypoints is None else load_pose_keypoint(self.keypoints)


def check_with_video(*groups: Any) -> None:
    """Raise InputError for an option of these groups that is given though there is no --video to prepare."""
    for group in groups:
        for name, value in vars(group).items():
            if value != getattr(type(group)(), name):
                raise InputError(name, "can only be given with --video", "", one_line(value))


def prepare_in(
    folder: Path,
    video: FrameSource,
    settings: Settings,
    finder: FinderOptions,
    reference: Tensor | None,
    sound: Sound,
    command: Command,
) -> Prepared:
    """Make the driving videos of a video in `folder`; see driving.prepare, for reference and sound, too.

    Raises InputError, too, for a folder with videos of these names that this program did not make, and RunFailed when
    files cannot be written.
    """
    check_folder(folder)
    if finder.pose_models is not None and not finder.pose_models.exists():
        raise InputError("pose_models", "must be there", "or be left out", finder.pose_models)
    folder = Path(os.path.abspath(folder))
    keypoints = finder.given()
    engine = None
    if keypoints is None or (reference is not None and settings.retargeting):
        engine = chosen_engine(finder.engine, finder.pose_models, settings.replacing, command.say)
    command.kept = "what was found is kept"
    told = every_tenth(_told(command))
    with driving_folder(folder, "the same command") as check:

        def progress(done: int, total: int) -> None:
            check()
            told(done, total)

        return prepare(video, engine, settings, folder, reference, keypoints, sound, command.say, progress)


def check_folder(folder: Path) -> None:
    """Raise InputError unless driving videos may be written there: nobody else's video is in their place."""
    what, rule = "the folder of driving videos", "must be a new one, or one that this program made"
    if folder.exists() and not folder.is_dir():
        raise InputError(what, rule, "choose another --out", f"the file {folder}")
    others = [name for name in VIDEOS if (folder / name).exists()]
    if others and not (folder / FOUND).is_dir():
        raise InputError(what, rule, "choose another --out", f"{folder}, which has another {others[0]}")


def summary(made: Prepared, folder: Path) -> list[str]:
    """What is seen of the person, and which files there are."""
    shares = ", ".join(f"{part} {share:.0%}" for part, share in made.report["shares"].items())
    files = [made.pose, made.face, made.background, made.mask, made.keypoints, made.openpose]
    names = ", ".join(file.name for file in files if file is not None)
    return [f"Seen in {made.report['frames']} frames: {shares}", f"Wrote {names} and report.json to {folder}"]


def _told(command: Command) -> Callable[[int, int], None]:
    """Say how far it is, of two passes over the frames."""

    def say(done: int, total: int) -> None:
        frames = total // 2
        looked = done <= frames
        command.say(f"{'looked at' if looked else 'drew'} {done if looked else done - frames} of {frames} frames")

    return say
