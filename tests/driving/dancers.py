"""A driver with its frame number painted on its face and in a corner, and engines that read it there, exactly."""

from fractions import Fraction
from weakref import ref

import numpy as np
import torch
from driving.bodies import standing

from everanimate_core.driving.engines.engine import FrameByFrame
from everanimate_core.driving.engines.found import Found
from everanimate_core.driving.keypoints import FACE, POINTS

WIDTH, HEIGHT = 128, 96
# Two grey values tell a number: so many steps each, so far apart.
DIGITS, STEP, DARKEST = 18, 12, 20


def body(number):
    """The 133 points in a frame: a person who goes to the right, a tenth of a pixel a frame."""
    return standing(tall=80.0, middle=40 + 0.1 * number, crown=8.0)


def levels(number):
    return DARKEST + STEP * (number // DIGITS), DARKEST + STEP * (number % DIGITS)


def number_of(upper, lower):
    """The number that two grey values, 0..255, tell."""
    first, second = (round((float(value) - DARKEST) / STEP) for value in (upper, lower))
    return DIGITS * first + second


def number_in(frame):
    """The number in the corner of a painted frame, [HEIGHT, WIDTH, 3] in 0..1."""
    return number_of(frame[-24, -8, 0] * 255, frame[-8, -8, 0] * 255)


def painted(number):
    """[HEIGHT, WIDTH, 3], uint8: a blue picture, the number on the face, and in the lower right corner."""
    picture = np.full((HEIGHT, WIDTH, 3), (40, 90, 160), np.uint8)
    x, y = body(number)[0].round().astype(int)
    upper, lower = levels(number)
    picture[y - 8 : y, x - 8 : x + 9], picture[y : y + 9, x - 8 : x + 9] = upper, lower
    picture[-32:-16, -16:], picture[-16:, -16:] = upper, lower
    return picture


class Driver:
    """A video of painted frames, made as they are read.

    largest: how many were read at once. held: how many such windows were still in memory when the next one was read.
    """

    width, height = WIDTH, HEIGHT

    def __init__(self, count, fps=Fraction(30), first=0):
        self.frame_count, self.fps, self.first = count, fps, first
        self.largest, self.held, self._windows = 0, 0, []

    def read(self, indices):
        self.largest = max(self.largest, len(indices))
        self.held = max(self.held, sum(window() is not None for window in self._windows))
        frames = torch.from_numpy(np.stack([painted(self.first + number) for number in indices])).float() / 255
        self._windows.append(ref(frames))
        return frames


class Reader(FrameByFrame):
    """Finds the painted person by the number in the corner.

    It remembers how many frames it has seen, and moves the wrists by it: to go on with another state is seen.
    faceless, nobody: numbers of frames. on_frame: is called with each number.
    """

    name, digest = "reader", "0123456789abcdef"

    def __init__(self, faceless=(), nobody=(), masks=True, on_frame=lambda number: None):
        self.faceless, self.nobody, self.masks, self.on_frame = faceless, nobody, masks, on_frame
        self.state, self.read = np.zeros(0), []

    def find(self, frame):
        number = number_in(frame)
        self.on_frame(number)
        self.read.append(number)
        seen = self.state.sum()
        self.state = np.array([seen + 1])
        if number in self.nobody:
            return []
        points, scores = body(number), np.full(POINTS, 0.9)
        points[[9, 10], 1] += seen / 100
        if number in self.faceless:
            scores[FACE] = 0
        return [Found(points, scores, mask_of(points) if self.masks else None)]


def mask_of(points):
    """[HEIGHT, WIDTH], bool: the box of the body."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
    mask[top:bottom, left:right] = True
    return mask
