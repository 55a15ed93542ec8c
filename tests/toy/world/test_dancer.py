"""A dancer's keypoints as a figure's: its own lengths in the dancer's directions, on the floor, within its reach."""

import numpy as np
import pytest
import torch
from driving import bodies

from everanimate_core.driving.keypoints import JOINTS as DRIVING_JOINTS
from everanimate_core.driving.keypoints import Keypoints
from everanimate_core.driving.people import OTHER_SIDE
from everanimate_core.toy.world.dancer import figure_points
from everanimate_core.toy.world.motion import REACH
from everanimate_core.toy.world.pose import draw_pose
from everanimate_core.toy.world.skeleton import FLOOR, JOINTS, KEYPOINTS, joints
from everanimate_core.toy.world.world import World

WORLD = World(5)
BODY = WORLD.body
LIMBS = [
    (f"{start} {side}", f"{end} {side}", length)
    for start, end, length in (
        ("shoulder", "elbow", BODY.arm),
        ("elbow", "wrist", BODY.arm),
        ("hip", "knee", BODY.leg),
        ("knee", "ankle", BODY.leg),
    )
    for side in ("right", "left")
]
BACK = [name for name in KEYPOINTS if name.startswith(("nose", "eye"))]


def number(name):
    return JOINTS.index(name)


def vector(points, start, end):
    """[N, 2], from one joint to another."""
    return points[:, number(end), :2] - points[:, number(start), :2]


def at(frame, name):
    """x and y of a joint of one frame."""
    return frame[number(name), :2].tolist()


def drawn(dancer):
    """The dancer's joints [N, 18, 2] under the figure's names."""
    return torch.from_numpy(dancer.joints()[0][:, : len(KEYPOINTS)])


def test_both_have_the_same_joints_in_the_same_order():
    def words(name):
        return set(name.split())

    for ours, theirs in zip(KEYPOINTS, DRIVING_JOINTS, strict=False):
        assert words(ours) == words(theirs)


def test_a_standing_dancer():
    (points,), (found,) = figure_points(bodies.keypoints(bodies.standing()), BODY)
    assert found.all()
    ankles = points[[number("ankle right"), number("ankle left")], 1]
    torch.testing.assert_close(ankles, torch.full((2,), FLOOR), atol=0.05, rtol=0)
    # In the middle, their right on our left, and the head above.
    assert at(points, "neck")[0] == pytest.approx(32, abs=1e-4)
    assert at(points, "shoulder right")[0] == pytest.approx(32 - BODY.shoulders, abs=1e-4)
    assert at(points, "shoulder left")[0] == pytest.approx(32 + BODY.shoulders, abs=1e-4)
    assert at(points, "neck")[1] == pytest.approx(at(points, "pelvis")[1] - BODY.torso, abs=1e-4)
    assert at(points, "nose")[0] == pytest.approx(32, abs=1e-4)
    assert at(points, "ear left")[0] == pytest.approx(32 + BODY.head, abs=1e-4)
    assert at(points, "eye left")[1] < at(points, "nose")[1] < at(points, "neck")[1]


def test_limbs_point_where_the_dancers_do_and_are_as_long_as_the_figures():
    dancer = bodies.keypoints(bodies.dance(40))
    points, _ = figure_points(dancer, BODY)
    source = drawn(dancer)
    for start, end, length in LIMBS:
        theirs = vector(source, start, end)
        ours = vector(points, start, end).double()
        torch.testing.assert_close(
            ours / ours.norm(dim=1)[:, None], theirs / theirs.norm(dim=1)[:, None], atol=1e-4, rtol=0
        )
        # The dancer moves in the plane of the picture: all of each limb is seen.
        torch.testing.assert_close(ours.norm(dim=1), torch.full((40,), length).double(), atol=0.05, rtol=0)
    assert points[..., :2].min() > 0 and points[..., :2].max() < 64


def test_a_limb_that_points_at_the_camera_is_short():
    points = np.array([bodies.standing()] * 40)
    # The left forearm, seen at a third of its length in one frame.
    points[20, 9] = points[20, 7] + (points[20, 9] - points[20, 7]) / 3
    found, _ = figure_points(bodies.keypoints(points), BODY)
    lengths = vector(found, "elbow left", "wrist left").norm(dim=1)
    assert lengths[20] == pytest.approx(BODY.arm / 3, abs=1e-4)
    assert lengths[19] == pytest.approx(BODY.arm, abs=1e-4)


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_the_size_of_the_dancer_does_not_matter(scale):
    dance = bodies.dance(30)
    one, _ = figure_points(bodies.keypoints(dance), BODY)
    other, _ = figure_points(bodies.keypoints(dance * scale + 50.0), BODY)
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_a_dancer_seen_from_behind():
    points = bodies.standing()
    behind = points.copy()
    behind[:, 0] = 2 * points[:, 0].mean() - behind[:, 0]
    turned, found = figure_points(bodies.keypoints(np.array([points, behind])), BODY)
    assert found[0].all()
    assert sorted(np.array(KEYPOINTS)[~found[1].numpy()]) == sorted(BACK)
    assert turned[1, number("shoulder right"), 0] > turned[1, number("shoulder left"), 0]


