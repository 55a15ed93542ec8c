"""A drawn person made of capsules: where its joints are for a posture, and what stands around them.

Lengths are in metres: x to the viewer's right, y up from the floor, z towards the viewer. Left and right are the
person's own.
"""

from dataclasses import dataclass, field

import numpy as np

SHOULDER, HIP, UPPER_ARM, FOREARM, THIGH, SHIN = 0.165, 0.085, 0.27, 0.24, 0.43, 0.41
SPINE, NECK, HEAD = 0.5, 0.075, 0.115
SIDES = {"right": -1.0, "left": 1.0}


@dataclass(frozen=True)
class Look:
    """Colours, RGB in 0..1, and the cut of hair and clothes."""

    skin: tuple
    hair: tuple
    shirt: tuple
    trousers: tuple
    shoes: tuple
    lips: tuple
    eyes: tuple
    long_hair: bool = True
    long_sleeves: bool = False
    stripe: tuple | None = None
    large_eyes: bool = False


@dataclass
class Posture:
    """One moment. Feet and wrists are places in metres; the elbows and knees follow from them.

    pelvis: [3]. lean: of the spine to the side, turn: of the shoulders, hip_turn: of the hips, nod, tilt and look: of
    the head, all in radians. feet: {side: [3]}, ankles. heels: {side: how far the heel is lifted, 0..1}. wrists: {side:
    [3]} from the shoulder, in the frame of the chest, in arm lengths. fists: {side: 0 open, 1 closed}. blink, smile:
    0..1.
    """

    pelvis: np.ndarray
    lean: float
    turn: float
    hip_turn: float
    nod: float
    tilt: float
    look: float
    feet: dict
    heels: dict
    wrists: dict
    fists: dict
    blink: float = 0.0
    smile: float = 0.0


@dataclass
class Body:
    """The joints by name [3], and the frames (rotations, columns are axes) of hips, chest, head and feet."""

    points: dict
    hips: np.ndarray
    chest: np.ndarray
    head: np.ndarray
    hands: dict = field(default_factory=dict)
    feet: dict = field(default_factory=dict)


