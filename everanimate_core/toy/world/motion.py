"""What the figure does: activities of 64 frames each, drawn one by one from the seed, without an end.

Every angle is offset + amplitude * sin(phase + shift); neighbouring activities are blended into each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, tau
from random import Random

import torch
from torch import Tensor

# Frames of an activity, of the blend into it, and of the turn of the body at its start.
SEGMENT, BLEND, TURN = 64, 24, 36
# The largest distance of the figure from the middle of the picture, in pixels.
REACH = 9.0

# Sides are the figure's own. raise: of the upper arm or the leg to the side; swing: forward; bend: elbow, to the side;
# fold: elbow, forward; knee: backward; lean and tilt: of the body and the head, to the figure's left.
ANGLES = (
    *(f"{part} {side}" for side in ("right", "left") for part in ("raise", "swing", "bend", "fold")),
    *(f"{part} {side}" for side in ("right", "left") for part in ("leg raise", "leg swing", "knee")),
    "lean",
    "tilt",
    "yaw",
)
_STANDING = {
    "raise right": (0.25, 0.05, 0.0),
    "raise left": (0.25, 0.05, 0.0),
    "fold right": (0.3, 0.05, 0.5),
    "fold left": (0.3, 0.05, 0.5),
    "leg raise right": (0.12, 0.0, 0.0),
    "leg raise left": (0.12, 0.0, 0.0),
    "lean": (0.0, 0.03, 0.0),
    "tilt": (0.0, 0.06, 1.0),
}
_ACTIVITIES = {
    "walk": {
        "swing right": (0.0, 0.6, 0.0),
        "swing left": (0.0, 0.6, pi),
        "fold right": (0.5, 0.2, 0.0),
        "fold left": (0.5, 0.2, pi),
        "leg swing right": (0.05, 0.5, pi),
        "leg swing left": (0.05, 0.5, 0.0),
        "knee right": (0.4, 0.4, pi / 2),
        "knee left": (0.4, 0.4, -pi / 2),
    },
    "wave": {
        "raise right": (2.0, 0.12, 0.0),
        "bend right": (0.35, 0.5, 0.0),
        "fold right": (0.0, 0.0, 0.0),
        "raise left": (0.35, 0.1, 0.0),
        "lean": (0.05, 0.05, 0.0),
        "tilt": (0.0, 0.12, 0.0),
    },
    "dance": {
        "raise right": (1.25, 0.65, 0.0),
        "raise left": (1.25, 0.65, pi),
        "bend right": (0.5, 0.5, 0.6),
        "bend left": (0.5, 0.5, pi + 0.6),
        "leg raise right": (0.3, 0.15, 0.0),
        "leg raise left": (0.3, 0.15, pi),
        "leg swing right": (0.3, 0.25, 0.0),
        "leg swing left": (0.3, 0.25, pi),
        "knee right": (0.6, 0.4, 0.0),
        "knee left": (0.6, 0.4, pi),
        "lean": (0.0, 0.1, 0.0),
        "tilt": (0.0, 0.15, pi),
        "yaw": (0.0, 0.2, 0.3),
    },
    "turn": {
        "raise right": (0.5, 0.25, 0.0),
        "raise left": (0.5, 0.25, 0.8),
        "bend right": (0.2, 0.15, 0.0),
        "bend left": (0.2, 0.15, 0.8),
        "yaw": (0.0, 0.35, 0.0),
    },
}


@dataclass(frozen=True)
class _Segment:
    waves: Tensor  # [3, angles]: offset, amplitude, shift
    period: float  # frames
    phase: float
    yaw: float
    place: float  # pixels from the middle


@dataclass(frozen=True)
class Posture:
    """A posture per frame, all in radians but `place`.

    angles: [n, len(ANGLES)] float32. yaw: [n], 0 faces the viewer, positive turns to the viewer's right, pi shows the
    back. place: [n], pixels from the middle of the picture.
    """

    angles: Tensor
    yaw: Tensor
    place: Tensor

    def named(self) -> dict[str, Tensor]:
        """Every angle by its name in ANGLES, [n] each."""
        # Contiguous, because sines of strided tensors take another code path, which may round differently.
        return dict(zip(ANGLES, self.angles.T.contiguous(), strict=True))


class Motion:
    """The endless motion that belongs to a seed; a posture depends on the seed and the frame number alone."""

    def __init__(self, seed: int):
        self._seed = seed
        self._segments: dict[int, _Segment] = {}

    def posture(self, indices: Sequence[int]) -> Posture:
        """The postures of the frames with those numbers, each 0 or more."""
        numbers = [index // SEGMENT for index in indices]
        since = torch.tensor([index % SEGMENT for index in indices], dtype=torch.float32)
        # The frame number counts from the start of the segment before: float32 would lose it late in a long film.
        now = self._tables(numbers, since)
        before = self._tables([max(number - 1, 0) for number in numbers], since + SEGMENT)
        share = ease(since / BLEND)
        angles = before[0] + (now[0] - before[0]) * share[:, None]
        # The shorter way round; walking takes the whole segment.
        way = (now[1] - before[1] + pi).remainder(tau) - pi
        yaw = before[1] + way * ease(since / TURN) + angles[:, -1]
        place = before[2] + (now[2] - before[2]) * ease(since / SEGMENT)
        return Posture(angles, yaw, place)

    def _tables(self, numbers: list[int], since: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        segments = [self._segment(number) for number in numbers]
        waves = torch.stack([segment.waves for segment in segments], dim=1)
        rest = torch.tensor([[s.period, s.phase, s.yaw, s.place] for s in segments], dtype=torch.float32)
        phase = since / rest[:, 0] * tau + rest[:, 1]
        angles = waves[0] + waves[1] * torch.sin(phase[:, None] + waves[2])
        return angles, rest[:, 2], rest[:, 3]

    def _segment(self, number: int) -> _Segment:
        if number not in self._segments:
            self._segments[number] = self._make(number)
        return self._segments[number]

    def _make(self, number: int) -> _Segment:
        random = Random(f"{self._seed}/activity {number}")
        activity = random.choice(list(_ACTIVITIES))
        waves = _STANDING | _ACTIVITIES[activity]
        if random.random() < 0.5:
            waves = {mirror(name): value for name, value in waves.items()}
        size = random.uniform(0.8, 1.1)
        table = torch.tensor([waves.get(name, (0.0, 0.0, 0.0)) for name in ANGLES]).T.contiguous()
        table[1] *= size
        period = random.uniform(30, 40)
        phase = random.uniform(0, tau)
        place = random.uniform(-REACH, REACH) if number else 0.0
        yaw = random.uniform(-0.4, 0.4)
        if number and activity == "walk":
            before = self._segment(number - 1).place
            # Far enough to be worth walking, and the way that it looks.
            place = before + random.uniform(6, REACH) * (1 if before < 0 else -1)
            yaw = (1 if place > before else -1) * random.uniform(0.9, 1.5)
        elif number and activity == "turn":
            place, yaw = self._segment(number - 1).place, pi + yaw
        elif number and activity == "dance":
            yaw = random.choice((0.0, 0.0, 0.9, -0.9, pi)) + yaw
        return _Segment(table, period, phase, yaw, place)


def mirror(name: str) -> str:
    """The same angle or joint of the other side."""
    words = {"right": "left", "left": "right"}
    return " ".join(words.get(word, word) for word in name.split())


def ease(value: Tensor) -> Tensor:
    """From 0 at 0 to 1 at 1, level at both ends and beyond them."""
    value = value.clamp(0, 1)
    return value * value * (3 - 2 * value)