def test_a_head_that_looks_to_the_side():
    points = bodies.standing()
    left, right = points[3, 0], points[4, 0]
    # The nose at the ear: turned by the angle whose tangent is 1 / 1.4 of the real head.
    points[0, 0] = left
    (found,), (seen,) = figure_points(bodies.keypoints(points), BODY)
    yaw = np.arctan2((left - (left + right) / 2) / 1.4, (left - right) / 2)
    head = at(found, "head")
    assert at(found, "nose")[0] == pytest.approx(head[0] + 0.98 * BODY.head * np.sin(yaw), abs=1e-4)
    assert at(found, "ear left")[0] == pytest.approx(head[0] + BODY.head * np.cos(yaw), abs=1e-4)
    assert seen.all()


def test_the_way_to_the_side_is_the_dancers_in_the_figures_size_and_ends_at_its_reach():
    points = np.array([bodies.standing()] * 5)
    torso = np.hypot(*(points[0, [5, 6]].mean(axis=0) - points[0, [11, 12]].mean(axis=0)))
    points[3, :, 0] += torso / 2
    points[4, :, 0] -= 10 * torso
    necks = figure_points(bodies.keypoints(points), BODY)[0][:, number("neck"), 0]
    expected = torch.tensor([32, 32, 32, 32 + BODY.torso / 2, 32 - REACH])
    torch.testing.assert_close(necks, expected.float(), atol=1e-3, rtol=0)


def test_what_is_missing_for_a_while_is_bridged():
    dance = np.linspace(0, 1, 9)[:, None, None] * np.array([30.0, 0]) + bodies.standing()
    dance[4, :, 1] -= 7
    whole, _ = figure_points(bodies.keypoints(np.delete(dance, 4, axis=0)), BODY)
    gap, found = figure_points(bodies.without(bodies.keypoints(dance), range(133), frames=4), BODY)
    assert found[4].all()
    torch.testing.assert_close(gap[4], (whole[3] + whole[4]) / 2, atol=1e-3, rtol=0)


def test_who_kneels_is_as_high_as_the_figure_ever_is():
    points = np.array([bodies.standing()] * 40)
    hips, knees, ankles = ([11, 12], [13, 14], [15, 16])
    # Knees at the height of the hips, shins straight down.
    points[20, knees, 1] = points[20, hips, 1]
    points[20, ankles, 0] = points[20, knees, 0]
    found, _ = figure_points(bodies.keypoints(points), BODY)
    heights = FLOOR - found[:, number("pelvis"), 1]
    assert heights[20] == pytest.approx(0.89 * 2 * BODY.leg, abs=1e-4)
    assert found[20, [number("ankle right"), number("ankle left")], 1].max() < FLOOR - 1
    # Its own worlds show it no lower.
    own = joints(WORLD.motion.posture(range(3000)), BODY)[:, number("pelvis"), 1]
    assert (FLOOR - own).min() >= 0.89 * 2 * BODY.leg


@pytest.mark.parametrize("missing", [bodies.LEGS, [9], [3, 4], [0], [5, 6], [11, 12, *bodies.LEGS], range(133)])
def test_what_is_never_seen_stands_still(missing):
    dancer = bodies.without(bodies.keypoints(bodies.dance(5)), missing)
    points, found = figure_points(dancer, BODY)
    assert points.isfinite().all() and found[:, 1:14].all()
    if 15 in missing:
        hanging = vector(points, "knee left", "ankle left")
        torch.testing.assert_close(hanging, torch.tensor([0, BODY.leg]).expand(5, 2), atol=1e-4, rtol=0)
    ankles = points[:, [number("ankle right"), number("ankle left")], 1]
    torch.testing.assert_close(ankles.amax(dim=1), torch.full((5,), FLOOR), atol=1e-4, rtol=0)


def test_the_figures_own_keypoints_come_back():
    """What a world shows of itself, ten times as large, is drawn as the world draws it."""
    shown = range(200)
    points, found = WORLD.keypoints(shown)
    places, scores = np.zeros((200, 133, 2)), np.zeros((200, 133))
    for joint, group in enumerate(list(DRIVING_JOINTS.values())[: len(KEYPOINTS)]):
        if len(group) == 1:
            places[:, group[0]] = 10 * points[:, joint].numpy()
            scores[:, group[0]] = found[:, joint]
    again, seen = figure_points(Keypoints(places, scores, 640, 640), BODY)
    off = again[:, : len(KEYPOINTS), :2] - points
    # But for where it mostly is.
    off[..., 0] -= off[..., 0].median()
    assert off.norm(dim=-1).mean() < 0.7
    assert (seen == found).float().mean() > 0.98
    assert draw_pose(again, seen).shape == (200, 64, 64, 3)


def test_sides_are_kept():
    """A dancer whose sides are swapped is one who is seen from behind."""
    points = bodies.standing()
    (_, found) = figure_points(bodies.keypoints(np.array([points, points[OTHER_SIDE]])), BODY)
    assert found[0].all() and not found[1].all()
