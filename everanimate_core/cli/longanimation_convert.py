"""`everanimate longanimation convert`: published files of LongAnimation as ComfyUI has them."""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from ..longanimation.files import convert
from ..longanimation.video_files import VIDEO_XL, convert_video_model
from .command import Command
from .options import SavedDtype, option


@dataclass(frozen=True)
class Options:
    """Write CogVideoX1.5 I2V, SketchDiT or Video-XL as one file that ComfyUI loads.

    Tools for fp8 and GGUF read the first two.
    """

    source: tyro.conf.Positional[
        option(
            Path,
            "A .safetensors file, the index of a sharded one, or a diffusers folder. With --video-xl, the folder of "
            "Video-XL with its config.json.",
            "SOURCE",
        )
    ]
    destination: tyro.conf.Positional[option(Path, "The file to write.", "DESTINATION")]
    dtype: SavedDtype = None
    video_xl: option(bool, "SOURCE is Video-XL. Only what the memory of the video needs is kept.", None, False) = False


def main(options: Options, command: Command) -> None:
    """Write the file."""
    dtype = options.dtype and getattr(torch, options.dtype)
    if options.video_xl:
        convert_video_model(options.source, options.destination, dtype)
        kind = VIDEO_XL
    else:
        kind = convert(options.source, options.destination, dtype)
    command.say(f"Wrote {kind} to {options.destination}")
