"""Square regions of a frame, turned so that what they show stands upright: what MediaPipe's networks look at."""

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class Region:
    """A square. x, y: its centre, in pixels of the frame (0, 0 is the centre of the first pixel). side: in pixels.
    angle: how far it is turned clockwise, in radians."""

    x: float
    y: float
    side: float
    angle: float

    @classmethod
    def about(cls, centre: np.ndarray, top: np.ndarray) -> "Region":
        """The region with `top` [2] in the middle of its upper edge."""
        return cls(float(centre[0]), float(centre[1]), 2 * float(np.hypot(*(top - centre))), upright(centre, top))

    @classmethod
    def around(cls, points: np.ndarray, angle: float) -> "Region":
        """The smallest region of this angle around points [n, 2] whose centre is that of their box."""
        axes = _axes(angle)
        along = points @ axes.T
        low, high = along.min(axis=0), along.max(axis=0)
        x, y = (low + high) / 2 @ axes
        return cls(float(x), float(y), float((high - low).max()), angle)

    def scaled(self, factor: float) -> "Region":
        """The same with a side that is `factor` times as long."""
        return replace(self, side=self.side * factor)

    def raised(self, share: float) -> "Region":
        """The same, moved upwards, as it is turned, by this share of its side."""
        _, down = _axes(self.angle)
        x, y = np.array([self.x, self.y]) - share * self.side * down
        return replace(self, x=float(x), y=float(y))

    def near(self, other: "Region") -> bool:
        """Whether both can show the same person: their centres are no further apart than 0.15 of a side."""
        return bool(np.hypot(self.x - other.x, self.y - other.y) <= 0.15 * max(self.side, other.side))

    def crop(self, frame: np.ndarray, size: int) -> np.ndarray:
        """The region of a frame [H, W, 3] as [size, size, 3], black where it reaches beyond the frame."""
        # A large region is read at up to 4 x 4 places for each pixel: a single one would be noise.
        times = min(4, max(1, int(self.side / size)))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        picture = cv2.warpAffine(frame, self._matrix(times * size), (times * size, times * size), flags=flags)
        return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] of the square, 0..1 from its upper left corner, in pixels of the frame."""
        return (points - 0.5) * self.side @ _axes(self.angle) + [self.x, self.y]

    def paste(self, values: np.ndarray, width: int, height: int, beyond: float) -> np.ndarray:
        """Values [n, n] over the square as they lie in the frame: [height, width]; `beyond` outside the square."""
        matrix = self._matrix(len(values))
        return cv2.warpAffine(values, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(beyond,))

    def _matrix(self, size: int) -> np.ndarray:
        """[2, 3]: from the numbers of the pixels of a crop to those of the frame."""
        step = _axes(self.angle).T * self.side / size
        # The pixels' centres: the first one lies half a pixel inside the square.
        first = np.array([self.x, self.y]) - step @ np.full(2, (size - 1) / 2)
        return np.concatenate([step, first[:, None]], axis=1)


def upright(low: np.ndarray, high: np.ndarray) -> float:
    """The angle of a region in which `high` [2] lies straight above `low` [2]."""
    x, y = high - low
    return float(np.arctan2(x, -y))


def _axes(angle: float) -> np.ndarray:
    """[2, 2]: unit vectors to the right and down, as a region of this angle is turned."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
