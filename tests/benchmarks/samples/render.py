"""Pictures of the drawn person: rays that walk towards the capsules of figure.py, light, cloth, skin and a face."""

from dataclasses import dataclass

import numpy as np
from figure import GROUPS, MELT, SIDES, body_of, shape_of

# The largest square of pixels that is drawn at once, and how many steps a ray takes.
TILE, STEPS = 48, 28
# Where a ray is at the surface, and what lies behind the person, in metres.
NEAR, BEYOND = 0.0015, 1.0
LIGHT = np.array([-0.42, 0.5, 0.75]) / np.linalg.norm([-0.42, 0.5, 0.75])
MELTS = np.array([MELT[group] for group in GROUPS])


@dataclass(frozen=True)
class Camera:
    """Looks along -z at the place `aim` from `distance` metres away and shows `view` metres of height there.

    sharper: pixels that are drawn for each pixel of a side.
    """

    width: int
    height: int
    aim: tuple = (0.0, 0.93)
    distance: float = 4.5
    view: float = 2.3
    sharper: int = 2

    @property
    def scale(self):
        """Pixels a metre at the distance of `aim`."""
        return self.height / self.view

    def pixels(self, places):
        """Places [n, 3] in metres as x and y in pixels [n, 2]."""
        flat = (places[:, :2] - self.aim) * (self.distance / (self.distance - places[:, 2:]))
        return np.stack([self.width / 2 + flat[:, 0] * self.scale, self.height / 2 - flat[:, 1] * self.scale], axis=1)

    def rays(self, columns, rows):
        """Directions [n, 3] through pixels, all from (aim, distance)."""
        way = np.stack([
            (columns - self.width / 2) / self.scale,
            (self.height / 2 - rows) / self.scale,
            np.full(len(columns), -self.distance),
        ], axis=1)  # fmt: skip
        return way / np.linalg.norm(way, axis=1, keepdims=True)

    @property
    def eye(self):
        return np.array([*self.aim, self.distance])


class Field:
    """Distances to the person, or to those of its capsules that `wanted` names."""

    def __init__(self, shape, wanted=slice(None)):
        starts, ends, radii, groups = (part[wanted] for part in shape)
        order = np.argsort(groups, kind="stable")
        self.starts, self.ends, self.radii = (part[order].astype(np.float32) for part in (starts, ends, radii))
        self.groups = groups[order]
        self.way = self.ends - self.starts
        self.length = np.maximum((self.way**2).sum(axis=1), 1e-9)
        self.named, self.first = np.unique(self.groups, return_index=True)
        self.melts = MELTS[self.named].astype(np.float32)

    def each(self, places):
        """Distances [n, groups that there are]."""
        dot = places @ self.way.T - (self.starts * self.way).sum(axis=1)
        along = np.clip(dot / self.length, 0, 1)
        to_start = (places**2).sum(axis=1)[:, None] - 2 * places @ self.starts.T + (self.starts**2).sum(axis=1)
        squared = to_start - 2 * along * dot + along**2 * self.length
        far = np.sqrt(np.maximum(squared, 0)) - (self.radii[:, 0] + along * (self.radii[:, 1] - self.radii[:, 0]))
        # Smooth minimum in every group.
        melt = np.repeat(self.melts, np.diff([*self.first, len(self.groups)]))
        least = np.minimum.reduceat(far, self.first, axis=1)
        near = np.repeat(least, np.diff([*self.first, len(self.groups)]), axis=1)
        total = np.add.reduceat(np.exp((near - far) / melt), self.first, axis=1)
        return least - self.melts * np.log(total)

    def __call__(self, places):
        return self.each(places).min(axis=1)

    def normals(self, places):
        """Directions away from the surface [n, 3]."""
        step = 0.0012
        ways = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
        slope = sum(way * self(places + step * way)[:, None] for way in ways)
        return slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)


