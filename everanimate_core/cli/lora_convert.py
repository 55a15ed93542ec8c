"""`everanimate lora convert`: a LoRA under other layer names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from ..lora.files import FORMATS, convert
from .command import Command
from .options import SavedDtype, option


@dataclass(frozen=True)
class Options:
    """Write a LoRA under other layer names."""

    source: tyro.conf.Positional[option(Path, "The LoRA, in any naming.", "SOURCE")]
    destination: tyro.conf.Positional[option(Path, "The file to write.", "DESTINATION")]
    format: option(
        Literal[FORMATS],
        "Whose layer names are written: those of the released EverAnimate files, or of these programs.",
        None,
        "comfyui",
    ) = "comfyui"
    dtype: SavedDtype = None


def main(options: Options, command: Command) -> None:
    """Write the file."""
    convert(options.source, options.destination, options.format, options.dtype and getattr(torch, options.dtype))
    command.say(f"Wrote {options.destination}")
