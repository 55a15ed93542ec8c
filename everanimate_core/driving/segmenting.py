"""Masks of people from something that follows outlines through a video, for engines that find points only."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from .found_store import packed
from .people import Person, body, pairs

# An outline is somebody's if it has this share of their body's points.
LEAST = 0.3


class Segmenter(Protocol):
    """Finds people's outlines, and follows them through frames that come one after the other."""

    @property
    def digest(self) -> str:
        """Stands for all that its outlines depend on besides the frames: its weights and settings."""

    def follow(self, frames: np.ndarray, known: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """The outline of one person after the other through n frames [n, H, W, 3], float32 RGB in 0..1: [n, H, W],
        bool, of each. known: outlines [H, W] in the first frame, which are followed; whoever else comes is found."""


class Before(NamedTuple):
    """The frame before a window, [H, W, 3], and the masks [H, W] of the people in it; empty where there was none."""

    frame: np.ndarray
    masks: Sequence[np.ndarray]


def outlined(
    frames: np.ndarray, people: Sequence[Sequence[Person]], segmenter: Segmenter, before: Before | None
) -> list[list[bytes]]:
    """The masks of the people in each frame [n, H, W, 3] of a window, as they are kept; an empty one where none is
    found. before: None at the start of a clip.

    An outline is that of whoever has most of their body's points in it, and nobody's with fewer than LEAST of them.
    """
    known = [] if before is None else [mask for mask in before.masks if mask.any()]
    if before is not None and known:
        # They are followed from the frame that they are of.
        frames = np.concatenate([before.frame[None], frames])
    shares: list[list[list[float]]] = [[[] for _ in there] for there in people]
    outlines: list[list[bytes]] = [[] for _ in people]
    for outline in segmenter.follow(frames, known):
        for number, mask in enumerate(outline[-len(people) :]):
            inside = [_share_inside(person, mask) for person in people[number]]
            for row, share in zip(shares[number], inside, strict=True):
                row.append(share)
            outlines[number].append(packed(mask) if max(inside, default=0) >= LEAST else b"")
    nothing = packed(np.zeros(frames.shape[1:3], dtype=bool))
    return [_owned(*both, nothing) for both in zip(shares, outlines, strict=True)]


def _share_inside(person: Person, mask: np.ndarray) -> float:
    """Which share of the body's points lies in a mask [H, W]; 0 for somebody without any."""
    points = body(person)
    x, y = np.round(points[~np.isnan(points[:, 0])]).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    return np.count_nonzero(mask[y[inside], x[inside]]) / max(len(x), 1)


def _owned(shares: Sequence[Sequence[float]], outlines: Sequence[bytes], nothing: bytes) -> list[bytes]:
    """The outline of each person in a frame. shares: [people, outlines]."""
    owned = [nothing] * len(shares)
    for person, outline in pairs(-np.array(shares).reshape(len(shares), len(outlines)), -LEAST):
        owned[person] = outlines[outline]
    return owned
