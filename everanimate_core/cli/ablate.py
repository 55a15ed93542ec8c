"""`everanimate ablate`: the paper's ablation on the toy world."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import InputError, check_number, one_line
from ..evaluation.networks import load_networks
from ..everanimate.settings import Settings
from ..longanimation.settings import Settings as ColourSettings
from ..studies.ablation import Plan, ablate
from ..studies.colour import ablate_colour, chosen_colour_rows
from ..studies.colour_memory import SECONDS as MEMORY_SECONDS
from ..studies.colour_memory import ablate_memory, chosen_memory_rows
from ..studies.rows import chosen_rows, lora_row
from ..toy.world.scene import Scene
from .command import Command
from .options import option, several


def _values(option: str, texts: Sequence[str], declared: type, example: str) -> dict[str, Any]:
    """{field: value} of NAME=VALUE texts, in the types of a dataclass' fields; InputError for what is none. NAME alone
    is yes."""
    kinds, values = {each.name: type(each.default) for each in fields(declared)}, {}
    for text in texts:
        name, _, value = text.partition("=")
        kind = kinds.get(name)
        try:
            values[name] = {"": True, "true": True, "false": False}[value] if kind is bool else kind(value)  # type: ignore[misc]
        except (KeyError, TypeError, ValueError) as error:
            rule = f"must be NAME=VALUE, NAME one of {', '.join(kinds)}"
            raise InputError(option, rule, example, text) from error
    declared(**values)
    return values


@dataclass(frozen=True)
class Options:
    """The paper's ablation on the toy world. The same command goes on where it was stopped."""

    method: option(Literal["animate", "colour"], "EverAnimate, or the colouring of line art.", None, "animate") = (
        "animate"
    )
    out: option(Path, "Where results, table and plot go.", "DIR", "ablation") = Path("ablation")
    rows: option(
        several(str),
        "These rows alone, such as baseline full. A wrong name gets the list of all.",
        "NAME [NAME ...]",
        "the main ones",
    ) = ()
    memory: option(bool, "With --method colour: measure what its memory of the video is worth.", None, False) = False
    seconds: option(float | None, "Length of each animation.", "SECONDS", "60, 20 with --memory") = None
    worlds: option(int, "How many worlds to animate, 2 or more.", "N", 8) = 8
    first_world: option(int, "Seed of the first world. The others have the seeds that follow.", "N", 100) = 100
    noises: option(int, "With how many seeds of the noise each world is animated: 0, 1 and so on.", "N", 2) = 2
    scene: option(
        several(str),
        "What the worlds have beside a figure, such as light=wandering pan. A wrong name gets the list of all.",
        "NAME[=VALUE] [...]",
        "none",
    ) = ()
    set: option(
        several(str),
        "Settings that every row has, such as steps=20. A wrong name gets the list of all.",
        "NAME=VALUE [...]",
        "the rows' own",
    ) = ()
    planted: option(bool, "Plant a drift in the fifth chunk too, and measure the recovery.", None, False) = False
    weights: option(
        Path | None, "Folder of `everanimate train-toy`, whose networks go before those shipped.", "DIR", "none"
    ) = None
    lpips: option(Path | None, "Weights of LPIPS.", "FILE", "those of `everanimate evaluate --fetch-lpips`") = None
    lora: option(
        several(Path), "Measure these LoRAs of the toy's baseline, in the place of all rows.", "FILE [FILE ...]", "none"
    ) = ()


def main(options: Options, command: Command) -> None:
    """Roll out and measure every row."""
    command.kept = "finished roll-outs are kept"
    if options.memory and options.method != "colour":
        raise InputError("method", "must be colour where --memory is given", "", options.method)
    seconds = options.seconds
    if seconds is None:
        seconds = MEMORY_SECONDS if options.memory else 60.0
    check_number("seconds", seconds, "60")
    options = replace(options, seconds=seconds)
    for name in ("worlds", "first_world", "noises"):
        value = getattr(options, name)
        if not 0 <= value <= 100_000:
            raise InputError(name, "must be between 0 and 100000", 8, value)
    if options.weights is not None and not options.weights.is_dir():
        # Without it, the shipped networks would be measured in the place of one's own.
        raise InputError("weights", "must be a folder that `everanimate train-toy` made", "", one_line(options.weights))
    torch.set_num_threads(1)
    if options.method == "colour":
        _colour(options, command)
        return
    rows = [lora_row(path) for path in options.lora] or chosen_rows(options.rows)
    plan = _plan(options, Settings)
    ablate(options.out, plan, rows, options.weights, load_networks(options.lpips), command.say)


def _colour(options: Options, command: Command) -> None:
    """The same of the colouring."""
    if options.lora or options.planted:
        given = "--lora" if options.lora else "--planted"
        raise InputError("method", "must be animate where --lora or --planted is given", "", f"colour and {given}")
    plan, networks = _plan(options, ColourSettings), load_networks(options.lpips)
    if options.memory:
        plan = replace(plan, scene=replace(plan.scene, two_sided=True))
        rows = chosen_memory_rows(options.rows)
        ablate_memory(options.out, plan, rows, options.weights, networks, command.say)
    else:
        ablate_colour(options.out, plan, chosen_colour_rows(options.rows), options.weights, networks, command.say)


def _plan(options: Options, settings: type) -> Plan:
    worlds = range(options.first_world, options.first_world + options.worlds)
    scene = Scene(**_values("scene", options.scene, Scene, "light=wandering pan"))
    changes = _values("set", options.set, settings, "steps=20")
    return Plan(options.seconds, tuple(worlds), tuple(range(options.noises)), scene, changes, options.planted)
