"""Pictures of one colour: what a VAE in half precision, or a model that does not fit, leaves of a chunk."""

from collections.abc import Callable

from torch import Tensor

from ..ports import Codec

# Frames of which every channel varies by less than this, one step of 8 bits, are blank.
_ONE_STEP = 1 / 255


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
                f"{len(blank)} of {len(frames)} decoded frames are of one colour, the first is frame "
                f"{blank[0]} of its chunk (often a VAE in half precision, or weights that do not fit each other)."
            )
        return frames
