"""POSE_KEYPOINT, the data that ComfyUI's pose nodes exchange: the people in it, and keypoints in this form.

It is a list of frames, {"canvas_width", "canvas_height", "people"}. A person is {part: [x, y, score, x, y, score, ...]}
with OpenPose's 18 body points, feet, face and hands. Its sources differ:

- ComfyUI's SDPoseKeypointExtractor gives raw scores, puts missing points at -1, and swaps the names of the hands;
- DWPreprocessor of comfyui_controlnet_aux has no feet, scores of 0 or 1, and None for missing parts; older versions
  give coordinates in shares of the canvas.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, one_line, shown
from ..json_files import read_json
from .engines.found import normalised
from .keypoints import DRAWN, FACE, FEET, JOINTS, LEFT_HAND, POINTS, RIGHT_HAND, Keypoints
from .people import Person, Track
from .people import keypoints as track_keypoints

# From this score on, a point counts: DWPose cuts here, and ComfyUI's SDPoseDrawKeypoints draws from here on.
THRESHOLD = 0.3

# The keys of a person, and the points of COCO-WholeBody that stand in each but the body's.
BODY_KEY, FACE_KEY = "pose_keypoints_2d", "face_keypoints_2d"
OTHER_KEYS = {
    "foot_keypoints_2d": FEET,
    FACE_KEY: FACE,
    "hand_left_keypoints_2d": LEFT_HAND,
    "hand_right_keypoints_2d": RIGHT_HAND,
}
# OpenPose's body is the first 18 joints. Only the neck is no point itself: it is the mean of the shoulders.
BODY_JOINTS = 18
SINGLE = {number: group[0] for number, group in enumerate(JOINTS.values()) if len(group) == 1}
# A face may end with two more points, the eyes of the body.
FACE_EYES = [*JOINTS["right eye"], *JOINTS["left eye"]]

WRISTS = {"left": JOINTS["left wrist"][0], "right": JOINTS["right wrist"][0]}
HANDS_SWAPPED = np.r_[0:91, 112:133, 91:112]
# Stands for the distance to a hand or wrist that was not found: more pixels than a frame has.
UNKNOWN = 1e6

# A minute of one person is 15 MB of JSON at 30 frames a second.
MOST_BYTES = 1_000_000_000
# Coordinates up to this size are shares of the canvas. Detectors also look a little beyond the edges, so a limit of 1
# would take some clips for pixels; nobody who is seen is as small as two pixels.
LARGEST_SHARE = 2


def load_pose_keypoint(path: Path) -> list[dict[str, Any]]:
    """POSE_KEYPOINT of a JSON file; read_pose_keypoint looks at its frames. Raises InputError for what is no list."""

    def refuse(got: str) -> InputError:
        rule = "must be POSE_KEYPOINT as JSON, a list of frames"
        return InputError("keypoints", rule, "openpose.json", f"{got} in {one_line(path)}")

    frames = read_json(path, refuse, MOST_BYTES)
    if not isinstance(frames, list):
        raise refuse(shown(frames))
    return frames


def read_pose_keypoint(frames: Sequence[dict[str, Any]], width: int, height: int) -> list[list[Person]]:
    """The people in each frame of POSE_KEYPOINT, in pixels of a video of width x height, in their order there.

    A score of THRESHOLD becomes DRAWN. What is not there is missing: no feet, None or empty parts, scores of 0 or less,
    points with NaN, infinity or None, and points a million pixels away; somebody without a point is left out. Hands
    belong to the wrist that is nearer, whatever their names.
    Raises InputError, which names frame and key, for a part of another length or of something else than numbers, a
    canvas without a size, and what is no list of people.
    """
    found = [[_found(person, number) for person in _people(frame, number)] for number, frame in enumerate(frames)]
    # One source makes all frames: a frame alone may show too little to tell.
    largest = max((np.abs(points[:, :2]).max() for people in found for points in people), default=0)
    result = []
    for number, people in enumerate(found):
        canvas = (1, 1) if largest <= LARGEST_SHARE else _canvas(frames[number], number)
        # Whole numbers without bounds would stay Python's own, with which numpy does not count.
        scale = np.divide((width, height), np.array(canvas, dtype=np.float64))
        scaled = [_in_pixels(points, scale) for points in people]
        seen = (points for points in scaled if points[:, 2].any())
        result.append([_person(points[:, :2], normalised(points[:, 2], THRESHOLD)) for points in seen])
    return result


def keypoints_of(frames: Sequence[dict[str, Any]]) -> Keypoints:
    """What `as_pose_keypoint` made, at least one frame, as keypoints again: the first person of each frame."""
    width, height = _canvas(frames[0], 0)
    people = read_pose_keypoint(frames, width, height)
    places = np.array([0 if there else -1 for there in people])
    return track_keypoints(Track(places, np.zeros(len(places), dtype=bool)), people, width, height)


def as_pose_keypoint(keypoints: Keypoints) -> list[dict[str, Any]]:
    """Keypoints as POSE_KEYPOINT, in plain lists and numbers; read again, they are the same.

    Every person has all parts, a missing point is 0, 0, 0, and nobody is an empty list of people. DRAWN becomes
    THRESHOLD, so that other nodes draw the same points. Hands have their right names; reading keeps them where each
    lies nearer to its own wrist.
    """
    joints, joint_scores = keypoints.joints()
    body = _triples(joints[:, :BODY_JOINTS], joint_scores[:, :BODY_JOINTS])
    points = _triples(keypoints.points, keypoints.scores)
    parts = {BODY_KEY: body, **{key: points[:, part] for key, part in OTHER_KEYS.items()}}
    parts[FACE_KEY] = np.concatenate([parts[FACE_KEY], points[:, FACE_EYES]], axis=1)
    canvas = {"canvas_width": keypoints.width, "canvas_height": keypoints.height}
    people = [
        [{key: part[frame].ravel().tolist() for key, part in parts.items()}] if keypoints.scores[frame].any() else []
        for frame in range(len(points))
    ]
    return [{**canvas, "people": there} for there in people]


def _people(frame: Any, number: int) -> list[dict[str, Any]]:
    people = frame.get("people") or [] if isinstance(frame, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise InputError("keypoints", f"must have a list of people in frame {number}", "POSE_KEYPOINT", shown(frame))
    return people


def _canvas(frame: dict[str, Any], number: int) -> list[Any]:
    keys = ("canvas_width", "canvas_height")
    for key in keys:
        side = frame.get(key)
        if not isinstance(side, (int, float)) or not side > 0:
            raise InputError("keypoints", f"must have {key} in frame {number}", "pixels, above 0", shown(side))
    return [frame[key] for key in keys]


def _in_pixels(points: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """x, y and score [133, 3], scaled; all 0 where a point would lie further away than any frame reaches."""
    with np.errstate(over="ignore"):
        scaled = np.concatenate([points[:, :2] * scale, points[:, 2:]], axis=1)
    scaled[(np.abs(scaled[:, :2]) > UNKNOWN).any(axis=1)] = 0
    return scaled


def _found(person: dict[str, Any], frame: int) -> np.ndarray:
    """x, y and score as they are given, [133, 3]; all 0 where a point is missing."""
    found = np.zeros((POINTS, 3))
    found[list(SINGLE.values())] = _part(person, BODY_KEY, (BODY_JOINTS,), frame)[list(SINGLE)]
    for key, part in OTHER_KEYS.items():
        size = part.stop - part.start
        sizes = (size, size + len(FACE_EYES)) if key == FACE_KEY else (size,)
        found[part] = _part(person, key, sizes, frame)[:size]
    found[~np.isfinite(found).all(axis=1) | (found[:, 2] <= 0)] = 0
    return found


def _part(person: dict[str, Any], key: str, sizes: tuple[int, ...], frame: int) -> np.ndarray:
    """x, y and score of each point of a part that may have any of these sizes, [points, 3]."""
    flat = person.get(key)
    if flat is None:
        return np.zeros((sizes[0], 3))
    points = " or ".join(str(size) for size in sizes)
    rule = f"must have x, y and score of {points} points in {key} of frame {frame}"
    try:
        # None becomes NaN.
        numbers = np.array(flat, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("keypoints", rule, "or none", shown(flat)) from error
    if numbers.ndim != 1:
        raise InputError("keypoints", rule, "or none", shown(flat))
    if len(numbers) == 0:
        return np.zeros((sizes[0], 3))
    if len(numbers) not in [3 * size for size in sizes]:
        raise InputError("keypoints", rule, "or none", f"{len(numbers)} numbers")
    return numbers.reshape(-1, 3)


def _person(points: np.ndarray, scores: np.ndarray) -> Person:
    """The person, with each hand at the wrist that is nearer; by name where no wrist tells."""

    def distance(hand: slice, wrist: str) -> float:
        # The wrist of a hand is its first point; the next ones are not far from it. The place of the body's wrist is
        # good enough to tell the sides even where its score is low.
        there = np.flatnonzero(scores[hand] >= DRAWN)
        if len(there) == 0 or scores[WRISTS[wrist]] == 0:
            return UNKNOWN
        return float(np.hypot(*(points[hand][there[0]] - points[WRISTS[wrist]])))

    by_name = distance(LEFT_HAND, "left") + distance(RIGHT_HAND, "right")
    if distance(LEFT_HAND, "right") + distance(RIGHT_HAND, "left") < by_name:
        points, scores = points[HANDS_SWAPPED], scores[HANDS_SWAPPED]
    return Person(points, scores)


def _triples(points: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """x, y and score [..., 3] of points [..., 2] and scores [...], as POSE_KEYPOINT has them."""
    scores = scores[..., None]
    return np.concatenate(
        [np.where(scores > 0, points, 0), np.interp(scores, [0, DRAWN, 1], [0, THRESHOLD, 1])], axis=-1
    )