def march(field, eye, rays, start, stop):
    """How far each ray goes until it meets the person, and the least distance that it came by, [n] each."""
    far, least = start.copy(), np.full(len(rays), np.inf, np.float32)
    going = np.arange(len(rays))
    for _ in range(STEPS):
        distance = field(eye + rays[going] * far[going, None])
        least[going] = np.minimum(least[going], distance / far[going])
        still = (distance > NEAR) & (far[going] < stop)
        far[going] += np.where(still, 0.95 * distance, 0)
        going = going[still]
        if not len(going):
            break
    # What has walked its steps at the rim is on the surface if it is very near.
    met = np.zeros(len(rays), bool)
    met[:] = True
    met[going] = field(eye + rays[going] * far[going, None]) < 4 * NEAR if len(going) else False
    return far, met & (far < stop)


@dataclass
class Drawn:
    """What the camera sees: colour [h, w, 3] in 0..1, group [h, w] (-1: nobody), normal [h, w, 3] and far [h, w] in
    metres; all as sharp as the camera draws them."""

    colour: np.ndarray
    group: np.ndarray
    normal: np.ndarray
    far: np.ndarray


def draw(posture, look, camera, scene, flat=False):
    """The person before a scene. scene: a function (columns, rows, camera, body) that gives colours [h, w, 3]. flat:
    colours without light, as in a drawing."""
    body = body_of(posture)
    shape = shape_of(body, look)
    width, height = camera.width * camera.sharper, camera.height * camera.sharper
    group = np.full((height, width), -1)
    far = np.full((height, width), np.inf, np.float32)
    normal = np.zeros((height, width, 3), np.float32)
    colour = np.zeros((height, width, 3), np.float32)
    eye = camera.eye.astype(np.float32)
    start, stop = camera.distance - BEYOND, camera.distance + BEYOND
    reach = np.maximum(*shape[2].T) + 0.05
    ends = [camera.pixels(part) * camera.sharper for part in shape[:2]]
    grow = reach * camera.scale * camera.sharper * camera.distance / start
    low = np.minimum(*ends) - grow[:, None]
    high = np.maximum(*ends) + grow[:, None]
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            wanted = (low[:, 0] < right) & (high[:, 0] > left) & (low[:, 1] < bottom) & (high[:, 1] > top)
            if not wanted.any():
                continue
            rows, columns = (part.ravel() for part in np.mgrid[top:bottom, left:right])
            rays = camera.rays((columns + 0.5) / camera.sharper, (rows + 0.5) / camera.sharper).astype(np.float32)
            field = Field(shape, wanted)
            going, met = march(field, eye, rays, np.full(len(rays), start, np.float32), stop)
            if not met.any():
                continue
            at = rows[met], columns[met]
            places = eye + rays[met] * going[met, None]
            group[at] = field.named[field.each(places).argmin(axis=1)]
            far[at] = going[met]
            normal[at] = field.normals(places)
            colour[at] = paint(places, group[at], body, look, posture, flat)
            if not flat:
                between = Field(shape, in_the_way(shape, places))
                colour[at] = lit(colour[at], places, normal[at], group[at], field, between, rays[met])
    rows, columns = np.mgrid[:height, :width]
    behind = scene((columns + 0.5) / camera.sharper, (rows + 0.5) / camera.sharper, camera, body)
    return Drawn(np.where((group >= 0)[..., None], colour, behind), group, normal, far)


def shrunk(pixels, camera):
    """The mean of the pixels that are one pixel of the picture: [h, w, ...]."""
    return pixels.reshape(camera.height, camera.sharper, camera.width, camera.sharper, *pixels.shape[2:]).mean((1, 3))


def smooth(value, edge=1.0):
    """0 below 0, 1 above `edge`."""
    share = np.clip(value / edge, 0, 1)
    return share * share * (3 - 2 * share)


def mixed(one, other, share):
    return one + (np.asarray(other, np.float32) - one) * share[:, None]