def around_x(angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def around_y(angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def around_z(angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def bent(start, end, upper, lower, towards):
    """The joint between two bones that reach from start to end, bent towards a direction; and where the end comes."""
    way = end - start
    far = np.linalg.norm(way)
    reach = min(far, 0.999 * (upper + lower))
    way = way / far
    along = (upper**2 - lower**2 + reach**2) / (2 * reach)
    out = towards - way * (towards @ way)
    out /= np.linalg.norm(out)
    middle = start + along * way + np.sqrt(max(upper**2 - along**2, 0)) * out
    return middle, start + reach * way


def body_of(posture):
    """The joints of a posture."""
    hips = around_y(posture.hip_turn) @ around_z(-0.4 * posture.lean)
    chest = around_z(posture.lean) @ around_y(posture.turn)
    points = {"pelvis": posture.pelvis}
    waist = posture.pelvis + hips @ np.array([0, 0.12, 0])
    points["waist"] = waist
    points["neck"] = waist + chest @ np.array([0, SPINE - 0.12, 0])
    head = chest @ around_y(posture.look - 0.5 * posture.turn) @ around_z(posture.tilt) @ around_x(posture.nod)
    points["head"] = points["neck"] + chest @ np.array([0, NECK, 0.01]) + head @ np.array([0, HEAD, 0.015])
    body = Body(points, hips, chest, head)
    for side, sign in SIDES.items():
        hip = posture.pelvis + hips @ np.array([sign * HIP, -0.02, 0])
        out = around_y(posture.hip_turn + sign * 0.3)
        ankle = posture.feet[side]
        knee, ankle = bent(hip, ankle, THIGH, SHIN, out @ np.array([0, 0.0, 1.0]))
        shoulder = points["neck"] + chest @ np.array([sign * SHOULDER, -0.045, 0])
        wrist = shoulder + chest @ (posture.wrists[side] * np.array([sign, 1, 1]) * (UPPER_ARM + FOREARM))
        elbow, wrist = bent(shoulder, wrist, UPPER_ARM, FOREARM, chest @ np.array([0.75 * sign, -0.6, -0.5]))
        names = {"hip": hip, "knee": knee, "ankle": ankle, "shoulder": shoulder, "elbow": elbow, "wrist": wrist}
        points.update({f"{name} {side}": place for name, place in names.items()})
        body.feet[side] = out @ around_x(0.7 * posture.heels[side])
        toe = ankle + body.feet[side] @ np.array([0, -0.045, 0.15])
        points[f"toe {side}"] = toe
        body.hands[side] = _hand(points[f"elbow {side}"], wrist, chest, sign, posture.fists[side])
    for side, sign in SIDES.items():
        points[f"eye {side}"] = points["head"] + head @ np.array([sign * 0.033, 0.012, 0.08])
        points[f"ear {side}"] = points["head"] + head @ np.array([sign * 0.082, -0.005, -0.01])
    points["nose"] = points["head"] + head @ np.array([0, -0.022, 0.108])
    return body


def _hand(elbow, wrist, chest, sign, fist):
    """The 21 points of a hand [21, 3], which goes on in the direction of the forearm, the thumb up and inwards."""
    along = (wrist - elbow) / np.linalg.norm(wrist - elbow)
    # The back of the hand looks away from the body.
    back = chest @ np.array([sign * 0.55, 0.15, 0.8])
    back -= along * (back @ along)
    back /= np.linalg.norm(back)
    across = np.cross(along, back) * sign
    points = [wrist]
    roots = ((0.022, 0.026), (0.078, 0.024), (0.082, 0.007), (0.078, -0.011), (0.07, -0.028))
    lengths = ((0.036, 0.028, 0.024), (0.036, 0.023, 0.02), (0.04, 0.026, 0.021), (0.036, 0.024, 0.02),
               (0.028, 0.019, 0.017))  # fmt: skip
    spread = (0.85, 0.16, 0.02, -0.12, -0.28)
    for finger, ((far, side), bones, turn) in enumerate(zip(roots, lengths, spread, strict=True)):
        place = wrist + along * far + across * side
        points.append(place)
        curl = 0.12 + (0.5 if finger == 0 else 1.25) * fist
        for number, bone in enumerate(bones):
            angle = curl * (number + 0.6)
            flat = np.cos(turn * (1 - fist)) * along + np.sin(turn * (1 - fist)) * across
            place = place + bone * (np.cos(angle) * flat - np.sin(angle) * back)
            points.append(place)
    return np.array(points)


class Shape:
    """Capsules with a radius at each end, in groups that melt into each other. Materials are those of GROUPS."""

    def __init__(self):
        self.starts, self.ends, self.radii, self.groups = [], [], [], []

    def add(self, group, start, end, first, last=None):
        self.starts.append(start)
        self.ends.append(end)
        self.radii.append((first, first if last is None else last))
        self.groups.append(GROUPS.index(group))

    def arrays(self):
        """starts, ends [n, 3], radii [n, 2] and groups [n]."""
        return tuple(map(np.array, (self.starts, self.ends, self.radii, self.groups)))


GROUPS = ("skin", "head", "hand right", "hand left", "shirt", "sleeve right", "sleeve left", "trousers", "shoes",
          "hair")  # fmt: skip
# How far the capsules of a group reach into each other, in metres.
MELT = dict.fromkeys(GROUPS, 0.006) | {
    "head": 0.01, "hand right": 0.004, "hand left": 0.004, "shirt": 0.025, "trousers": 0.012, "shoes": 0.012,
    "hair": 0.015,
}  # fmt: skip


def shape_of(body, look):
    """The capsules around the joints."""
    shape, at = Shape(), body.points
    _head(shape, body, look)
    _torso(shape, body)
    for side, sign in SIDES.items():
        shoulder, elbow, wrist = (at[f"{name} {side}"] for name in ("shoulder", "elbow", "wrist"))
        sleeve = f"sleeve {side}"
        shape.add(sleeve, at["neck"] + body.chest @ np.array([sign * 0.09, -0.03, 0]), shoulder, 0.05, 0.056)
        if look.long_sleeves:
            shape.add(sleeve, shoulder, elbow, 0.055, 0.045)
            shape.add(sleeve, elbow, wrist, 0.045, 0.036)
        else:
            shape.add(sleeve, shoulder, shoulder + 0.42 * (elbow - shoulder), 0.056, 0.052)
            shape.add("skin", shoulder, elbow, 0.043, 0.036)
            shape.add("skin", elbow, elbow + 0.3 * (wrist - elbow), 0.036, 0.038)
            shape.add("skin", elbow + 0.3 * (wrist - elbow), wrist, 0.038, 0.026)
        _fingers(shape, body.hands[side], f"hand {side}")
        _leg(shape, body, side)
    return shape.arrays()


def _leg(shape, body, side):
    hip, knee, ankle = (body.points[f"{name} {side}"] for name in ("hip", "knee", "ankle"))
    foot = body.feet[side]
    shape.add("trousers", hip, hip + 0.35 * (knee - hip), 0.086, 0.08)
    shape.add("trousers", hip + 0.35 * (knee - hip), knee, 0.08, 0.05)
    calf = knee + 0.3 * (ankle - knee) - foot @ np.array([0, 0, 0.012])
    shape.add("trousers", knee, calf, 0.05, 0.053)
    shape.add("trousers", calf, ankle + np.array([0, 0.03, 0]), 0.053, 0.04)
    heel = ankle + foot @ np.array([0, -0.035, -0.035])
    ball = ankle + foot @ np.array([0, -0.045, 0.1])
    shape.add("shoes", ankle + foot @ np.array([0, -0.005, -0.01]), heel, 0.042, 0.04)
    shape.add("shoes", heel, ball, 0.04, 0.036)
    shape.add("shoes", ball, ankle + foot @ np.array([0, -0.05, 0.155]), 0.036, 0.026)
    shape.add("shoes", ankle, ball, 0.04, 0.035)


def _fingers(shape, points, group):
    wrist, knuckles = points[0], points[[5, 9, 13, 17]]
    for knuckle in knuckles:
        shape.add(group, wrist + 0.2 * (knuckle - wrist), knuckle, 0.015, 0.012)
    for tip in (4, 8, 12, 16, 20):
        radius = 0.0105 if tip == 4 else 0.009
        for bone in range(tip - 3, tip):
            shape.add(group, points[bone], points[bone + 1], radius, 0.92 * radius)
    shape.add(group, wrist + 0.1 * (points[1] - wrist), points[1], 0.017, 0.014)


def _torso(shape, body):
    neck, waist, pelvis, chest, hips = (
        body.points["neck"], body.points["waist"], body.points["pelvis"], body.chest, body.hips,
    )  # fmt: skip

    def slab(group, centre, frame, half, up, ahead, radius):
        ends = [centre + frame @ np.array([sign * half, up, ahead]) for sign in SIDES.values()]
        shape.add(group, *ends, radius)

    for up, half, ahead, radius in (
        (-0.06, 0.1, -0.01, 0.062), (-0.12, 0.095, 0.0, 0.082), (-0.19, 0.085, 0.008, 0.09),
        (-0.26, 0.068, 0.004, 0.083), (-0.33, 0.057, 0.0, 0.078),
    ):  # fmt: skip
        slab("shirt", neck, chest, half, up, ahead, radius)
    for up, half, radius in ((-0.02, 0.058, 0.082), (-0.07, 0.066, 0.087), (-0.12, 0.076, 0.093)):
        slab("shirt", waist, hips, half, up, 0, radius)
    for up, half, radius in ((0.03, 0.072, 0.086), (-0.03, 0.076, 0.09)):
        slab("trousers", pelvis, hips, half, up, 0, radius)


def _head(shape, body, look):
    centre, head = body.points["head"], body.head

    def add(group, start, end, first, last=None):
        shape.add(group, centre + head @ np.array(start), centre + head @ np.array(end), first, last)

    add("head", (0, 0.02, -0.022), (0, 0.022, 0.006), 0.073)
    for down, half, ahead, radius in (
        (0.0, 0.012, 0.016, 0.06), (-0.025, 0.014, 0.022, 0.055), (-0.05, 0.014, 0.03, 0.046),
        (-0.07, 0.01, 0.042, 0.034), (-0.082, 0.008, 0.052, 0.024),
    ):  # fmt: skip
        add("head", (-half, down, ahead), (half, down, ahead), radius)
    for sign in SIDES.values():
        add("head", (sign * 0.078, 0.012, -0.008), (sign * 0.074, -0.022, -0.004), 0.013, 0.009)
    add("head", (0, 0.006, 0.078), (0, -0.024, 0.093), 0.008, 0.011)
    base = body.points["neck"] - body.chest @ np.array([0, 0.03, 0])
    shape.add("skin", base, centre + head @ np.array([0, -0.05, -0.01]), 0.05, 0.046)
    shape.add("skin", base, base + body.chest @ np.array([0, -0.015, 0.02]), 0.062, 0.05)
    add("hair", (0, 0.044, -0.034), (0, 0.054, -0.016), 0.082)
    for sign in SIDES.values():
        add("hair", (sign * 0.028, 0.082, 0.018), (sign * 0.064, 0.045, -0.002), 0.034, 0.024)
        if look.long_hair:
            add("hair", (sign * 0.05, 0.02, -0.035), (sign * 0.055, -0.1, -0.05), 0.045, 0.04)
    add("hair", (0, 0.01, -0.05), (0, -0.12 if look.long_hair else -0.03, -0.065), 0.07, 0.055)
