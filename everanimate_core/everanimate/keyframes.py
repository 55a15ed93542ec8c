"""Which frames of the first chunk complete the identity memory: each way to choose them is a function here.

A selector is given F, how many frames to choose (0..F - 1), a generator and the chunk's pose frames [F, H, W, 3], and
chooses among frames 1..F - 1, sorted by time: frame 0 repeats the reference.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import InputError, check_choice

Selector = Callable[[int, int, torch.Generator | None, Tensor | None], list[int]]
# Long side, in pixels, of the pose maps that `pose` compares: joints stay apart, single pixels do not count.
POSE_MAP_SIZE = 32


def random(frames: int, count: int, generator: torch.Generator | None, pose: Tensor | None) -> list[int]:
    """As released: uniformly without replacement, by `generator`."""
    chosen = 1 + torch.randperm(frames - 1, generator=generator)[:count]
    return sorted(chosen.tolist())


def uniform(frames: int, count: int, generator: torch.Generator | None, pose: Tensor | None) -> list[int]:
    """The middles of equal spans."""
    return [1 + (2 * i + 1) * (frames - 1) // (2 * count) for i in range(count)]


def first(frames: int, count: int, generator: torch.Generator | None, pose: Tensor | None) -> list[int]:
    """The first ones."""
    return list(range(1, count + 1))


def farthest_poses(frames: int, count: int, generator: torch.Generator | None, pose: Tensor | None) -> list[int]:
    """Those whose pose maps differ most, from frame 0 and from each other: farthest-point choice, away from frame 0."""
    pose = cast(Tensor, pose)  # check_keyframes: it is there
    scale = POSE_MAP_SIZE / max(pose.shape[1:3])
    size = [max(1, round(side * scale)) for side in pose.shape[1:3]]
    maps = interpolate(pose.movedim(-1, 1), size=size, mode="area").flatten(1)
    distances = torch.cdist(maps, maps, compute_mode="donot_use_mm_for_euclid_dist")
    chosen = [0]
    for _ in range(count):
        nearest = distances[chosen].min(dim=0).values
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return sorted(chosen[1:])


_SELECTORS: dict[str, Selector] = {"random": random, "uniform": uniform, "first": first, "pose": farthest_poses}
KEYFRAMES = tuple(_SELECTORS)


def select_keyframes(
    method: str, frames: int, count: int, generator: torch.Generator | None = None, pose: Tensor | None = None
) -> list[int]:
    """Choose up to `count` of frames 1..frames - 1 of the first chunk, by one of KEYFRAMES.

    generator: `random` draws from it. pose: [frames, H, W, 3], which `pose` alone needs.
    """
    check_keyframes(method, pose)
    return _SELECTORS[method](frames, min(count, frames - 1), generator, pose)


def check_keyframes(method: str, pose: object) -> None:
    """Raise InputError unless `method` is one of KEYFRAMES, and `pose` is there for the one of that name."""
    check_choice("keyframes", method, KEYFRAMES)
    if method == "pose" and pose is None:
        raise InputError("pose_video", "must be given when keyframes is 'pose'", "", "none")
