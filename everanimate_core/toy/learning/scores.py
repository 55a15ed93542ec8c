"""How well the toy's networks do on worlds that they have not seen, against the truth."""

from dataclasses import replace
from math import inf, log10

import torch
from torch import Tensor

from ...backends.diffusers_wan import DiffusersWan
from ...everanimate.context import METHOD, ContextPolicy
from ..network.engine import roll_out
from ..network.state import GEOMETRY, SETTINGS
from ..world.skeleton import KEYPOINTS
from ..world.world import World

FIRST_CHUNK = range(GEOMETRY.frames)
LIMB_JOINTS = [
    KEYPOINTS.index(f"{joint} {side}") for joint in ("elbow", "wrist", "knee", "ankle") for side in ("right", "left")
]
# Reach of the joint region around every such joint that is seen, in pixels.
JOINT_REACH = 4.0


def psnr(frames: Tensor, truth: Tensor) -> float:
    """PSNR in dB over all of the frames [n, 64, 64, 3] in 0..1, infinite for equal ones."""
    error = (frames - truth).square().mean().item()
    return -10 * log10(error) if error else inf


def first_chunk(
    model: DiffusersWan, seed: int, anchors: int = GEOMETRY.anchors, policy: ContextPolicy = METHOD
) -> Tensor:
    """The first chunk of the world of that seed, [33, 64, 64, 3]. anchors: N."""
    settings = replace(SETTINGS, identity_latents=anchors)
    return next(roll_out(model, World(seed), GEOMETRY.frames, settings, policy)).frames


def first_chunk_psnr(
    model: DiffusersWan, seed: int, anchors: int = GEOMETRY.anchors, policy: ContextPolicy = METHOD
) -> float:
    """PSNR in dB of the first chunk of the world of that seed."""
    return psnr(first_chunk(model, seed, anchors, policy), World(seed).frames(FIRST_CHUNK))


def joint_region(world: World, indices: range) -> Tensor:
    """[n, 64, 64] bool: pixels within 4 of an elbow, wrist, knee or ankle that is seen."""
    points, found = world.keypoints(indices)
    centres = torch.arange(64) + 0.5
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
    distance = (points[:, LIMB_JOINTS, None, None] - grid).norm(dim=-1)
    return ((distance < JOINT_REACH) & found[:, LIMB_JOINTS, None, None]).any(dim=1)


def joint_errors(model: DiffusersWan, seed: int, other: int) -> tuple[float, float]:
    """Whose pose the limbs of a world's first chunk follow: mean squared errors in the joint region.

    Against the truth, and against what the figure would look like in the pose of the world of seed `other`.
    """
    made = first_chunk(model, seed)
    own, foreign = (
        (made - world.frames(FIRST_CHUNK))[joint_region(world, FIRST_CHUNK)].square().mean().item()
        for world in (World(seed), World(seed, motion_seed=other))
    )
    return own, foreign
