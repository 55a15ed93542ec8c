"""The colouring toy's networks as files and hosts have them: CogVideoX I2V and SketchDiT, under native names.

No text reaches them: their prompt is one token of zeros.
"""

from os import PathLike

import torch
from torch import Tensor

from ...longanimation.files import CogSizes
from ...longanimation.settings import Settings
from .state import FOLDER, read_packed

BASE_SIZES = CogSizes(width=256, blocks=5, time=32, ofs=32, text=16)
SKETCH_SIZES = CogSizes(width=256, blocks=2, time=32, ofs=32, text=16)
NO_TEXT = torch.zeros(1, 1, BASE_SIZES.text)
BASE_WEIGHTS, SKETCH_WEIGHTS = FOLDER / "colour_base.safetensors", FOLDER / "colour_skip_layer.safetensors"
# What the networks are sampled with; all else as released.
SETTINGS = Settings(steps=10, fuse_from=6, cfg=1.0)


def read_network(path: str | PathLike) -> dict[str, Tensor]:
    """The weights of one of both, under native names, float32; InputError for a file of something else."""
    return read_packed(path, "the colouring toy's networks", "colour_base.safetensors")
