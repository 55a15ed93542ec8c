"""The colouring toy's networks: a small CogVideoX I2V and the SketchDiT that steers it, in diffusers' classes."""

from os import PathLike
from pathlib import Path

import torch
from torch import nn

from ...backends.cog_checkpoint import config_of, network_from_state
from ...backends.cog_codec import CogCodec
from ...backends.cog_networks import CogVideoXTransformer3DModel, SketchDiT
from ...backends.diffusers_cog import DiffusersCog
from ...longanimation.names import native_name
from .colour_memory import ColourMemory
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


def load_base(
    path: str | PathLike = BASE_WEIGHTS, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Module:
    """The trained base network in diffusers' class, frozen."""
    return network_from_state(CogVideoXTransformer3DModel, read_network(path), BASE_SIZES, device=device, dtype=dtype)


def load_sketch(
    path: str | PathLike = SKETCH_WEIGHTS, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Module:
    """A trained SketchDiT in diffusers' class, frozen."""
    return network_from_state(SketchDiT, read_network(path), SKETCH_SIZES, device=device, dtype=dtype)


def load_colour(
    sketch: str | PathLike = SKETCH_WEIGHTS,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    memory: ColourMemory | None = None,
) -> DiffusersCog:
    """The trained toy as an engine, its VAE on the CPU.

    sketch: another SketchDiT. dtype: of base and SketchDiT. memory: whose DGLM reads what a method remembers with
    `MemoryOfToy(memory.video)`; None for runs without memory.
    """
    reader = None if memory is None else memory.dglm
    networks = load_base(device=device, dtype=dtype), load_sketch(sketch, device=device, dtype=dtype)
    return DiffusersCog(*networks, CogCodec(load_vae()), SCALE, NO_TEXT, NO_TEXT, reader)
