"""`everanimate longanimation convert`: published files of LongAnimation as ComfyUI has them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

from ..longanimation.files import convert
from .command import Command
from .lora_convert import DTYPES
from .options import option


@dataclass(frozen=True)
class Options:
    """Write CogVideoX1.5 I2V or SketchDiT as one file that ComfyUI loads, and tools for fp8 and GGUF read."""

    source: tyro.conf.Positional[
        option(Path, "A .safetensors file, the index of a sharded one, or a diffusers folder.", "SOURCE")
    ]
    destination: tyro.conf.Positional[option(Path, "The file to write.", "DESTINATION")]
    dtype: option(
        Literal[DTYPES] | None, "Number type of the written weights.", "{float32,float16,bfloat16}", "as they are"
    ) = None


def main(options: Options, command: Command) -> None:
    """Write the file."""
    kind = convert(options.source, options.destination, options.dtype and getattr(torch, options.dtype))
    command.say(f"Wrote {kind} to {options.destination}")
