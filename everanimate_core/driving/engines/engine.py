"""What an engine is: anything that finds the people in the frames of a clip."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..people import Person
from .found import Found

# The state of an engine at the start of a clip.
START = np.zeros(0)


class Engine(Protocol):
    """Finds people in the frames of a clip, which it sees in order, some at a time.

    state: all that it remembers from frame to frame, float64, finite, of any shape; START at the start of a clip. An
    engine whose state is set goes on as the one did that had it.
    """

    state: np.ndarray

    @property
    def name(self) -> str:
        """What it is called in messages and reports."""

    @property
    def digest(self) -> str:
        """Stands for all that its findings depend on besides the frames: its weights and settings."""

    def find_all(self, frames: np.ndarray) -> list[list[Found]]:
        """The people in each of the next frames, [n, H, W, 3], float32 RGB in 0..1. How many come at a time changes
        nothing."""


class FrameByFrame(ABC):
    """An engine that looks at one frame after the other. A network that is called for many frames at once needs its own
    `find_all`."""

    def find_all(self, frames: np.ndarray) -> list[list[Found]]:
        """The people in each of the next frames, [n, H, W, 3], float32 RGB in 0..1."""
        return [self.find(frame) for frame in frames]

    @abstractmethod
    def find(self, frame: np.ndarray) -> list[Found]:
        """The people in the next frame, [H, W, 3], float32 RGB in 0..1."""


class GivenEngine(FrameByFrame):
    """Finds nothing itself: it hands out the people that are known already, of one frame after the other."""

    name = "keypoints"

    def __init__(self, people: Sequence[Sequence[Person]], digest: str):
        self._people, self.digest = people, digest
        self.state = START

    def find(self, frame: np.ndarray) -> list[Found]:
        """The people in the next frame, whatever it shows; without masks."""
        number = int(self.state.sum())
        self.state = np.array([number + 1.0])
        return [Found(person.points, person.scores, None) for person in self._people[number]]
