"""A real dancer's keypoints as a figure's: its own lengths, in the dancer's directions.

The toy's network knows one kind of body, which stands on the floor. So only what the dancer does is taken over: where
each limb points and how much of its length is seen, how shoulders and head are turned, and the way to the side.
"""

import numpy as np
import torch
from torch import Tensor

from ...driving.keypoints import DRAWN, Keypoints
from .motion import REACH, mirror
from .raster import SIZE
from .skeleton import FACE, FLOOR, JOINTS, KEYPOINTS, SHOULDER_DROP, Proportions, visible

# What tells the whole length of a limb: it is seen longer in one frame of twenty.
_WHOLE = 95
# How far the nose lies before the ears, in halves of the distance between them.
_NOSE = 1.4
# How high the pelvis is at least, by the length of a leg: the figure's own worlds never show it lower, and the network
# cannot draw a head where none ever was. Who kneels or jumps has their feet above the floor.
_LOWEST = 0.89
_DOWN = np.array([0.0, 1.0])


def figure_points(dancer: Keypoints, body: Proportions) -> tuple[Tensor, Tensor]:
    """What `pose.draw_pose` draws: joints [N, len(JOINTS), 3] in pixels of the figure's picture, and found [N, 18].

    dancer: N frames, at least one. A joint that is missing for a while goes straight from where it was to where it is
    again; arms and legs that are never seen hang down. Depths are set of the head's points alone.
    """
    seen = _Seen(dancer)
    torso = seen.direction("neck", "pelvis")
    turned = seen.turned()
    # The pelvis is the origin, until all is put on the floor.
    places = {"pelvis": np.zeros_like(torso), "neck": -body.torso * torso}
    drop, level = np.full_like(turned, SHOULDER_DROP), np.zeros_like(turned)
    for name, side in (("right", -1.0), ("left", 1.0)):
        across = side * turned
        places[f"shoulder {name}"] = places["neck"] + body.shoulders * np.stack([across, drop], 1)
        places[f"hip {name}"] = body.hips * np.stack([across, level], 1)
        for start, end, length in (
            ("shoulder", "elbow", body.arm),
            ("elbow", "wrist", body.arm),
            ("hip", "knee", body.leg),
            ("knee", "ankle", body.leg),
        ):
            limb = seen.limb(f"{start} {name}", f"{end} {name}")
            places[f"{end} {name}"] = places[f"{start} {name}"] + length * limb
    places["head"] = places["neck"] + body.neck * seen.direction("neck", "ears", otherwise=-torso)
    points = np.zeros((len(torso), len(JOINTS), 3))
    for name, place in places.items():
        points[:, JOINTS.index(name), :2] = place
    _add_face(points, seen.head_yaw(turned), body)
    points[..., 0] += SIZE / 2 + seen.way(body)[:, None]
    ankles = [JOINTS.index(f"ankle {side}") for side in ("right", "left")]
    # The pelvis is at 0.
    height = np.maximum(points[:, ankles, 1].max(axis=1), _LOWEST * 2 * body.leg)
    points[..., 1] += (FLOOR - height)[:, None]
    shown = torch.from_numpy(points).float()
    return shown, visible(shown, body)


def _add_face(points: np.ndarray, yaw: np.ndarray, body: Proportions) -> None:
    """Put the points of the face [N, len(JOINTS), 3] onto the head, which is turned by `yaw` [N] radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    head = points[:, JOINTS.index("head")]
    for name, (x, y, z) in FACE.items():
        offset = np.stack([x * cos + z * sin, np.full_like(cos, y), z * cos - x * sin], axis=1)
        points[:, JOINTS.index(name)] = head + body.head * offset


class _Seen:
    """Where a dancer's joints are, by the figure's names, NaN where they are never seen: [N, 2] in the video's pixels,
    y downwards."""

    def __init__(self, dancer: Keypoints):
        joints, scores = dancer.joints()
        # Both have OpenPose's order; the dancer has toes behind it.
        self.places = {
            name: _bridged(joints[:, number], scores[:, number] >= DRAWN) for number, name in enumerate(KEYPOINTS)
        }
        for name, pair in (("pelvis", "hip"), ("ears", "ear")):
            self.places[name] = (self.places[f"{pair} right"] + self.places[f"{pair} left"]) / 2

    def direction(self, start: str, end: str, otherwise: np.ndarray = _DOWN) -> np.ndarray:
        """Unit vectors [N, 2] from one joint to another; `otherwise` where they cannot be told."""
        away = self.places[end] - self.places[start]
        lengths = np.hypot(*away.T)[:, None]
        known = np.nan_to_num(lengths) > 0
        return np.where(known, away / np.where(known, lengths, 1.0), otherwise)

    def limb(self, start: str, end: str) -> np.ndarray:
        """What is seen of a limb, in its whole length: [N, 2], as long as 1 or shorter; it hangs down if it is never
        seen."""
        lengths = np.hypot(*(self.places[end] - self.places[start]).T)
        whole = max(self._whole(start, end), self._whole(mirror(start), mirror(end)))
        shares = np.where(np.isnan(lengths), 1.0, np.minimum(lengths / max(whole, 1e-6), 1.0))
        return shares[:, None] * self.direction(start, end)

    def turned(self) -> np.ndarray:
        """How much of the width of the shoulders is seen [N]: 1 from the front, -1 from the back."""
        across = (self.places["shoulder left"] - self.places["shoulder right"])[:, 0]
        whole = self._whole("shoulder left", "shoulder right")
        return np.where(np.isnan(across), 1.0, np.clip(across / max(whole, 1e-6), -1, 1))

    def head_yaw(self, turned: np.ndarray) -> np.ndarray:
        """How the head is turned [N], radians, positive to the viewer's right; as the shoulders are, where ears or nose
        are never seen."""
        ears, nose = self.places["ears"][:, 0], self.places["nose"][:, 0]
        half = self.places["ear left"][:, 0] - ears
        yaw = np.arctan2((nose - ears) / _NOSE, half)
        return np.where(np.isnan(yaw), np.where(turned < 0, np.pi, 0.0), yaw)

    def way(self, body: Proportions) -> np.ndarray:
        """How far the dancer is from where they mostly are [N], in pixels of the figure, within its reach."""
        neck, whole = self.places["neck"][:, 0], self._whole("neck", "pelvis")
        if np.isnan(neck).any() or whole == 0:
            return np.zeros(len(neck))
        return np.clip((neck - np.median(neck)) * body.torso / whole, -REACH, REACH)

    def _whole(self, start: str, end: str) -> float:
        """The length of a limb that is seen whole, in pixels; 0 where it is never seen."""
        lengths = np.hypot(*(self.places[end] - self.places[start]).T)
        return 0.0 if np.isnan(lengths).any() else float(np.percentile(lengths, _WHOLE))


def _bridged(track: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Positions [N, 2], straight from one frame in which the joint is there [N] to the next; NaN if there is none."""
    if not there.any():
        return np.full_like(track, np.nan)
    frames = np.arange(len(track))
    return np.stack([np.interp(frames, frames[there], track[there, axis]) for axis in range(2)], axis=1)
