"""The videos and pictures that options name."""

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from ..media.open import VideoError
from ..media.reader import VideoFrames, telling_video


def opened(
    files: ExitStack, option: str, path: Path, say: Callable[[str], None], fps: Fraction | None = None
) -> VideoFrames:
    """The video of an option, open as long as `files` are. fps: see VideoFrames.

    Raises VideoError in the name of the option.
    """
    try:
        return files.enter_context(telling_video(say, path, fps))
    except VideoError as error:
        rule = error.rule if error.field == "the file" else f"{error.field} {error.rule}"
        raise VideoError(option, rule, error.example, error.got) from error