def in_the_way(shape, places):
    """Which capsules may throw a shadow on places [n, 3]."""
    starts, ends, radii, _ = shape
    middle = places.mean(axis=0)
    wide = np.linalg.norm(places - middle, axis=1).max()
    centres, halves = (starts + ends) / 2, np.linalg.norm(ends - starts, axis=1) / 2
    along = np.clip((centres - middle) @ LIGHT, 0, None)
    beside = np.linalg.norm(centres - middle - along[:, None] * LIGHT, axis=1)
    return beside < wide + halves + radii.max(axis=1) + 0.04


def lit(colour, places, normal, group, field, between, rays):
    """The colours in the light of a window at the upper left, a bright room, and a lamp behind."""
    key = np.clip(normal @ LIGHT.astype(np.float32), 0, 1)
    open_ = np.ones(len(places), np.float32)
    for reach in (0.015, 0.04, 0.1):
        open_ *= 0.6 + 0.4 * np.clip(field(places + normal * reach) / reach, 0, 1)
    shadow = np.ones(len(places), np.float32)
    lighted = np.flatnonzero(key > 0)
    gone = np.full(len(lighted), 0.02, np.float32)
    origin = places[lighted] + normal[lighted] * 0.008
    for _ in range(9):
        distance = between(origin + LIGHT.astype(np.float32) * gone[:, None])
        shadow[lighted] = np.minimum(shadow[lighted], np.clip(12 * distance / gone, 0, 1))
        gone += np.clip(distance, 0.015, 0.2)
    fill = 0.5 + 0.5 * normal[:, 1]
    ambient = 0.36 + 0.2 * fill[:, None] * np.array([0.9, 0.97, 1.1], np.float32)
    light = ambient * open_[:, None] + (0.72 * key * shadow)[:, None] * np.array([1.08, 1.0, 0.9], np.float32)
    result = colour * light
    half = LIGHT.astype(np.float32) - rays
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    gleam = np.clip((normal * half).sum(axis=1), 0, 1)
    names = np.array(GROUPS)[group]
    shine = np.where(names == "hair", 0.22 * gleam**18, np.where(names == "shoes", 0.12 * gleam**25, 0.0))
    skin = np.isin(names, ("skin", "head", "hand right", "hand left"))
    shine = np.where(skin, 0.1 * gleam**14, shine) * shadow
    # Skin lets some red light through where it turns away.
    result[skin] *= 1 + (0.12 * (1 - key[skin]))[:, None] * np.array([1.0, 0.1, -0.1], np.float32)
    return np.clip(result + shine[:, None], 0, 1)


def paint(places, group, body, look, posture, flat):
    """The colours of cloth, hair and skin, and the face, without light; flat: cloth and hair without their weave."""
    colours = {
        "shirt": look.shirt, "sleeve right": look.shirt, "sleeve left": look.shirt, "trousers": look.trousers,
        "shoes": look.shoes, "hair": look.hair,
    }  # fmt: skip
    table = np.array([colours.get(name, look.skin) for name in GROUPS], np.float32)
    result = table[group]
    names = np.array(GROUPS)[group]
    on_head = (places - body.points["head"]) @ body.head
    if look.stripe is not None:
        torso = names == "shirt"
        on_chest = (places[torso] - body.points["neck"]) @ body.chest
        result[torso] = mixed(result[torso], look.stripe, smooth(0.03 - np.abs(on_chest[:, 1] + 0.17), 0.004))
    soles = (names == "shoes") & (places[:, 1] < 0.018)
    result[soles] = 0.9
    if not flat:
        strands = names == "hair"
        wave = np.sin(220 * np.arctan2(on_head[:, 0], on_head[:, 2] + 0.3) + 30 * on_head[:, 1])
        result[strands] *= (1 + 0.1 * wave[strands])[:, None]
        cloth = np.isin(names, ("shirt", "sleeve right", "sleeve left", "trousers"))
        weave = np.sin(90 * places[:, 1] + 8 * np.sin(25 * places[:, 0])) * np.sin(40 * places[:, 0])
        result[cloth] *= (1 + 0.035 * weave[cloth])[:, None]
    face = (names == "head") & (on_head[:, 2] > 0.02)
    result[face] = _face(result[face], on_head[face], look, posture)
    return result


