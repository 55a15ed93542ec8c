"""The videos and pictures that options name, and where a result may go."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..media.open import VideoError
from ..media.reader import VideoFrames, telling_video
from ..media.sound import FileSound

# Containers that hold the segments' H.264 as it is.
OUT_SUFFIXES = (".mp4", ".mov", ".mkv")


def opened(
    files: ExitStack,
    option: str,
    path: Path,
    say: Callable[[str], None],
    fps: Fraction | None = None,
    duration: float = 0,
) -> VideoFrames:
    """The video of an option, open as long as `files` are. fps, duration: see VideoFrames.

    Raises VideoError in the name of the option.
    """
    try:
        return files.enter_context(telling_video(say, path, fps, duration=duration))
    except VideoError as error:
        rule = error.rule if error.field == "the file" else f"{error.field} {error.rule}"
        raise VideoError(option, rule, error.example, error.got) from error


def opened_sound(files: ExitStack, path: Path, say: Callable[[str], None]) -> FileSound:
    """The sound of a video, open as long as `files` are. say: is told what whoever uses it should know."""
    sound = files.enter_context(FileSound(path))
    for note in sound.notes:
        say(note)
    return sound


def first_picture(option: str, path: Path, say: Callable[[str], None]) -> Tensor:
    """The picture of an option, or the first frame of a video: [1, H, W, 3] in 0..1.

    Raises VideoError in the name of the option.
    """
    with ExitStack() as files:
        try:
            return opened(files, option, path, say).read([0])
        except VideoError as error:
            rule = error.rule.replace("readable video", "readable picture")
            raise VideoError(option, rule, error.example, error.got) from error


def check_out(out: Path, inputs: Sequence[Path | None]) -> None:
    """Raise InputError unless `out` can be the video of a run with these inputs, which it must not replace."""
    if out.suffix.lower() not in OUT_SUFFIXES or out.is_dir():
        raise InputError("out", f"must be a video file that ends in {', '.join(OUT_SUFFIXES)}", "dance.mp4", out)
    if out.resolve() in [path.resolve() for path in inputs if path is not None]:
        raise InputError("out", "must be another file than the inputs, which it would replace", "dance.mp4", out)
