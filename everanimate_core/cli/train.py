"""`everanimate train`: a training set from films, and a LoRA from a training set."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from ..everanimate.geometry import ChunkGeometry
from ..lora.files import read_lora
from ..runs.fingerprint import weights_digest
from ..toy.network.state import TOY, TOYS
from ..training.loop import Accelerator, Pace, train
from ..training.parts import Parts, wan_parts
from ..training.precompute import precompute
from ..training.recipe import Recipe
from ..training.records import FilmSet, SetSettings
from ..training.sources import list_films
from .animate import wan_files
from .toy_training import ToyEntry, toy_parts


def precompute_files(options: Namespace, report: Callable[[str], None]) -> FilmSet:
    """Make the training set that the options of `everanimate train precompute` ask for."""
    if options.films is not None and options.data != TOY:
        raise InputError("films", f"says how many worlds --data {TOY} has", "", f"it with --data {options.data}")
    entries = [ToyEntry(number) for number in range(options.films or 0)]
    if options.data != TOY:
        entries = list_films(Path(options.data))
    elif not entries:
        raise InputError("films", f"must be at least 1 with --data {TOY}", "1024", options.films)
    parts = _parts(options, Accelerator())
    codec = parts.codec()
    settings = SetSettings(
        ChunkGeometry(options.chunk_frames),
        options.width,
        options.height,
        str(options.fps),
        options.fit,
        options.candidates,
        # One film with a face makes it a set with faces, where films without are left out.
        any(entry.face is not None for entry in entries),
        weights_digest(codec.vae.state_dict().items()),
    )
    return precompute(entries, settings, parts, codec, options.out, report)


def train_files(options: Namespace, report: Callable[[str], None]) -> Path:
    """Train as the options of `everanimate train` say; the folder of the training."""
    films = FilmSet.open(options.data)
    start = None if options.lora is None else read_lora(options.lora)
    accelerator = Accelerator(
        mixed_precision=options.precision,
        log_with="tensorboard",
        project_dir=options.out,
    )
    recipe = Recipe(
        options.stage,
        options.seed,
        options.rank,
        options.batch,
        options.rate,
        options.schedule,
        options.perturbation,
        options.augmented,
    )
    pace = Pace(
        options.steps,
        options.accumulate,
        options.save_every,
        options.sample_every,
        options.checkpointing,
    )

    def say(line: str) -> None:
        if accelerator.is_main_process:
            report(line)

    parts = _parts(options, accelerator)
    train(recipe, pace, films, parts, accelerator, options.out, start=start, resume=options.resume, say=say)
    return options.out


def _parts(options: Namespace, accelerator: Accelerator) -> Parts:
    if options.model in TOYS:
        return toy_parts(TOYS[options.model])
    return wan_parts(wan_files(options), accelerator.device)
