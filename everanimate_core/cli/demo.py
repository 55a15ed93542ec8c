"""`everanimate demo`: the main job on the embedded toy, nothing to download."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from ..errors import check_number
from ..studies.colour_demo import make_colour_demo
from ..studies.demo import make_demo
from .command import Command
from .options import option


@dataclass(frozen=True)
class Options:
    """The main job on the embedded toy, nothing to download."""

    method: option(Literal["animate", "colour"], "Animate a person, or colour line art.", None, "animate") = "animate"
    out: option(Path, "Where the videos, the plot and the numbers go.", "DIR", "demo") = Path("demo")
    seconds: option(float, "Length of the animation.", "SECONDS", 60.0) = 60.0
    seed: option(int, "The world that is shown.", "N", 0) = 0


def main(options: Options, command: Command) -> None:
    """Make the demo."""
    command.kept = "finished chunks are kept"
    check_number("seconds", options.seconds, "60")
    # A network this small gains nothing from threads, and loses a lot where other programs want the cores.
    torch.set_num_threads(1)
    make = make_colour_demo if options.method == "colour" else make_demo
    make(options.out, options.seconds, options.seed, command.say)
