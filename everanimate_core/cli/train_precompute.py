"""`everanimate train precompute`: a training set from films."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import tyro

from ..errors import InputError
from ..everanimate.geometry import ChunkGeometry
from ..everanimate.settings import Settings
from ..runs.fingerprint import weights_digest
from ..runs.settings import RunSettings
from ..toy.network.state import TOY
from ..training.loop import Accelerator
from ..training.precompute import precompute
from ..training.records import SetSettings
from ..training.sources import list_films
from .command import Command
from .models import training_parts
from .options import MODEL, Fps, Parts, chosen, option, settings_options
from .toy_training import ToyEntry

VideoOptions = settings_options(RunSettings, "width", "height", "fit")
ChunkOptions = settings_options(Settings, "chunk_frames")


@dataclass(frozen=True)
class Options:
    """Make a training set from films."""

    data: option(str, f"Folder, .csv or .jsonl of films, or {TOY!r}: procedural worlds.", "DIR")
    model: option(str, MODEL + ".", "PATH")
    out: option(Path, "The training set; one that is there is completed.", "DIR")
    parts: Parts = None
    films: option(int | None, f"How many worlds --data {TOY} has.", "N") = None
    fps: option(Fps, "Frames per second; films of another rate are left out.", "FPS", 25) = Fraction(25)
    candidates: option(int, "Frames a film that anchors are drawn from.", "FRAMES", 16) = 16
    video: tyro.conf.OmitArgPrefixes[VideoOptions] = field(default_factory=VideoOptions)
    chunk: tyro.conf.OmitArgPrefixes[ChunkOptions] = field(default_factory=ChunkOptions)


def main(options: Options, command: Command) -> None:
    """Make the set, or what is missing of it."""
    command.kept = "finished records are kept"
    if options.films is not None and options.data != TOY:
        got = f"it with --data {options.data}"
        raise InputError("films", f"must be left out unless --data is {TOY}, whose worlds it counts", "", got)
    entries = [ToyEntry(number) for number in range(options.films or 0)]
    if options.data != TOY:
        entries = list_films(Path(options.data))
    elif not entries:
        raise InputError("films", f"must be at least 1 with --data {TOY}", "1024", options.films)
    video, chunk = chosen(RunSettings, options.video, options.model), chosen(Settings, options.chunk, options.model)
    parts = training_parts(options.model, options.parts, Accelerator().device)
    codec = parts.codec()
    settings = SetSettings(
        ChunkGeometry(chunk.chunk_frames),
        video.width,
        video.height,
        str(options.fps),
        video.fit,
        options.candidates,
        # One film with a face makes it a set with faces, where films without are left out.
        any(entry.face is not None for entry in entries),
        weights_digest(codec.vae.state_dict().items()),
    )
    films = precompute(entries, settings, parts, codec, options.out, command.say)
    command.say(f"Wrote {films.folder}: {len(films.records)} films, {len(films.skipped)} left out")
