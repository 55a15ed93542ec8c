"""What the shipped networks reach on worlds that they have not seen, and how that is measured."""

import json
from math import log10

import pytest
import torch

from everanimate_core.toy.learning.films import FIRST_SEED
from everanimate_core.toy.learning.material import WAN_ANIMATE
from everanimate_core.toy.learning.scores import LIMB_JOINTS, first_chunk_psnr, joint_errors, joint_region, psnr
from everanimate_core.toy.network.engine import load_toy
from everanimate_core.toy.network.state import BASELINE_WEIGHTS, MEMORY_WEIGHTS
from everanimate_core.toy.world.world import World

SEEDS = (0, 6, 13, 19)


@pytest.fixture(scope="module")
def toy():
    return load_toy()


def test_equal_frames_have_an_infinite_psnr():
    assert psnr(torch.ones(2, 4, 4, 3), torch.ones(2, 4, 4, 3)) == float("inf")


def test_psnr_by_hand():
    frames = torch.full((2, 64, 64, 3), 0.5)
    assert psnr(frames, frames + 0.1) == pytest.approx(20, abs=1e-4)
    frames[0] += 0.1
    assert psnr(frames, torch.full_like(frames, 0.5)) == pytest.approx(20 + 10 * log10(2), abs=1e-4)


def test_the_joint_region_is_around_the_limbs_joints():
    world = World(2)
    region = joint_region(world, range(3, 5))
    points, found = world.keypoints(range(3, 5))
    assert region.shape == (2, 64, 64)
    for frame in range(2):
        seen = [points[frame, joint] for joint in LIMB_JOINTS if found[frame, joint]]
        for y in range(64):
            for x in range(64):
                nearest = min(((x + 0.5 - px) ** 2 + (y + 0.5 - py) ** 2) ** 0.5 for px, py in seen)
                assert region[frame, y, x] == (nearest < 4)


@pytest.mark.parametrize(
    ("path", "identity", "policy"), [(MEMORY_WEIGHTS, 4, None), (BASELINE_WEIGHTS, 1, WAN_ANIMATE)]
)
def test_shipped_weights_are_as_good_as_they_say(path, identity, policy):
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["psnr_mean"] == pytest.approx(sum(facts["psnr"]) / len(facts["psnr"]), abs=0.01)
    model = load_toy(path)
    options = (identity,) if policy is None else (identity, policy)
    for seed in SEEDS:
        assert first_chunk_psnr(model, seed, *options) == pytest.approx(facts["psnr"][seed], abs=0.2)


def test_the_first_chunk_of_unseen_worlds():
    facts = json.loads(MEMORY_WEIGHTS.with_suffix(".json").read_text())
    assert facts["unseen_seeds"] == [0, 19] and facts["unseen_seeds"][1] < FIRST_SEED
    assert facts["psnr_mean"] >= 24


def test_limbs_follow_the_pose(toy):
    own, foreign = zip(*(joint_errors(toy, seed, other=seed + 500) for seed in SEEDS), strict=True)
    assert sum(foreign) > 3 * sum(own)
