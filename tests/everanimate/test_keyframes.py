"""Keyframe selectors: which frames of the first chunk they choose."""

import numpy as np
import pytest
import torch
from refusals import refusal

from everanimate_core.everanimate.keyframes import KEYFRAMES, select_keyframes


def grey_levels(*levels):
    """Frames [n, 16, 32, 3], each of one brightness."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 16, 32, 3).contiguous()


@pytest.mark.parametrize("seed", range(20))
def test_random_keyframes_are_a_permutation_of_an_own_generator(seed):
    chosen = select_keyframes("random", 77, 3, torch.Generator().manual_seed(seed))
    order = torch.randperm(76, generator=torch.Generator().manual_seed(seed))
    assert chosen == sorted(int(frame) + 1 for frame in order[:3])
    assert len(set(chosen)) == 3
    assert 1 <= chosen[0] <= chosen[-1] <= 76


def test_random_keyframes_do_not_touch_the_global_generator():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first = select_keyframes("random", 77, 3, torch.Generator().manual_seed(1))
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)
        assert select_keyframes("random", 77, 3, torch.Generator().manual_seed(1)) == first


def test_random_keyframes_reach_every_frame_but_the_first():
    seen = set()
    for seed in range(60):
        seen.update(select_keyframes("random", 9, 3, torch.Generator().manual_seed(seed)))
    assert seen == set(range(1, 9))


@pytest.mark.parametrize(
    ("frames", "count", "expected"),
    [(9, 3, [2, 5, 7]), (9, 1, [5]), (9, 2, [3, 7]), (77, 3, [13, 39, 64]), (5, 4, [1, 2, 3, 4]), (9, 0, [])],
)
def test_uniform_keyframes_by_hand(frames, count, expected):
    # Candidates 1..8 in 3 spans of 8/3: middles at 4/3, 4 and 20/3, that is the candidates 2, 5 and 7.
    assert select_keyframes("uniform", frames, count) == expected


def test_first_keyframes_by_hand():
    assert select_keyframes("first", 9, 3) == [1, 2, 3]
    assert select_keyframes("first", 77, 0) == []


@pytest.mark.parametrize("method", KEYFRAMES)
def test_every_selector_is_sorted_distinct_and_spares_frame_0(method, pictures):
    for count in range(0, 12):
        chosen = select_keyframes(method, 9, count, torch.Generator().manual_seed(count), pictures(9))
        assert len(chosen) == min(count, 8)
        assert chosen == sorted(set(chosen))
        assert all(1 <= frame <= 8 for frame in chosen)


def test_planted_poses_are_found():
    pose = torch.zeros(9, 16, 32, 3)
    pose[3, :, :16] = 1
    pose[6, :, 16:] = 1
    assert select_keyframes("pose", 9, 2, pose=pose) == [3, 6]
    # Nothing else differs: what is left are ties, and the earliest is taken.
    assert select_keyframes("pose", 9, 3, pose=pose) == [1, 3, 6]


def test_poses_must_differ_from_each_other_not_only_from_frame_0():
    # Frame 7 is far from frame 0 too, but close to frame 5.
    pose = grey_levels(0.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.9, 0.0)
    assert select_keyframes("pose", 9, 2, pose=pose) == [2, 5]


def test_equal_poses_give_the_lowest_frames():
    assert select_keyframes("pose", 9, 3, pose=grey_levels(*[0.3] * 9)) == [1, 2, 3]
    pose = grey_levels(0.0, 0.5, 0.0, 0.5, 0.0)
    assert select_keyframes("pose", 5, 1, pose=pose) == [1]


def test_pose_choice_against_plain_numpy(pictures):
    pose = pictures(13, seed=3)  # 32 wide already: the maps are the frames
    points = pose.flatten(1).double().numpy()
    chosen = [0]
    while len(chosen) < 6:
        distance = [min(np.linalg.norm(point - points[other]) for other in chosen) for point in points]
        chosen.append(max((i for i in range(13) if i not in chosen), key=lambda i: distance[i]))
    assert select_keyframes("pose", 13, 5, pose=pose) == sorted(chosen[1:])


def test_single_pixels_do_not_make_a_pose():
    # 64 wide: pairs of pixels are averaged. Frame 1 inverts frame 0's checkerboard, frame 2 has one faint limb.
    board = (torch.arange(32).view(-1, 1) + torch.arange(64)).remainder(2).float()
    pose = torch.stack([board, 1 - board, board, board, board])[..., None].expand(-1, -1, -1, 3).clone()
    pose[2, 8:16, 8:16] += 0.2
    assert select_keyframes("pose", 5, 1, pose=pose) == [2]


def test_selector_errors():
    assert refusal(select_keyframes, "last", 9, 3) == (
        "keyframes must be one of random, uniform, first, pose; got 'last'."
    )
    assert refusal(select_keyframes, "pose", 9, 3) == ("pose_video must be given when keyframes is 'pose'; got none.")
