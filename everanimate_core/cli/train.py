"""`everanimate train`: a LoRA from a training set."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from ..lora.files import read_lora
from ..training.loop import Accelerator, train
from ..training.pace import Pace
from ..training.recipe import Recipe
from ..training.records import FilmSet
from .command import Command
from .models import training_parts
from .options import MODEL, Parts, option, settings_options

RecipeOptions, PaceOptions = settings_options(Recipe), settings_options(Pace)


@dataclass(frozen=True)
class Options:
    """Train a LoRA on a set of `everanimate train precompute`: the memory (stage 1), then restoration (stage 2)."""

    stage: option(Literal[1, 2], "1: memory adaptation, 2: restorative, from stage 1's LoRA.", None)
    data: option(Path, "A training set that `everanimate train precompute` made.", "DIR")
    model: option(str, MODEL, "PATH")
    out: option(Path, "Folder of LoRA files, losses, samples, and the state to go on from.", "DIR")
    parts: Parts = None
    resume: option(bool, "Go on with the training in --out.", None, False) = False
    lora: option(Path | None, "The LoRA to begin with (stage 2: that of stage 1).", "FILE", "none") = None
    precision: option(
        Literal["no", "bf16"] | None, "Of the network.", "{no,bf16}", "what accelerate is configured for"
    ) = None
    recipe: tyro.conf.OmitArgPrefixes[RecipeOptions] = field(default_factory=RecipeOptions)
    pace: tyro.conf.OmitArgPrefixes[PaceOptions] = field(default_factory=PaceOptions)


def main(options: Options, command: Command) -> None:
    """Train."""
    command.to_go_on, command.kept = () if options.resume else ("--resume",), "what was saved is kept"
    recipe, pace = Recipe(options.stage, **vars(options.recipe)), Pace(**vars(options.pace))
    films = FilmSet.open(options.data)
    start = None if options.lora is None else read_lora(options.lora)
    accelerator = Accelerator(mixed_precision=options.precision, log_with="tensorboard", project_dir=options.out)

    def say(line: str) -> None:
        if accelerator.is_main_process:
            command.say(line)

    parts = training_parts(options.model, options.parts, accelerator.device)
    train(recipe, pace, films, parts, accelerator, options.out, start=start, resume=options.resume, say=say)
