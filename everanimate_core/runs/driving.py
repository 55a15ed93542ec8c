"""A folder of driving videos, as long work has it: one program at a time writes there, and failures in words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from .ownership import OwnershipLost
from .store import RunFailed, locked_folder, taken_over

WHAT = "a folder of driving videos"


@contextmanager
def driving_folder(folder: Path, again: str) -> Iterator[Callable[[], None]]:
    """Keep other programs out of `folder`, whose absolute path is given, while the block makes driving videos there.

    Gives the check that no other program took over meanwhile; what it raises has to leave the block. again: what goes
    on from there after a failure. Raises RunError when there is another writer, RunFailed when another one took over
    and when files cannot be written.
    """
    try:
        with locked_folder(folder, WHAT) as check:
            yield check
    except OwnershipLost:
        raise taken_over(WHAT, folder) from None
    except BrokenPipeError:
        # Nobody reads any more what callbacks print. The files are in order.
        raise
    except (OSError, av.FFmpegError) as error:
        raise RunFailed(
            f"the files in {folder} must be writable and the disk not full; got {error}. What was found is kept there; "
            f"{again} goes on from there."
        ) from error
