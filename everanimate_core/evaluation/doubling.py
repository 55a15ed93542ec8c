"""Frames that a chunk shows again, as in a video chained by hand whose overlap was not cut off. Needs no true video.

Small pictures are compared (alignment.signatures), so what a codec does to a frame hardly counts. A frame that was
drawn anew differs about as much as frames that follow each other, and is not found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .alignment import STILL

# Longer overlaps are not looked for.
LONGEST = 16
# Mean squared difference to the frames shown before, over that one frame earlier or later. In films and animations of
# the toy world, where nothing is doubled, it is 0.05 or more for one or two frames. For LONG or more, which are seldom
# alike in order by chance, it is 0.4 or more.
ALIKE, ALIKE_LONG, LONG = 0.05, 0.2, 3
# Frames to each side of a join that tell how much motion is usual, and the part of it that must be there. Where a
# motion turns, two frames are alike too, but those beside them differ by no more than an eighth of what is usual.
AROUND, MOVING = 24, 0.15


@dataclass(frozen=True)
class Doubled:
    """From this join (a frame) on, the last so many `frames` before it are shown again."""

    join: int
    frames: int


def find_doubled(signs: Tensor, joins: Sequence[int]) -> list[Doubled]:
    """The joins behind which 1 to 16 frames are shown again, from the video's signatures [F, 768]."""
    found = []
    for join in joins:
        # Nothing is said of more frames than stand on either side, beside one to compare with.
        counts = range(1, min(LONGEST, join - 1, len(signs) - join - 1) + 1)
        ratios = {count: _difference(signs, join, count) for count in counts}
        alike = [count for count in counts if ratios[count] < (ALIKE if count < LONG else ALIKE_LONG)]
        if alike:
            found.append(Doubled(join, min(alike, key=ratios.__getitem__)))
    return found


def describe_doubled(doubled: Sequence[Doubled]) -> list[str]:
    """The findings as sentences, one for all joins with as many frames."""
    joins: dict[int, list[int]] = {}
    for found in doubled:
        joins.setdefault(found.frames, []).append(found.join)
    return [
        f"the last {f'{frames} frames are' if frames > 1 else 'frame is'} shown again at {', '.join(map(str, at))}"
        for frames, at in joins.items()
    ]


def _difference(signs: Tensor, join: int, count: int) -> float:
    """How unlike the `count` frames from a join on and those before it are, over the same a frame earlier or later.

    1 where nothing moves, which no one would see.
    """
    rows = _squares(signs, range(join - 1, join + count + 1), count)
    before, here, after = rows.unfold(0, count, 1).mean(dim=1).tolist()
    usual = float(_squares(signs, range(max(1, join - AROUND), min(len(signs), join + AROUND)), 1).median())
    moving = min(before, after)
    # One frame earlier or later, one of the frames is new and the others are shown again.
    return here / moving if count * moving > max(STILL, MOVING * usual) else 1.0


def _squares(signs: Tensor, rows: range, lag: int) -> Tensor:
    """Mean squared difference of these frames to the ones `lag` before: [n]."""
    mine, earlier = (signs[rows.start - back : rows.stop - back].float() for back in (0, lag))
    return (mine - earlier).square().mean(dim=1)
