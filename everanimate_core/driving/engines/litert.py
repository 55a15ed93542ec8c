"""The default engine: MediaPipe's networks for bodies, hands and faces, in process (ai-edge-litert), without a GPU.

A network that finds people is only asked while somebody may be missing. Each person's points say where to look in the
next frame. The networks are described in arXiv 2006.10204 (body), 2006.10214 (hands) and 1907.06724 (face).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import NamedTuple

import numpy as np

from ...digests import digest
from .engine import FrameByFrame
from .found import Found
from .landmarks import whole_body
from .regions import Region, upright

# Presence from which on a body is followed, and the score of a candidate that is looked at when nobody else is there.
PRESENT, SURE, UNSURE = 0.5, 0.5, 0.3
# How much larger the region is in which somebody is looked for who was lost.
AROUND = 1.25
# By which factor another body has to be larger to take the place of one that is followed.
MORE = 1.5
# Sides of the networks' pictures, in pixels.
DETECTION, BODY, HAND, FACE = 224, 256, 224, 192
# The detection's cells: how many there are along a side, and how many boxes each has.
CELLS = ((28, 2), (14, 2), (7, 6))
# Of a body's 39 points: the centre of the hips and the top of the circle around the person, and the head's.
CENTRE, TOP, HEAD = 33, 34, slice(0, 11)
RIGHT_EYE, LEFT_EYE = 5, 2
# Wrist, little finger and index finger of the left and of the right hand.
HANDS = ((15, 17, 19), (16, 18, 20))
# Of a hand's points: the wrist and those of the palm, which turn less than the finger tips.
WRIST, PALM = 0, [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
# Of a face's points: the outer corners of the right and the left eye.
RIGHT_CORNER, LEFT_CORNER = 33, 263
FACE_LOOKS = 3


class Body(NamedTuple):
    """A body in a frame of H x W pixels. points: [39, 2], pixels. scores: [39]. presence: of a body at all, 0..1.
    mask: [H, W], bool."""

    points: np.ndarray
    scores: np.ndarray
    presence: float
    mask: np.ndarray

    @property
    def size(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    def next_region(self) -> Region:
        """Where to look for it in the next frame."""
        return Region.about(self.points[CENTRE], self.points[TOP]).scaled(1.25)

    def same(self, other: "Body") -> bool:
        """Whether both are one person: they will be looked for at one place, or half of one mask is in the other."""
        shared = np.count_nonzero(self.mask & other.mask)
        return self.next_region().near(other.next_region()) or bool(2 * shared > min(self.size, other.size))


class Network:
    """A tflite file as a function: a picture [n, n, 3] in, the outputs out, without their first axis, which is 1."""

    def __init__(self, content: bytes, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output)[0] for output in self._outputs]


class LitertEngine(FrameByFrame):
    """Finds up to `people` in each frame, and follows them from frame to frame.

    weights: see read_weights. threads: how many the networks use. regions: where the people of the frame before are
    looked for; whoever goes on with a clip later can keep it, and set it again. Empty at the start of a clip.
    name, digest and state are those of engine.Engine.
    """

    name = "litert"

    def __init__(self, weights: Mapping[str, bytes], people: int = 2, threads: int = 2):
        self.people = people
        self.digest = digest(people, {name: hashlib.sha256(content).hexdigest() for name, content in weights.items()})
        self.regions: Sequence[Region] = ()
        self._detection, self._body, self._hand, self._face = (
            Network(weights[name], threads)
            for name in ("pose_detection", "pose_landmark_full", "hand_landmark_full", "face_landmark")
        )

    @property
    def state(self) -> np.ndarray:
        """The regions, [people, 4]."""
        return np.array([astuple(region) for region in self.regions]).reshape(-1, 4)

    @state.setter
    def state(self, state: np.ndarray) -> None:
        self.regions = [Region(*row) for row in state.reshape(-1, 4).tolist()]

    def find(self, frame: np.ndarray) -> list[Found]:
        """The people in the next frame, [H, W, 3], float32 RGB in 0..1; the largest first."""
        bodies = distinct([self._followed(frame, region) for region in self.regions])
        if len(bodies) < self.people:
            bodies = self._with_others(frame, bodies)
        self.regions = [body.next_region() for body in bodies]
        return [self._person(frame, body) for body in bodies]

    def _followed(self, frame: np.ndarray, region: Region) -> Body:
        """Who was in the region in the frame before. Whoever has left it by a fast move is looked for around it."""
        body = self._body_in(frame, region)
        return body if body.presence >= PRESENT else self._body_in(frame, region.scaled(AROUND))

    def _with_others(self, frame: np.ndarray, bodies: list[Body]) -> list[Body]:
        """`bodies` and who else is in the frame, up to the number of people.

        What is found of a person who is there already is mostly wrong, a fist that is taken for a head, say. It counts
        where it shows much more.
        """
        for score, region in self._candidates(frame):
            if len(bodies) == self.people or (bodies and score < SURE):
                break
            if not any(region.near(body.next_region()) for body in bodies):
                new = self._body_in(frame, region)
                if all(new.size > MORE * body.size for body in bodies if body.same(new)):
                    bodies = distinct([*bodies, new])
        return bodies

    def _candidates(self, frame: np.ndarray) -> list[tuple[float, Region]]:
        """Where people may be, with the score of each, highest first."""
        height, width = frame.shape[:2]
        whole = Region((width - 1) / 2, (height - 1) / 2, max(width, height), 0.0)
        boxes, logits = self._detection(whole.crop(frame, DETECTION) * 2 - 1)
        scores = sigmoid(logits[:, 0])
        found: list[tuple[float, Region]] = []
        for number in np.argsort(-scores, kind="stable")[: np.count_nonzero(scores > UNSURE)]:
            pairs = boxes[number].reshape(6, 2)[2:4] / DETECTION + ANCHORS[number]
            region = Region.about(*whole.to_frame(pairs)).scaled(1.25)
            if not any(region.near(other) for _, other in found):
                found.append((float(scores[number]), region))
        return found

    def _body_in(self, frame: np.ndarray, region: Region) -> Body:
        values, presence, mask, heatmaps, _ = self._body(region.crop(frame, BODY))
        values = values.reshape(39, 5)
        points = refined(values[:, :2] / BODY, sigmoid(heatmaps))
        # A point counts as much as the less sure of two: that it is not hidden, and that it is in the picture.
        scores = sigmoid(values[:, 3:]).min(axis=1)
        height, width = frame.shape[:2]
        inside = region.paste(mask[..., 0], width, height, beyond=-1.0) > 0
        return Body(region.to_frame(points), scores, float(presence[0]), inside)

    def _person(self, frame: np.ndarray, body: Body) -> Found:
        hands = [self._hand_of(frame, hand_region(*body.points[list(points)])) for points in HANDS]
        face = self._face_of(frame, head_region(body.points))
        points, scores = whole_body(body.points, body.scores, hands, face)
        return Found(points, scores, body.mask)

    def _hand_of(self, frame: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """A hand's points [21, 2] and their score: the surer of a look at `region`, and of one at the palm it shows."""
        first = self._hand_in(frame, region)
        return max(first, self._hand_in(frame, palm_region(first[0])), key=lambda hand: hand[1])

    def _hand_in(self, frame: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        values, presence = self._hand(region.crop(frame, HAND))[:2]
        return region.to_frame(values.reshape(21, 3)[:, :2] / HAND), float(presence[0])

    def _face_of(self, frame: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """A face's points [468, 2] and their score, from FACE_LOOKS looks, each at where the one before saw the face.

        Points move into place from look to look, but the score does not say so: the last points, the highest score.
        """
        points, score = self._face_in(frame, region)
        for _ in range(FACE_LOOKS - 1):
            points, again = self._face_in(frame, face_region(points))
            score = max(score, again)
        return points, score

    def _face_in(self, frame: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        values, presence = self._face(region.crop(frame, FACE))
        return region.to_frame(values.reshape(468, 3)[:, :2] / FACE), float(sigmoid(presence.ravel()[0]))


def anchors() -> np.ndarray:
    """[2254, 2]: the centre of the cell of each of the detection's boxes, as shares of its picture."""
    grids = []
    for side, boxes in CELLS:
        y, x = (np.mgrid[:side, :side] + 0.5) / side
        grids.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), boxes, axis=0))
    return np.concatenate(grids)


