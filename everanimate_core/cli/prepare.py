"""`everanimate prepare`: any video of a person in, the videos that drive an animation out."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import tyro

from ..driving.engines.fetch import PACKAGE, REQUIREMENT, WHEEL, fetch_networks
from ..driving.settings import Settings
from ..errors import InputError
from .command import Command
from .driving import FinderOptions, prepare_in, summary
from .inputs import first_picture, opened, opened_sound
from .options import option, settings_options

SettingsOptions = settings_options(Settings)


@dataclass(frozen=True)
class Options:
    """Make pose, face, background and mask videos, in step, from any video of a person."""

    video: tyro.conf.Positional[option(Path | None, "The video of the person who drives.", "VIDEO", "none")] = None
    reference: option(Path | None, "The person who will be animated, to whom the pose is fitted.", "IMAGE", "none") = (
        None
    )
    out: option(
        Path | None, "Folder for the videos. One that is there goes on.", "DIR", "VIDEO without its suffix + .driving"
    ) = None
    fetch_models: option(
        bool,
        f"Get MediaPipe's networks ({WHEEL.megabytes}), which the engine litert needs, from PyPI into --pose-models or "
        "else the user's cache. No VIDEO is needed.",
        None,
        False,
    ) = False
    finder: tyro.conf.OmitArgPrefixes[FinderOptions] = field(default_factory=FinderOptions)
    settings: tyro.conf.OmitArgPrefixes[SettingsOptions] = field(default_factory=SettingsOptions)


def main(options: Options, command: Command) -> None:
    """Fetch networks, make the videos, or both.

    Raises InputError for what cannot serve, OSError when networks cannot be fetched, RunFailed when files cannot be
    written.
    """
    if options.video is None and not options.fetch_models:
        raise InputError("a VIDEO or --fetch-models", "must be given", "everanimate prepare dance.mp4", "none")
    settings = Settings(**vars(options.settings))
    if options.fetch_models:
        command.say(f"The networks are in {fetch_networks(options.finder.pose_models, command.say)}")
        if find_spec(PACKAGE) is None:
            command.say(f"The engine litert also needs ai-edge-litert, the extra pose: pip install '{REQUIREMENT}'")
    if options.video is not None:
        _prepare(options, options.video, settings, command)


def _prepare(options: Options, path: Path, settings: Settings, command: Command) -> None:
    folder = options.out or path.with_suffix(".driving")
    with ExitStack() as files:
        video = opened(files, "video", path, command.say)
        reference = None
        if options.reference is not None:
            reference = first_picture("reference", options.reference, command.say)
        sound = opened_sound(files, path, command.say)
        made = prepare_in(folder, video, settings, options.finder, reference, sound, command)
    for line in summary(made, folder):
        command.say(line)
