"""Material to train the colouring toy on: windows of worlds of their own, in colour and in lines, as latents."""

from random import Random

import torch
from torch import Tensor

from ...longanimation.lines import white_on_black
from ...longanimation.windows import SLOT_OF_REFERENCE
from ...ports import Codec
from ..network.colour_state import SETTINGS
from ..world.world import World
from .films import FIRST_SEED, STARTS

FRAMES = SETTINGS.window_frames


def make_colour_film(number: int, codec: Codec) -> dict[str, Tensor]:
    """The latents of film `number` as the VAE makes them; slot 0 is the reference's, frame 0 of the world.

    colour, lines: [16, 22, 8, 8] of a window that begins anywhere in the world's first frames.
    """
    start = Random(f"colour film {number}").randrange(STARTS)
    world, frames = World(FIRST_SEED + number), range(start, start + FRAMES)
    pictures = {
        "colour": (world.reference()[None], world.frames(frames)),
        "lines": tuple(white_on_black(shown) for shown in (world.reference_lineart()[None], world.lineart(frames))),
    }
    return {name: torch.cat([codec.encode(part)[0] for part in parts], dim=1) for name, parts in pictures.items()}


def reference_slots(colour: Tensor) -> Tensor:
    """The reference's latents of colour [B, 16, T, h, w], and zeros behind them: what the network is shown of it."""
    slots = torch.zeros_like(colour)
    slots[:, :, SLOT_OF_REFERENCE] = colour[:, :, SLOT_OF_REFERENCE]
    return slots