ANCHORS = anchors()


def distinct(bodies: Sequence[Body]) -> list[Body]:
    """The bodies that are present, the largest first; of several that are one person only the largest.

    Presence does not tell a body from a wrong one, of which the arms are taken for legs, say; its mask lacks the rest.
    """
    found: list[Body] = []
    for body in sorted(bodies, key=lambda body: -body.size):
        if body.presence >= PRESENT and not any(body.same(other) for other in found):
            found.append(body)
    return found


def refined(points: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Points [n, 2], in 0..1 of a picture, moved to the mean of the 7 x 7 cells around them, weighted by [h, w, n].

    Points outside the picture stay, and those near which no cell has more than 0.5.
    """
    height, width, count = heatmaps.shape
    x, y = np.floor(points * [width, height]).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    # Three cells of zeros around the picture: windows at its edge have the same size.
    padded = np.pad(heatmaps, ((3, 3), (3, 3), (0, 0)))
    rows, columns = np.mgrid[:7, :7]
    rows = np.where(inside, y, 0)[:, None, None] + rows
    columns = np.where(inside, x, 0)[:, None, None] + columns
    weights = padded[rows, columns, np.arange(count)[:, None, None]]
    sure = inside & (weights.max(axis=(1, 2)) > 0.5)
    total = weights.sum(axis=(1, 2))
    means = [(weights * (cells - 3)).sum(axis=(1, 2)) / np.maximum(total, 1e-9) for cells in (columns, rows)]
    return np.where(sure[:, None], np.stack(means, axis=1) / [width, height], points)


def hand_region(wrist: np.ndarray, little: np.ndarray, index: np.ndarray) -> Region:
    """Where a hand is, from three points [2] of the body."""
    middle = (2 * index + little) / 3
    # The wrist in the middle of the lower edge.
    return Region.about(middle, 2 * middle - wrist).raised(0.1).scaled(2.7)


def palm_region(points: np.ndarray) -> Region:
    """Where a hand is, from its own points [21, 2]."""
    knuckles = 0.25 * (points[5] + points[13]) + 0.5 * points[9]
    return Region.around(points[PALM], upright(points[WRIST], knuckles)).raised(0.1).scaled(2.0)


def head_region(points: np.ndarray) -> Region:
    """Where a face is, from the points [33 or more, 2] of the body."""
    return Region.around(points[HEAD], level(points[RIGHT_EYE], points[LEFT_EYE])).scaled(2.5)


def face_region(points: np.ndarray) -> Region:
    """Where a face is, from its own points [468, 2]."""
    return Region.around(points, level(points[RIGHT_CORNER], points[LEFT_CORNER])).scaled(1.5)


def level(right: np.ndarray, left: np.ndarray) -> float:
    """The angle of a region in which a person's `left` [2] lies at the height of their `right` [2]."""
    x, y = left - right
    return float(np.arctan2(y, x))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), in a form that does not overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)
