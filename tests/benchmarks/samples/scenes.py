"""What is behind the person: a room to dance in, a park on a sunny day, and the backdrop of a drawing.

A scene is a function (columns, rows, camera, body) of the pixels' places [h, w]; it gives colours [h, w, 3] in 0..1.
"""

import numpy as np
from render import smooth

WALL = -1.3  # metres behind the person


def _over(one, other, share):
    """`other` (a colour, or colours [h, w, 3]) over colours [h, w, 3], by share [h, w]."""
    return one + (np.asarray(other, np.float32) - one) * share[..., None]


def _floor(columns, rows, camera):
    """Where the rays meet the floor, x and z [h, w] in metres, and whether they do before the wall."""
    rays = camera.rays(columns.ravel(), rows.ravel()).reshape(*columns.shape, 3)
    down = rays[..., 1]
    far = np.where(down < -1e-4, -camera.eye[1] / np.minimum(down, -1e-4), 1e3)
    x, z = camera.eye[0] + far * rays[..., 0], camera.eye[2] + far * rays[..., 2]
    wall = (WALL - camera.eye[2]) / rays[..., 2]
    return x, z, z > WALL, camera.eye[0] + wall * rays[..., 0], camera.eye[1] + wall * down


def _shade(x, z, body):
    """How dark the floor is under the body, 0..1."""
    dark = 0.38 * np.exp(-(((x - body.points["pelvis"][0] - 0.12) / 0.4) ** 2 + ((z + 0.1) / 0.35) ** 2))
    for side in ("right", "left"):
        place = 0.5 * (body.points[f"ankle {side}"] + body.points[f"toe {side}"])
        close = np.exp(-max(place[1] - 0.05, 0) / 0.05)
        near = ((x - place[0]) / 0.1) ** 2 + ((z - place[2] + 0.01) / 0.14) ** 2
        dark = np.maximum(dark, 0.62 * close * np.exp(-near))
    return dark


def room(columns, rows, camera, body):
    """A light wall, a floor of boards, and a patch of sun from a window."""
    x, z, floor, wall_x, wall_y = _floor(columns, rows, camera)
    bright = 0.8 + 0.06 * np.sin(0.9 * wall_x + 0.4) - 0.05 * np.abs(wall_x) + 0.03 * (wall_y - 1)
    wall = bright[..., None] * np.array([0.98, 0.95, 0.9], np.float32)
    slant = wall_x + 0.35 * wall_y
    sun = np.ones_like(x)
    for low, high, at in ((0.15, 0.95, slant), (1.2, 2.35, wall_y)):
        sun *= smooth(at - low, 0.08) * smooth(high - at, 0.08)
    bars = smooth(np.abs(slant - 0.55) - 0.02, 0.02) * smooth(np.abs(wall_y - 1.78) - 0.02, 0.02)
    wall = _over(wall, (1.0, 0.97, 0.88), 0.55 * sun * bars)
    wall = _over(wall, (0.93, 0.92, 0.9), 1.0 * (wall_y < 0.11))
    wall = _over(wall, (0.6, 0.58, 0.55), 1.0 * (np.abs(wall_y - 0.11) < 0.004))
    board = np.floor(x / 0.16)
    tone = 0.06 * np.sin(12.9 * board) + 0.02 * np.sin(9 * z + 5 * board) + 0.008 * np.sin(90 * x + 3 * np.sin(4 * z))
    wood = (0.6 + tone + 0.03 * z)[..., None] * np.array([1.0, 0.78, 0.56], np.float32)
    gap = np.abs(x / 0.16 - np.round(x / 0.16)) < 0.012
    wood = _over(wood, (0.33, 0.23, 0.15), 0.6 * gap)
    wood = wood * (1 - _shade(x, z, body))[..., None]
    return np.where(floor[..., None], wood, wall)


def park(columns, rows, camera, body):
    """A path, a lawn, and trees out of focus."""
    x, z, _, _, _ = _floor(columns, rows, camera)
    across, up = (columns - camera.width / 2) / camera.scale, camera.aim[1] + (camera.height / 2 - rows) / camera.scale
    picture = np.full((*x.shape, 3), (0.8, 0.87, 0.9), np.float32)
    random = np.random.default_rng(4)
    for number in range(260):
        leaves = number > 60
        centre = random.uniform(-0.85, 0.85), random.uniform(1.0, 2.3) if leaves else random.uniform(0.75, 1.15)
        size = random.uniform(0.07, 0.15) if leaves else random.uniform(0.15, 0.25)
        green = random.uniform(0.35, 0.75) * np.array([0.62, 0.78, 0.42])
        picture = _over(picture, green, 0.3 * smooth(size - np.hypot(across - centre[0], up - centre[1]), 0.07))
    far = 1 / np.maximum(4.5 - z, 0.5)
    lawn = np.array([0.5, 0.6, 0.34]) * (1 + 0.03 * np.sin(31 * x) * np.sin(13 * z))[..., None]
    stone = np.array([0.74, 0.7, 0.64]) * (1 + 0.02 * np.sin(60 * x) * np.sin(55 * z))[..., None]
    ground = _over(lawn, stone, smooth(0.62 - np.abs(x), 0.08))
    ground = ground * (1 - _shade(x, z, body))[..., None]
    return _over(picture, ground, smooth(far - 0.052, 0.02) * (z < 4.4))


def backdrop(columns, rows, camera, body):
    """Flat colours, as in a cartoon: evening sky, a sun, hills."""
    across, up = (columns - camera.width / 2) / camera.height, (camera.height / 2 - rows) / camera.height
    picture = np.full((*columns.shape, 3), (0.99, 0.85, 0.66), np.float32)
    picture = _over(picture, (1.0, 0.62, 0.42), 1.0 * (np.hypot(across + 0.48, up - 0.17) < 0.17))
    picture = _over(picture, (0.62, 0.6, 0.78), 1.0 * (up < 0.02 + 0.1 * np.sin(5 * across + 1)))
    return _over(picture, (0.36, 0.56, 0.45), 1.0 * (up < -0.17 + 0.05 * np.sin(4 * across - 0.6)))
