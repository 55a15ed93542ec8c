"""Joints of the figure in space, from its proportions and a posture."""

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from .motion import Posture
from .raster import SIZE

# The 18 points of OpenPose, in its order; sides are the figure's own.
KEYPOINTS = (
    "nose",
    "neck",
    *(f"{part} right" for part in ("shoulder", "elbow", "wrist")),
    *(f"{part} left" for part in ("shoulder", "elbow", "wrist")),
    *(f"{part} right" for part in ("hip", "knee", "ankle")),
    *(f"{part} left" for part in ("hip", "knee", "ankle")),
    *(f"{part} {side}" for part in ("eye", "ear") for side in ("right", "left")),
)
JOINTS = (*KEYPOINTS, "head", "pelvis")
# Where the ankle of the lower leg stands, in pixels from the top.
FLOOR = 57.0
# How much lower than the neck a shoulder is, by how far it is to the side.
SHOULDER_DROP = 0.35


@dataclass(frozen=True)
class Proportions:
    """Lengths and radii in pixels."""

    head: float
    torso: float
    arm: float
    leg: float
    torso_radius: float
    arm_radius: float
    leg_radius: float

    @property
    def shoulders(self) -> float:
        """From the neck to a shoulder, which is beside the torso."""
        return self.torso_radius + 0.5

    @property
    def hips(self) -> float:
        """From the pelvis to a hip, which is under the torso."""
        return self.torso_radius - 2.7

    @property
    def neck(self) -> float:
        """From the neck to the middle of the head."""
        return self.head - 1.5


def draw_proportions(random: Random) -> Proportions:
    """Proportions of a new figure; arms and legs are 7 to 8 pixels thick."""
    return Proportions(
        head=random.uniform(8.0, 9.8),
        torso=random.uniform(11.5, 14.0),
        arm=random.uniform(7.0, 8.2),
        leg=random.uniform(6.8, 8.2),
        torso_radius=random.uniform(5.6, 6.8),
        arm_radius=random.uniform(3.5, 3.8),
        leg_radius=random.uniform(3.6, 4.0),
    )


def _direction(side: float, angle: Tensor, swing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vector of a limb: hanging down at 0, 0; `angle` to the side, `swing` forward."""
    down = torch.cos(angle)
    return side * torch.sin(angle), down * torch.cos(swing), down * torch.sin(swing)


def _step(start: tuple, way: tuple, length: float) -> tuple:
    return tuple(one + other * length for one, other in zip(start, way, strict=True))


def joints(posture: Posture, body: Proportions) -> Tensor:
    """Joints [n, len(JOINTS), 3] in pixels: x to the right, y down, z towards the viewer (0 in the middle of the body).

    The lower foot stands on the floor in every frame.
    """
    angle = posture.named()
    zero = torch.zeros_like(posture.yaw)
    pelvis = (zero, zero, zero)
    up = (torch.sin(angle["lean"]), -torch.cos(angle["lean"]), zero)
    neck = _step(pelvis, up, body.torso)
    head = _step(neck, (torch.sin(angle["lean"] + angle["tilt"]), -torch.cos(angle["tilt"]), zero), body.neck)
    points = {"pelvis": pelvis, "neck": neck, "head": head}
    for name, place in FACE.items():
        points[name] = tuple(base + share * body.head for base, share in zip(head, place, strict=True))
    for name, side in (("right", -1.0), ("left", 1.0)):
        shoulder = _step(neck, (zero + side, zero + SHOULDER_DROP, zero), body.shoulders)
        raised, swung = angle[f"raise {name}"], angle[f"swing {name}"]
        elbow = _step(shoulder, _direction(side, raised, swung), body.arm)
        lower = _direction(side, raised + angle[f"bend {name}"], swung + angle[f"fold {name}"])
        points |= {f"shoulder {name}": shoulder, f"elbow {name}": elbow, f"wrist {name}": _step(elbow, lower, body.arm)}
        hip = _step(pelvis, (zero + side, zero, zero), body.hips)
        raised, swung = angle[f"leg raise {name}"], angle[f"leg swing {name}"]
        knee = _step(hip, _direction(side, raised, swung), body.leg)
        lower = _direction(side, raised, swung - angle[f"knee {name}"])
        points |= {f"hip {name}": hip, f"knee {name}": knee, f"ankle {name}": _step(knee, lower, body.leg)}
    flat = torch.stack([torch.stack(points[name], dim=-1) for name in JOINTS], dim=1)
    x, y, z = flat.unbind(-1)
    cos, sin = torch.cos(posture.yaw)[:, None], torch.sin(posture.yaw)[:, None]
    lowest = torch.maximum(y[:, JOINTS.index("ankle right")], y[:, JOINTS.index("ankle left")])
    across = SIZE / 2 + posture.place[:, None] + (x * cos + z * sin)
    return torch.stack([across, y + (FLOOR - lowest)[:, None], z * cos - x * sin], dim=-1)


# Points of the head, in its radii, as the figure faces the viewer.
FACE = {
    "nose": (0.0, 0.2, 0.98),
    "eye right": (-0.36, 0.0, 0.93),
    "eye left": (0.36, 0.0, 0.93),
    "ear right": (-1.0, 0.1, 0.0),
    "ear left": (1.0, 0.1, 0.0),
}


def visible(points: Tensor, body: Proportions) -> Tensor:
    """Which keypoints a viewer can find, bool [n, 18]: face points while they are on the near side of the head.

    points: [n, len(JOINTS), 3] of `joints`. Limbs are always found, also behind the body.
    """
    depth = points[:, : len(KEYPOINTS), 2] - points[:, JOINTS.index("head"), 2][:, None]
    limit = torch.full((len(KEYPOINTS),), -torch.inf)
    for name in FACE:
        # Ears stick out: they are seen a little longer.
        limit[KEYPOINTS.index(name)] = body.head * (-0.6 if name.startswith("ear") else 0.0)
    return depth > limit
