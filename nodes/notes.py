"""What nodes add to the notes of the methods: what only they know of a MODEL and of an input's kind.

At a node, inputs and settings are called by their own names.
"""

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor

from ..everanimate_core.everanimate.notes import TRAINED
from ..everanimate_core.notes import Size, silent

# Of Wan2.2-Animate-14B. The released LoRA fits no other; whether it was merged into the weights cannot be seen.
RELEASED_WIDTH = 5120


def trained_settings(model) -> Sequence[str]:
    """The settings that have to be as in training where the released LoRA may be on this MODEL."""
    return TRAINED if getattr(model.model.diffusion_model, "dim", None) == RELEASED_WIDTH else ()


def size_of(images: Tensor) -> Size:
    """Of an IMAGE [n, H, W, C]."""
    return Size(images.shape[2], images.shape[1])


def no_sound(name: str, video, audio, rate: Fraction) -> list[str]:
    """The note on an IMAGE in the place of a VIDEO, if there is no AUDIO. rate: of the result."""
    return silent(name, rate, str) if isinstance(video, Tensor) and audio is None else []
