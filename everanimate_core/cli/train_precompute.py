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
    """Encode films into a training set, which `everanimate train` reads. The same command adds what is missing."""

    data: option(
        str, f"Films: a folder, or a list in .csv or .jsonl. {TOY!r} or {TOY_LIT!r}: worlds that the toy draws.", "DIR"
    )
    model: option(str, MODEL, "PATH")
    out: option(Path, "Folder of the training set. One that is there is completed.", "DIR")
    parts: Parts = None
    films: option(int | None, f"How many worlds are drawn; needed with --data {TOY} or {TOY_LIT}.", "N", "none") = None
    fps: option(Fps, "Frames per second of the set. Films of another rate are left out.", "FRAMES-A-SECOND", 25) = (
        Fraction(25)
    )
    reference: option(
        Literal["start", "own"],
        "The reference picture: start = one of a film's first frames, own = NAME.reference.png, of another moment.",
        None,
        "start",
    ) = "start"
    anchors: option(
        Literal["released", "roll-out"],
        "Pictures of the identity memory: released = frames of the first chunk alone, roll-out = one frame less and "
        "then the reference, as an animation has them.",
        None,
        "released",
    ) = "released"
    motion_pixels: option(
        bool, "Keep the frames of first chunks, for `train --perturbed-motion`. The set gets larger.", None, False
    ) = False
    candidates: option(
        int, "From how many frames of a film the pictures of the identity memory are drawn.", "FRAMES", 16
    ) = 16
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
