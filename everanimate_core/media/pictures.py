"""What FFmpeg does not tell of pictures: which way up they are by their EXIF data, and the frames of animated WebP."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .open import Source, VideoError, first_bytes, source_name

_ORIENTATION = 0x112
# How a stored picture becomes upright, by its EXIF orientation, as a display matrix (a, b, c, d).
_MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def is_picture(source: Source) -> bool:
    """Whether a file is a JPEG, PNG or WebP picture, by its first bytes."""
    start = first_bytes(source)
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n")) or _is_webp(start)


def exif_matrix(source: Source) -> tuple[int, int, int, int] | None:
    """The display matrix of a picture's EXIF orientation, None where it has none.

    Raises VideoError for a picture of more pixels than Pillow opens (179 million).
    """
    try:
        with Image.open(source) as image:
            return _MATRICES.get(image.getexif().get(_ORIENTATION))
    except Image.DecompressionBombError as error:
        got = f"{source_name(source)} ({error})"
        raise VideoError("the file", "must be a picture of fewer pixels", "make it smaller", got) from error
    except (OSError, SyntaxError, ValueError):  # what Pillow says of damaged files; FFmpeg may still read them
        return None


class AnimatedWebp:
    """The frames of an animated WebP picture, with the times at which they are shown; as `reader.StoredFrames`."""

    rate = Fraction(25)
    damage: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __init__(self, source: Source):
        self.name = source_name(source)
        self._source = source
        try:
            self._image = Image.open(source)
            self.frame_count = self._image.n_frames
            durations = [self._duration(number) for number in range(self.frame_count)]
        except (OSError, EOFError, Image.DecompressionBombError) as error:
            raise VideoError("the file", "must be a readable video", "", f"{self.name} ({error})") from error
        self.width, self.height = self._image.size
        ends = list(accumulate(durations))
        self.times, self.end = [0.0, *ends[:-1]], ends[-1]

    def __reduce__(self) -> tuple:
        return type(self), (self._source,)

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames of these numbers, in this order: [len(indices), H, W, 3] in 0..1."""
        frames = {}
        for number in sorted(set(indices)):
            self._image.seek(number)
            frames[number] = torch.from_numpy(np.array(self._image.convert("RGB")))
        return torch.stack([frames[number] for number in indices]).float() / 255

    def _duration(self, number: int) -> float:
        """How long a frame is shown, in seconds; browsers show one without a duration for a tenth."""
        self._image.seek(number)
        self._image.load()
        return (self._image.info.get("duration") or 100) / 1000


def is_animated_webp(source: Source) -> bool:
    """Whether a file is a WebP picture that moves, by its first bytes."""
    start = first_bytes(source)
    return _is_webp(start) and start[12:16] == b"VP8X" and bool(start[20] & 2)


def _is_webp(start: bytes) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP" and len(start) > 20
