"""`everanimate lora inspect`: what is in a LoRA, as JSON."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from ..lora.files import read_lora
from ..lora.fit import describe
from .command import Command
from .options import option


@dataclass(frozen=True)
class Options:
    """What is in a LoRA, as JSON."""

    file: tyro.conf.Positional[option(Path, "The LoRA, in any naming.", "FILE")]


def main(options: Options, command: Command) -> None:
    """Print the description."""
    command.say(json.dumps(describe(read_lora(options.file)), indent=1))
