"""Driving videos as the first step of another command: made once, and kept while nothing that they are made of changes.

What is animated goes on from just these files. Made anew, they might differ in a bit, and nothing finished would fit.
"""

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from ..digests import digest, file_digest
from ..driving.settings import Settings
from ..json_files import read_json, write_json
from .command import Command
from .driving import VIDEOS, FinderOptions, prepare_in, summary
from .inputs import opened, opened_sound

KEYPOINTS = "openpose.json"
# Says what the files beside it were made of.
MADE = "made.json"


def prepare_once(
    folder: Path,
    video: Path,
    settings: Settings,
    finder: FinderOptions,
    reference: Tensor | None,
    command: Command,
    seconds: float = 0,
) -> None:
    """The driving videos of the video file `video` in `folder`, made unless they are there, of the same inputs.

    seconds: of the video, from its start, that are looked at (0: all). Raises what prepare_in does, and InputError for
    a video that cannot be read.
    """
    with ExitStack() as files:
        source = opened(files, "video", video, command.say, duration=seconds)
        made_of = _inputs(video, settings, finder, reference, seconds)
        if _kept(folder) == {"inputs": made_of, "files": _files(folder)}:
            command.say(f"The driving videos in {folder} are kept")
            return
        sound = opened_sound(files, video, command.say)
        made = prepare_in(folder, source, settings, finder, reference, sound, command)
    write_json(folder / MADE, {"inputs": made_of, "files": _files(folder)})
    for line in summary(made, folder):
        command.say(line)


def _inputs(video: Path, settings: Settings, finder: FinderOptions, reference: Tensor | None, seconds: float) -> str:
    """Stands for all that driving videos are made of. Networks do not count: a run goes on where they were replaced."""
    values = {**vars(settings), "fps": str(settings.fps)}
    return digest(file_digest(video), values, finder.engine, finder.given(), reference, seconds)


def _files(folder: Path) -> dict[str, str]:
    """What is in a folder of driving videos, {name: digest}."""
    there = (name for name in (*VIDEOS, KEYPOINTS) if (folder / name).is_file())
    return {name: file_digest(folder / name) for name in there}


def _kept(folder: Path) -> Any:
    """What the last call wrote of itself; None where there is nothing that can be read."""
    with suppress(ValueError):
        return read_json(folder / MADE, ValueError)
    return None
