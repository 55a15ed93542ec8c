"""The engine for ONNX files: a detector that finds people, and a network that finds the 133 points of each.

What a file is follows from its shapes, not from its name. onnxruntime is imported when an engine is made.
"""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ...digests import digest, file_digest
from ...errors import InputError, needed, one_line
from ..keypoints import POINTS
from . import decoders
from .boxes import Crop
from .engine import START, FrameByFrame
from .found import Found, normalised

# Of ImageNet, in RGB: what the pose networks were trained with.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# The scores from which on these networks' points are drawn.
HEATMAPS_DRAWN, SIMCC_DRAWN = 0.5, 0.3
GREY = 114 / 255
DETECTOR_FILES = "yolov10m.onnx or yolox_l.onnx"
POSE_FILES = "vitpose_h_wholebody.onnx, vitpose-l-wholebody.onnx or dw-ll_ucoco_384.onnx"

Shape = Sequence[int | str | None]


class Network(NamedTuple):
    """An open file. run: a picture [3, height, width], float32, in; the outputs, without their first axis, out."""

    run: Callable[[np.ndarray], list[np.ndarray]]
    width: int
    height: int
    kind: str
    file: Path


class OnnxEngine(FrameByFrame):
    """Finds up to `people` in each frame, the surest ones. It remembers nothing from frame to frame.

    folder: holds a detector and a pose network, *.onnx; of several the first by name. Raises InputError when one of
    them is missing, ImportError without onnxruntime. name, digest and state are those of engine.Engine.
    """

    name = "onnx"

    def __init__(self, folder: Path, people: int = 4):
        self.people, self.state = people, START
        self._detector, self._pose = networks_in(folder)

    @cached_property
    def digest(self) -> str:
        """Of both networks, with the weights that lie in files beside them."""
        networks = (self._detector, self._pose)
        files = [file for network in networks for file in (network.file, *weights_beside(network.file))]
        return digest(self.people, [file_digest(file) for file in files])

    def find(self, frame: np.ndarray) -> list[Found]:
        """The people in a frame, [H, W, 3], float32 RGB in 0..1, the surest first; without masks."""
        boxes = DETECTORS[self._detector.kind](self._detector, frame)
        return [self._person(frame, box) for box in boxes[: self.people]]

    def _person(self, frame: np.ndarray, box: np.ndarray) -> Found:
        crop = Crop.of(box, self._pose.width, self._pose.height)
        points, scores = POSES[self._pose.kind](self._pose, crop.picture(frame))
        return Found(crop.to_frame(points), scores, None)


def kind_of(picture: Shape, outputs: Sequence[Shape]) -> str | None:
    """What a file is, from the shapes of its input and its outputs: yolov10, yolox, heatmaps, simcc or None.

    Sizes that are not fixed are words or None; those of the picture, [n, 3, height, width], must be fixed.
    """
    if len(picture) != 4 or picture[1] != 3 or not all(isinstance(side, int) for side in picture[2:]):
        return None
    ranks = [len(shape) for shape in outputs]
    if ranks == [3] and outputs[0][2] in (6, 85):
        return "yolov10" if outputs[0][2] == 6 else "yolox"
    if ranks == [4] and outputs[0][1] == POINTS:
        return "heatmaps"
    return "simcc" if ranks == [3, 3] and outputs[0][1] == outputs[1][1] == POINTS else None


def networks_in(folder: Path) -> tuple[Network, Network]:
    """The first detector and the first pose network in a folder, by name. Raises InputError when one is missing."""
    runtime = needed("onnxruntime", "The engine onnx")
    files = sorted(folder.glob("*.onnx"))
    found: dict[str, Network] = {}
    for file in files:
        network = opened(file, runtime)
        if network is not None:
            found.setdefault("detector" if network.kind in DETECTORS else "pose", network)
        if len(found) == 2:
            return found["detector"], found["pose"]
    wanted = f"{POINTS} points ({POSE_FILES})" if "detector" in found else f"people ({DETECTOR_FILES})"
    there = ", ".join(one_line(file.name) for file in files) or "no .onnx file"
    raise InputError("pose_models", f"must hold a network for {wanted}", "", f"{there} in {one_line(folder)}")


