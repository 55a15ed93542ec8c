"""`everanimate train`: a LoRA from a training set."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from ..errors import InputError
from ..lora.files import read_lora
from ..training.loop import STATE, Accelerator, PartialState, train
from ..training.pace import Pace
from ..training.recipe import NAMED, Recipe
from ..training.records import FilmSet
from .command import Command
from .models import training_parts
from .options import MODEL, Parts, chosen, option, settings_options
from .train_need import read_launch, tell_need

PaceOptions = settings_options(Pace)
RecipeOptions = settings_options(
    Recipe, otherwise={name: f"{value} for --recipe paper" for name, value in NAMED["paper"].items()}
)


@dataclass(frozen=True)
class Options:
    """Train a LoRA on a set of `everanimate train precompute`: the memory (stage 1), then restoration (stage 2)."""

    stage: option(Literal[1, 2], "1: adapt to the memory. 2: learn to restore, from stage 1's LoRA on.", None)
    data: option(Path, "A training set that `everanimate train precompute` made.", "DIR")
    model: option(str, MODEL, "PATH")
    out: option(Path, "Folder of LoRA files, losses, samples, and the state to go on from.", "DIR")
    parts: Parts = None
    resume: option(bool, "Go on with the training in --out.", None, False) = False
    lora: option(Path | None, "The LoRA to begin with (stage 2: that of stage 1).", "FILE", "none") = None
    from_scratch: option(bool, "Begin stage 2 without a LoRA of stage 1.", None, False) = False
    recipe: option(
        Literal["released", "paper"],
        "The numbers of the released LoRAs (rank 32), or of the paper (rank 128, and its drift simulator).",
        "{released,paper}",
        "released",
    ) = "released"
    dry_run: option(bool, "Say what one step will need of memory, and do nothing.", None, False) = False
    launch: option(
        Path | None,
        "With --dry-run: the settings file that accelerate launch will get.",
        "FILE",
        "none, for one process",
    ) = None
    precision: option(
        Literal["no", "bf16"] | None,
        "Number type of the frozen network: no = float32, bf16 = bfloat16. The LoRA is float32.",
        "{no,bf16}",
        "what accelerate launch says, else no on a CPU, bf16 elsewhere",
    ) = None
    learning: tyro.conf.OmitArgPrefixes[RecipeOptions] = field(default_factory=RecipeOptions)
    pace: tyro.conf.OmitArgPrefixes[PaceOptions] = field(default_factory=PaceOptions)


def chosen_recipe(options: Options) -> Recipe:
    """What is learnt: what was given, and what the recipe of that name has otherwise."""
    given = {name: value for name, value in vars(options.learning).items() if value is not None}
    return Recipe(options.stage, **{**NAMED[options.recipe], **given})


def precision_of(given: str | None) -> str | None:
    """What is given; else None where `accelerate launch` says it, and else what suits the device."""
    if given is None and "ACCELERATE_MIXED_PRECISION" not in os.environ:
        return "no" if PartialState().device.type == "cpu" else "bf16"
    return given


def main(options: Options, command: Command) -> None:
    """Train."""
    command.to_go_on, command.kept = () if options.resume else ("--resume",), "what was saved is kept"
    recipe, pace = chosen_recipe(options), chosen(Pace, options.pace, options.model)
    begins = not (options.resume and (options.out / STATE).exists())
    if begins and recipe.stage == 2 and options.lora is None and not options.from_scratch:
        rule = "must be stage 1's for stage 2, which goes on from there"
        raise InputError("lora", rule, "one/lora-004000.safetensors, or --from-scratch", "none")
    films = FilmSet.open(options.data)
    if options.dry_run:
        launch = read_launch(options.launch)
        for line in tell_need(options.model, options.precision, launch, recipe, pace, films.settings):
            command.say(line)
        return
    if options.launch is not None:
        raise InputError(
            "launch", "must be left out without --dry-run", "accelerate launch --config_file", options.launch
        )
    start = None if options.lora is None else read_lora(options.lora)
    accelerator = Accelerator(
        mixed_precision=precision_of(options.precision), log_with="tensorboard", project_dir=options.out
    )

    def say(line: str) -> None:
        if accelerator.is_main_process:
            command.say(line)

    processes = accelerator.num_processes
    portions, samples = pace.portions(recipe.batch, processes)
    say(f"A step learns from {recipe.batch} samples: {processes} processes x {portions} portions x {samples}")
    parts = training_parts(options.model, options.parts, accelerator.device)
    train(recipe, pace, films, parts, accelerator, options.out, start=start, resume=options.resume, say=say)
