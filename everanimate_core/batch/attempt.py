"""One attempt at a job, in whatever process: it is made, and how it ended is kept in its record."""

import os
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import InputError, one_line
from ..runs.store import RunFailed, RunTaken
from .dispatch import Ended
from .jobs import Job
from .records import Record, write_record

# What torch says of a GPU that fails until the process ends.
_BROKEN = ("CUDA error", "HIP error")
Say = Callable[[str], None]


class Lost(Exception):
    """What the engine needs for a job has died, and the job can go on once it is there again."""


class Engine(Protocol):
    """What makes jobs, one after the other; it keeps what it has loaded for the next one."""

    def make(self, job: Job, say: Say) -> Sequence[Path]:
        """Make a job or what is missing of it; the files that it wrote. say: a line of its log.

        Raises what is wrong with the job; RunTaken where another program is making it, and Lost.
        """

    def close(self) -> None:
        """Let go of everything."""


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended. said: why, where the job is not finished."""

    ended: Ended
    said: str = ""


def log_path(root: Path, name: str) -> Path:
    """What was said while a job was made."""
    return root / f"{name}.log"


def attempt(engine: Engine, job: Job, root: Path, inputs: str) -> Attempt:
    """Make a job. What is wrong with it is kept in its record; a job that another program makes is left alone.

    inputs: see Record. Raises OSError when nothing can be written in `root`, and what leaves a GPU unusable for this
    process: every job after it would fail, too.
    """
    with _log(root, job.name) as say:
        say(f"Begun by process {os.getpid()} on {one_line(socket.gethostname())}")
        try:
            files = _made(engine, job, root, say)
        except RunTaken as taken:
            return Attempt(Ended.TAKEN, str(taken))
        except Lost as lost:
            say(str(lost))
            return Attempt(Ended.LOST, str(lost))
        except Exception as error:
            said = one_line(_said(error))
            say(said)
            if any(broken in said for broken in _BROKEN):
                say(traceback.format_exc())
                raise
            if not isinstance(error, InputError | RunFailed):
                say(traceback.format_exc())
            write_record(root, job.name, Record(job.line, inputs, said))
            return Attempt(Ended.FAILED, said)
    write_record(root, job.name, Record(job.line, inputs, "", files))
    return Attempt(Ended.FINISHED)


def _made(engine: Engine, job: Job, root: Path, say: Say) -> tuple[str, ...]:
    files = engine.make(job, say)
    return tuple(path.relative_to(root).as_posix() for path in files)


def _said(error: Exception) -> str:
    """What is wrong, in one line; what we did not foresee with its class."""
    foreseen = isinstance(error, ValueError | RunFailed | OSError | ImportError)
    return str(error) if foreseen else f"{type(error).__name__}: {error}"


@contextmanager
def _log(root: Path, name: str) -> Iterator[Say]:
    """Lines for the log of a job, behind those of the attempts before."""
    with log_path(root, name).open("a", encoding="utf-8", errors="backslashreplace") as file:
        yield lambda line: print(line, file=file, flush=True)
