"""What was found in a video, on disk, window by window: a search that was killed goes on with the next window.

    <folder>/found_00000.safetensors    the people of the first window, the histograms of its frames, the engine's state

Each file appears whole or not at all, and says what was searched: the frames themselves stand for the video.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..digests import digest
from ..errors import InputError, one_line
from ..json_files import Refuse, check_fields, parse_json
from ..tensor_files import check_shapes, read_tensors, write_tensors
from .keypoints import POINTS
from .people import Person

# Bytes of the float32 frames of a window: all that is in memory of a video at once.
WINDOW_BYTES = 256_000_000
# What finds the masks where the engine itself does.
OWN = "engine"
_RECORD = {"video": str, "engine": str, "weights": str, "masks": str}
_ANEW = "choose another run name or --out, or delete this folder"


@dataclass(frozen=True)
class Findings:
    """What was found in the n frames of a window.

    people: of each frame. masks: of the same people, [H, W], bool; as they are packed in the file. histograms: [n, 64],
    of cuts.histogram. state: of the engine, after the last frame.
    """

    people: Sequence[Sequence[Person]]
    masks: Sequence[Sequence[bytes]]
    histograms: np.ndarray
    state: np.ndarray


def windows(count: int, width: int, height: int) -> Iterator[slice]:
    """The windows of a clip of `count` frames of width x height pixels: each as many frames as WINDOW_BYTES hold."""
    size = max(1, WINDOW_BYTES // (12 * width * height))
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def eight_bit(frame: Tensor) -> Tensor:
    """A frame [H, W, 3] in 0..1 as uint8."""
    return (frame * 255).round().to(torch.uint8)


def packed(mask: np.ndarray) -> bytes:
    """A mask [H, W], bool, in few bytes."""
    return zlib.compress(np.packbits(mask).tobytes())


def unpacked(content: bytes, width: int, height: int) -> np.ndarray:
    """The mask [height, width], bool, of `packed`."""
    bits = np.frombuffer(zlib.decompress(content), np.uint8)
    return np.unpackbits(bits, count=width * height).reshape(height, width).astype(bool)


class FoundStore:
    """What an engine (its name, and its digest: weights) found in the windows of a video. The folder must exist.

    masks: what finds the masks that are kept, OWN or the digest of a segmenter; "" where none are.
    """

    def __init__(self, folder: Path, engine: str, weights: str, masks: str):
        self.folder, self.engine, self.weights, self.masks = folder, engine, weights, masks

    def path(self, window: int) -> Path:
        """The file of a window, counted from 0."""
        return self.folder / f"found_{window:05}.safetensors"

    def write(self, window: int, frames: Tensor, found: Findings) -> None:
        """Keep what was found in the frames [n, H, W, 3] of a window."""
        everybody = [person for there in found.people for person in there]
        masks = [mask for there in found.masks for mask in there]
        torsos = [[-1.0] * 3 if person.torso is None else person.torso for person in everybody]
        tensors = {
            "counts": [len(there) for there in found.people],
            "points": np.array([person.points for person in everybody]).reshape(-1, POINTS, 2),
            "scores": np.array([person.scores for person in everybody]).reshape(-1, POINTS),
            "torsos": np.array(torsos, np.float64).reshape(-1, 3),
            "histograms": found.histograms,
            "state": found.state,
            "masks": np.frombuffer(b"".join(masks), np.uint8).copy(),
            "mask_sizes": np.array([len(mask) for mask in masks], np.int64),
        }
        record = {"video": _video(frames), "engine": self.engine, "weights": self.weights, "masks": self.masks}
        as_tensors = {name: torch.as_tensor(value) for name, value in tensors.items()}
        write_tensors(self.path(window), as_tensors, {"found": json.dumps(record)})

    def kept(self, window: int, frames: Tensor) -> Findings | None:
        """What was found in a window; None when it was not searched yet, or not for the masks that are wanted.

        frames: [n, H, W, 3], of the window. Raises InputError, which names what differs, where other frames were
        searched, or by another engine, and for a damaged file.
        """
        if not self.path(window).exists():
            return None
        record, findings = self._opened(window)
        for name, mine in (("engine", self.engine), ("weights", self.weights)):
            if record[name] != mine:
                rule = f"must be of the engine {self.engine} with weights {self.weights[:8]}"
                got = f"the engine {one_line(record['engine'], 40)} with weights {one_line(record['weights'][:8])}"
                raise InputError("what was found", rule, _ANEW, f"{got} in {one_line(self.path(window))}")
        if record["video"] != _video(frames):
            got = f"another video, or another fps, in {one_line(self.path(window))}"
            raise InputError("what was found", "must be of this video at this fps", _ANEW, got)
        return findings if self.masks in ("", record["masks"]) else None

    def read(self, window: int) -> Findings:
        """What was found in a window that was searched. Raises InputError for a missing or damaged file."""
        return self._opened(window)[1]

    def _opened(self, window: int) -> tuple[dict[str, Any], Findings]:
        """What was searched for a window, and what was found."""

        def refuse(wrong: str) -> InputError:
            got = f"{one_line(self.path(window))}, {wrong}"
            return InputError("what was found", "must be in whole files of this program", _ANEW, got)

        tensors, metadata = read_tensors(self.path(window), refuse)
        record = check_fields(parse_json(metadata.get("found", ""), refuse), _RECORD, refuse)
        return record, _findings({name: tensor.numpy() for name, tensor in tensors.items()}, refuse)


def _findings(arrays: dict[str, np.ndarray], refuse: Refuse) -> Findings:
    """What FoundStore.write wrote, by name; refuses arrays that do not fit together."""
    none = np.zeros(0, np.int64)
    counts, sizes = arrays.get("counts", none), arrays.get("mask_sizes", none)
    people = int(counts.sum())
    expected = {
        "counts": (counts.size,),
        "points": (people, POINTS, 2),
        "scores": (people, POINTS),
        "torsos": (people, 3),
        "histograms": (counts.size, 64),
        "state": arrays.get("state", none).shape,
        "masks": (int(sizes.sum()),),
        "mask_sizes": (people if sizes.size else 0,),
    }
    check_shapes({name: array.shape for name, array in arrays.items()}, expected, refuse)
    torsos = [None if torso[0] < 0 else torso for torso in arrays["torsos"]]
    everybody = [Person(*one) for one in zip(arrays["points"], arrays["scores"], torsos, strict=True)]
    stops = np.cumsum(sizes)
    masks = [part.tobytes() for part in np.split(arrays["masks"], stops[:-1])] if len(stops) else []
    frames = [slice(end - count, end) for end, count in zip(np.cumsum(counts), counts, strict=True)]
    return Findings(
        [everybody[frame] for frame in frames],
        [masks[frame] for frame in frames],
        arrays["histograms"],
        arrays["state"],
    )


def _video(frames: Tensor) -> str:
    """Stands for the frames of a window, to a step of 8 bits."""
    return digest(*(eight_bit(frame) for frame in frames))
