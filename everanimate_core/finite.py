"""Values that must be numbers: NaN and infinity are refused where they come in, and blank pictures are told of.

One such value in a setting, a latent or a picture spreads over the whole chunk and, through the memory, over all that
follow.
"""

from collections.abc import Callable
from math import isfinite

from torch import Tensor

from .memory import Codec

# Frames of which every channel varies by less than this, one step of 8 bits, are blank.
_ONE_STEP = 1 / 255


def check_number(who: str, name: str, value: float, example: str) -> None:
    """Raise ValueError, in the name of `who`, unless the setting `name` is finite."""
    if not isfinite(value):
        raise ValueError(f"{who}: {name} must be a number, not NaN or infinity ({example}); got {value}.")


def check_finite(who: str, name: str, values: Tensor) -> None:
    """Raise ValueError, in the name of `who`, unless all of `values` (any shape, [n, ...]) are finite."""
    # Part by part: a whole video would need a quarter of its size once more.
    bad = next((i for i, part in enumerate(values) if not part.isfinite().all()), None) if values.ndim else None
    if bad is not None:
        raise ValueError(
            f"{who}: {name} must hold numbers only, not NaN or infinity (check what made it); got one in "
            f"{name}[{bad}] of {len(values)}."
        )


def blank_frames(frames: Tensor) -> list[int]:
    """Which of the frames [F, H, W, 3], in 0..1, show one colour only: black ones, mostly."""
    spread = frames.amax(dim=(1, 2)) - frames.amin(dim=(1, 2))
    return (spread < _ONE_STEP).all(dim=-1).nonzero().flatten().tolist()


class WarnOfBlank:
    """A codec that tells, once, of decoded frames that show one colour only; else it is `codec`."""

    def __init__(self, codec: Codec, warn: Callable[[str], None]):
        self.codec, self.warn, self.told = codec, warn, False

    def encode(self, frames: Tensor) -> Tensor:
        """[F, H, W, 3] in 0..1 -> [1, 16, T, h, w] normalised."""
        return self.codec.encode(frames)

    def decode(self, latents: Tensor) -> Tensor:
        """[1, 16, T, h, w] normalised -> [F, H, W, 3] in 0..1."""
        frames = self.codec.decode(latents)
        blank = [] if self.told else blank_frames(frames)
        if blank:
            self.told = True
            self.warn(
                f"EverAnimate: {len(blank)} of {len(frames)} decoded frames are of one colour, the first is frame "
                f"{blank[0]} of its chunk (often a VAE in half precision, or a model that does not fit the LoRA)."
            )
        return frames
