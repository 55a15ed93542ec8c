"""The colouring toy's networks: a small CogVideoX I2V and the SketchDiT that steers it, in diffusers' classes."""

from os import PathLike
from pathlib import Path

import torch
from torch import nn

from ...backends.cog_checkpoint import config_of, network_from_state
from ...backends.cog_codec import CogCodec
from ...backends.cog_networks import CogVideoXTransformer3DModel, SketchDiT
from ...backends.diffusers_cog import DiffusersCog
from ...longanimation.files import CogSizes
from ...longanimation.names import native_name
from .colour_state import BASE_SIZES, BASE_WEIGHTS, NO_TEXT, SKETCH_SIZES, SKETCH_WEIGHTS, read_network
from .colour_vae import SCALE, load_vae
from .state import write_packed


def new_network(sketch: bool, seed: int) -> nn.Module:
    """An untrained base network, or a SketchDiT, whose control begins at zero."""
    kind, sizes = (SketchDiT, SKETCH_SIZES) if sketch else (CogVideoXTransformer3DModel, BASE_SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(**config_of(sizes))


def write_network(path: Path, network: nn.Module) -> None:
    """Write a network's weights under their native names, packed."""
    write_packed(path, {native_name(name): value for name, value in network.state_dict().items()})


def load_base(path: str | PathLike = BASE_WEIGHTS) -> nn.Module:
    """The trained base network in diffusers' class, frozen."""
    return _loaded(CogVideoXTransformer3DModel, path, BASE_SIZES)


def load_sketch(path: str | PathLike = SKETCH_WEIGHTS) -> nn.Module:
    """A trained SketchDiT in diffusers' class, frozen."""
    return _loaded(SketchDiT, path, SKETCH_SIZES)


def load_colour(sketch: str | PathLike = SKETCH_WEIGHTS, base: str | PathLike = BASE_WEIGHTS) -> DiffusersCog:
    """The trained toy as an engine."""
    return DiffusersCog(load_base(base), load_sketch(sketch), CogCodec(load_vae()), SCALE, NO_TEXT)


def _loaded(kind: type[nn.Module], path: str | PathLike, sizes: CogSizes) -> nn.Module:
    return network_from_state(kind, read_network(path), sizes, device="cpu", dtype=torch.float32)
