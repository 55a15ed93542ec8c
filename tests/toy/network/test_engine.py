"""The toy's engine: which network it is, and what a roll-out is made of."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from everanimate_core.everanimate.context import METHOD
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import sigma_schedule
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.propagation import animate
from everanimate_core.plan import ChunkPlan
from everanimate_core.toy.network.engine import WorldFrames, load_toy, roll_out
from everanimate_core.toy.network.state import SETTINGS
from everanimate_core.toy.world.world import World

FRAMES = 40


@pytest.fixture(scope="module")
def toy():
    return load_toy()


def frames(chunks):
    return torch.cat([chunk.frames for chunk in chunks])


@pytest.mark.parametrize(
    ("settings", "sigmas"),
    [
        (SETTINGS, sigma_schedule(4, 5.0)),
        (replace(SETTINGS, steps=2, shift=3.0), sigma_schedule(2, 3.0)),
    ],
)
def test_a_roll_out_is_the_method_on_the_worlds_own_pose(toy, settings, sigmas):
    world = World(4)
    made = frames(roll_out(toy, world, FRAMES, settings))
    assert made.shape == (FRAMES, 64, 64, 3)
    expected = animate(
        ChunkPlan(FRAMES, 33, 4),
        build_memory(world.reference()[None], toy.codec, 4, 1),
        partial(toy.sample_chunk, sigmas=sigmas),
        toy.codec,
        Drivers(pose=WorldFrames(world.pose, FRAMES)),
    )
    assert torch.equal(made, frames(expected))


def test_another_pose_seed_or_policy_makes_another_film(toy):
    world = World(4)
    made = frames(roll_out(toy, world, FRAMES))
    assert not torch.equal(frames(roll_out(toy, world, FRAMES, replace(SETTINGS, seed=1))), made)
    assert not torch.equal(frames(roll_out(toy, world, FRAMES, pose=WorldFrames(World(5).pose, FRAMES))), made)
    pixels = frames(roll_out(toy, world, FRAMES, policy=replace(METHOD, carry="pixel")))
    # The first chunk carries nothing.
    assert torch.equal(pixels[:33], made[:33]) and not torch.equal(pixels[33:], made[33:])


def test_text_has_no_effect(toy):
    world = World(4)
    text = torch.randn(1, 5, 4096, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        frames(roll_out(replace(toy, text=text), world, 33)), frames(roll_out(toy, world, 33)), atol=1e-4
    )


def test_a_world_as_a_source_of_frames():
    world = World(9)
    source = WorldFrames(world.pose, 20)
    assert (source.frame_count, source.fps) == (20, 25)
    assert torch.equal(source.read([3, 1]), world.pose([3, 1]))
