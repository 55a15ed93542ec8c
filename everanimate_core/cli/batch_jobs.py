"""Jobs of a batch that are commands of ours: a line says the options, and ROOT gets what the command would write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import av

from ..batch.attempt import Say
from ..batch.dispatch import Task
from ..batch.jobs import Job
from ..batch.status import SETS
from ..errors import InputError, shown
from ..media.open import open_video
from ..runs.store import RunTaken
from ..toy.network.state import TOYS
from .command import Command
from .kept import Kept
from .options import called
from .toy_training import TOY_LIT
from .values import from_values

# Commands that a line can name, and how the name of what each makes ends. The first is meant where a line names none.
# The commands that take `kept` keep what they have loaded for the next job; they have `settings_of` and `network_of`.
ENDINGS = {"animate": ".mp4", "colour": ".mp4", "train precompute": SETS}
# Options that say where the result goes, which a batch decides.
_PLACES = ("out", "run")
# Options that are a path or the name of something embedded.
_PATHS = ("model", "data")
_EMBEDDED = (*TOYS, TOY_LIT)


@dataclass
class _Logged(Command):
    """A command whose lines go into the log of its job."""

    log: Say = print

    def say(self, line: str) -> None:
        self.log(line)

    note = say


class OwnCommands:
    """An engine that makes jobs by our own commands; see batch.attempt.Engine."""

    def __init__(self, root: Path):
        self.root, self.kept = root, Kept()

    def make(self, job: Job, say: Say) -> list[Path]:
        """Run the command of a job. An InputError is raised in the words of the line's options."""
        module, options = options_of(job, self.root)
        more = {"kept": self.kept} if "kept" in signature(module.main).parameters else {}
        with in_options(module.Options):
            module.main(options, _Logged(log=say), **more)
        return [options.out]

    def close(self) -> None:
        """Nothing: what is loaded goes with the process."""


def options_of(job: Job, root: Path) -> tuple[ModuleType, Any]:
    """The command of a job, and its options. Raises InputError, with the line, for a command or an option that there is
    not, one that is missing, and a value that does not fit."""
    values = dict(job.values)
    name = values.pop("command", next(iter(ENDINGS)))
    if not isinstance(name, str) or name not in ENDINGS:
        raise job.refuse("must have a command that a batch can run", ", ".join(ENDINGS), shown(name))
    for place in _PLACES:
        if place in values:
            rule = f"must leave out {place!r}: results go to the --out of the batch"
            raise job.refuse(rule, "", shown(values[place]))
    for text in _PATHS:
        if isinstance(values.get(text), str) and values[text] not in _EMBEDDED and (job.folder / values[text]).exists():
            values[text] = str(job.folder / values[text])
    module = import_module(f".{name.replace(' ', '_')}", __package__)
    out = os.path.abspath(root / f"{job.name}{ENDINGS[name]}")
    with in_line(job):
        return module, from_values(module.Options, {**values, "out": out}, job.folder)


@contextmanager
def in_line(job: Job) -> Iterator[None]:
    """An InputError of the block says in which line it is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"line {job.line}: {error.field}", error.rule, error.example, error.got) from None


@contextmanager
def in_options(options: type) -> Iterator[None]:
    """An InputError of the block names the option as the command line does."""
    try:
        yield
    except RunTaken:
        raise
    except InputError as error:
        name = called(options, error.field)
        field = f"{name}:" if name else error.field
        raise InputError(field, error.rule, error.example, error.got) from error


def task_of(job: Job, root: Path) -> Task:
    """A job as it is dispatched. Its length is that of its video, times what a frame of it costs beside others.

    Where another video says how long it is, the header of that does; one that cannot be read is no work. Raises
    InputError, with the line, for options that cannot serve.
    """
    module, options = options_of(job, root)
    if not hasattr(module, "settings_of"):
        # A training set: nobody knows how long its films are, and its network is not kept.
        return Task(job.name, 0)
    with in_line(job):
        settings, video = module.settings_of(options)
    frames = video.total_frames or _frames(options)
    guided = 1 if settings.cfg == 1 else 2
    network = str((module.__name__, *module.network_of(options)))
    return Task(job.name, frames * settings.steps * guided * video.width * video.height * video.candidates, network)


def _frames(options: Any) -> float:
    """How many frames the video that drives a job has, about."""
    path = next(filter(None, (getattr(options, name, None) for name in ("pose", "lineart", "video"))), None)
    if isinstance(path, Path):
        with suppress(InputError, OSError), open_video(path) as container:
            return float((container.duration or 0) / av.time_base * (container.streams.video[0].average_rate or 0))
    return 0.0
