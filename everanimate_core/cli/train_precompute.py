"""`everanimate train precompute`: a training set from films."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import tyro

from ..digests import weights_digest
from ..errors import InputError
from ..everanimate.geometry import ChunkGeometry
from ..everanimate.settings import Settings
from ..media.rates import file_rate
from ..runs.settings import RunSettings
from ..toy.network.state import TOY
from ..training.loop import Accelerator
from ..training.precompute import precompute
from ..training.records import SetSettings
from ..training.sources import Entry, list_films
from .command import Command
from .models import training_parts
from .options import MODEL, Fps, Parts, chosen, option, settings_options
from .toy_training import TOY_LIT, ToyEntry

MOST_FILMS = 1_000_000
FIT = (
    "What to do with films of another size, and with their pose and face videos: crop the middle to fill the size (as "
    "the authors do with all three), stretch both sides on their own, pad with black, or leave the film out (error)."
)
VideoOptions = settings_options(RunSettings, "width", "height", "fit", released={"fit": "crop"}, helps={"fit": FIT})
ChunkOptions = settings_options(Settings, "chunk_frames")


@dataclass(frozen=True)
class Options:
    """Make a training set from films."""

    data: option(str, f"Folder, .csv or .jsonl of films, or {TOY!r} or {TOY_LIT!r}: procedural worlds.", "DIR")
    model: option(str, MODEL, "PATH")
    out: option(Path, "The training set; one that is there is completed.", "DIR")
    parts: Parts = None
    films: option(int | None, f"How many worlds --data {TOY} or {TOY_LIT} has.", "N", "none") = None
    fps: option(Fps, "Frames per second; films of another rate are left out.", "FRAMES-A-SECOND", 25) = Fraction(25)
    reference: option(
        Literal["start", "own"],
        "One of a film's first frames, or a picture of its own from another moment (NAME.reference.png).",
        None,
        "start",
    ) = "start"
    anchors: option(
        Literal["released", "roll-out"],
        "Frames of the first chunk alone, or, as an animation has them, the reference behind one less.",
        None,
        "released",
    ) = "released"
    motion_pixels: option(
        bool, "Keep the first chunks, for `train --perturbed-motion`: records are larger.", None, False
    ) = False
    candidates: option(int, "Frames a film that anchors are drawn from.", "FRAMES", 16) = 16
    video: tyro.conf.OmitArgPrefixes[VideoOptions] = field(default_factory=VideoOptions)
    chunk: tyro.conf.OmitArgPrefixes[ChunkOptions] = field(default_factory=ChunkOptions)


def main(options: Options, command: Command) -> None:
    """Make the set, or what is missing of it."""
    command.kept = "finished records are kept"
    toys = (TOY, TOY_LIT)
    if options.films is not None and options.data not in toys:
        got = f"it with --data {options.data}"
        raise InputError(
            "films", f"must be left out unless --data is {TOY} or {TOY_LIT}, whose worlds it counts", "", got
        )
    entries: Sequence[Entry]
    if options.data not in toys:
        entries = list_films(Path(options.data))
    elif options.films is None or not 1 <= options.films <= MOST_FILMS:
        rule, got = f"must be between 1 and {MOST_FILMS} with --data {options.data}", options.films
        raise InputError("films", rule, "1024", "none" if got is None else got)
    else:
        entries = [ToyEntry(number, lit=options.data == TOY_LIT) for number in range(options.films)]
    rate = file_rate(options.fps)
    video, chunk = chosen(RunSettings, options.video, options.model), chosen(Settings, options.chunk, options.model)
    parts = training_parts(options.model, options.parts, Accelerator().device)
    codec = parts.codec()
    settings = SetSettings(
        ChunkGeometry(chunk.chunk_frames),
        video.width,
        video.height,
        str(rate),
        video.fit,
        options.candidates,
        # One film with a face makes it a set with faces, where films without are left out.
        any(entry.face is not None for entry in entries),
        weights_digest(codec.vae.state_dict().items()),
        options.reference,
        options.anchors,
        options.motion_pixels,
    )
    films = precompute(entries, settings, parts, codec, options.out, command.say)
    command.say(f"Wrote {films.folder}: {len(films.records)} films, {len(films.skipped)} left out")