def _face(skin, on_head, look, posture):
    """Cheeks, mouth, eyes and brows. on_head: [n, 3], right and left mirrored from the viewer."""
    x, y = on_head[:, 0], on_head[:, 1]
    large = 1.45 if look.large_eyes else 1.0
    cheeks = np.exp(-(((np.abs(x) - 0.042) / 0.02) ** 2 + ((y + 0.032) / 0.016) ** 2))
    result = mixed(skin, np.array(look.lips), 0.22 * cheeks)
    smile = posture.smile
    line = -0.06 + 8 * (0.35 + smile) * x**2
    wide = 0.022 + 0.006 * smile
    lips = smooth(1 - (x / wide) ** 2 - ((y - line) / (0.0085 + 0.002 * smile)) ** 2, 0.4)
    result = mixed(result, look.lips, 0.85 * lips)
    teeth = smooth(1 - (x / (0.8 * wide)) ** 2 - ((y - line) / (0.0005 + 0.0045 * smile)) ** 2, 0.5)
    result = mixed(result, (0.95, 0.93, 0.9), teeth * (smile > 0.2))
    gap = smooth(0.0014 - np.abs(y - line), 0.001) * (np.abs(x) < wide) * (smile <= 0.2)
    result = mixed(result, (0.3, 0.1, 0.1), 0.7 * gap)
    nostrils = np.exp(-(((np.abs(x) - 0.0085) / 0.004) ** 2 + ((y + 0.036) / 0.003) ** 2))
    result = mixed(result, 0.4 * np.array(look.skin), 0.65 * nostrils)
    for sign in SIDES.values():
        across, up = x - sign * 0.033, y - 0.012
        open_ = 0.0088 * large * (1 - 0.9 * posture.blink)
        inside = 1 - (across / (0.0155 * large)) ** 2 - (up / open_) ** 2
        socket = np.exp(-((across / 0.021) ** 2 + (up / 0.015) ** 2))
        result = mixed(result, 0.62 * np.array(look.skin), 0.3 * socket)
        white = smooth(inside, 0.25)
        result = mixed(result, (0.96, 0.95, 0.94), white)
        round_ = np.sqrt(across**2 + (up / 1.0) ** 2)
        result = mixed(result, look.eyes, white * smooth(0.0078 * large - round_, 0.0015))
        result = mixed(result, (0.03, 0.03, 0.03), white * smooth(0.0038 * large - round_, 0.001))
        result = mixed(result, (1, 1, 1), white * smooth(0.0017 - np.hypot(across + 0.003, up - 0.003), 0.0008))
        rim = smooth(0.5 - np.abs(inside + 0.05) / 0.45, 0.3) * (up > -0.1 * open_)
        result = mixed(result, (0.07, 0.05, 0.05), 0.9 * rim)
        brow = up - 0.0235 * large**0.5 + 6 * (across - sign * 0.002) ** 2
        thick = smooth(0.0032 - np.abs(brow), 0.002) * smooth(0.021 - np.abs(across - sign * 0.002), 0.004)
        result = mixed(result, 0.7 * np.array(look.hair), 0.85 * thick)
    return result


def edges(drawn):
    """Lines of a drawing [h, w], 0 or 1: where one part ends, one lies behind another, or the colour changes."""
    lines = np.zeros(drawn.group.shape, bool)
    far = np.where(np.isfinite(drawn.far), drawn.far, 10)
    for axis in (0, 1):
        part, depth, colour = (np.diff(values, axis=axis) for values in (drawn.group, far, drawn.colour))
        change = (part != 0) | (np.abs(depth) > 0.02) | (np.abs(colour).max(axis=-1) > 0.2)
        # On both sides of the change, so that a line is two pixels wide.
        pads = [(0, 0), (0, 0)]
        pads[axis] = (0, 1)
        lines |= np.pad(change, pads)
        pads[axis] = (1, 0)
        lines |= np.pad(change, pads)
    return lines.astype(np.float32)