def opened(file: Path, runtime: Any) -> Network | None:
    """A file as a network; None for one of another kind. Raises InputError for a file that cannot be read."""
    try:
        session = runtime.InferenceSession(str(file), providers=runtime.get_available_providers())
    except Exception as error:
        # onnxruntime has an exception of its own for each fault, which share no other parent.
        raise InputError("pose_models", "must hold whole ONNX files", "", one_line(f"{file}: {error}", 400)) from error
    (source, *_), outputs = session.get_inputs(), session.get_outputs()
    kind = kind_of(source.shape, [output.shape for output in outputs])
    if kind is None:
        return None
    height, width = source.shape[2:]

    def run(picture: np.ndarray) -> list[np.ndarray]:
        return [output[0] for output in session.run(None, {source.name: picture[None]})]

    return Network(run, width, height, kind, file)


def weights_beside(file: Path) -> list[Path]:
    """The files beside an ONNX file whose names stand in it, sorted: where it keeps weights, it names their file.

    As it stands there in plain text, nothing has to be parsed. A name that stands there by chance does no harm.
    """
    others = sorted(path for path in file.parent.iterdir() if path.is_file() and path.suffix != file.suffix)
    with file.open("rb") as stored, mmap(stored.fileno(), 0, access=ACCESS_READ) as content:
        return [path for path in others if content.find(os.fsencode(path.name)) >= 0]


def planes(picture: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] as ONNX networks take it: [3, H, W], float32."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32)


def yolov10_boxes(network: Network, frame: np.ndarray) -> np.ndarray:
    """People's boxes [n, 4] in pixels of the frame, surest first. The network sees the frame stretched to its size."""
    size = (network.width, network.height)
    (rows,) = network.run(planes(cv2.resize(frame, size)))
    boxes, _ = decoders.yolov10(rows)
    return boxes * np.tile(np.divide(frame.shape[1::-1], size), 2)


def yolox_boxes(network: Network, frame: np.ndarray) -> np.ndarray:
    """People's boxes [n, 4] in pixels of the frame, surest first. The network sees the frame in the upper left corner
    of a grey picture, in BGR, 0..255 (github.com/Megvii-BaseDetection/YOLOX/issues/1492)."""
    height, width = frame.shape[:2]
    scale = min(network.width / width, network.height / height)
    inner = cv2.resize(frame, (int(width * scale), int(height * scale)))
    picture = np.full((network.height, network.width, 3), GREY, np.float32)
    picture[: inner.shape[0], : inner.shape[1]] = inner
    (rows,) = network.run(planes(picture[..., ::-1] * 255))
    boxes, _ = decoders.yolox(rows, network.width, network.height)
    return boxes / scale


def heatmap_points(network: Network, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [133, 2] in pixels of a crop [height, width, 3], and scores [133] in 0..1, 0.5 for HEATMAPS_DRAWN."""
    (maps,) = network.run(planes((picture - MEAN) / DEVIATION))
    points, scores = decoders.heatmaps(maps)
    return points * np.divide([network.width, network.height], maps.shape[:0:-1]), normalised(scores, HEATMAPS_DRAWN)


def simcc_points(network: Network, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [133, 2] in pixels of a crop [height, width, 3], and scores [133] in 0..1, 0.5 for SIMCC_DRAWN."""
    points, scores = decoders.simcc(*network.run(planes((picture - MEAN) / DEVIATION)))
    return points, normalised(scores, SIMCC_DRAWN)


DETECTORS = {"yolov10": yolov10_boxes, "yolox": yolox_boxes}
POSES = {"heatmaps": heatmap_points, "simcc": simcc_points}
