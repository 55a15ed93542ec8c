"""The pose picture: hand-computed pixels, and the authors' own drawing where a checkout of it is named.

git clone https://github.com/Wan-Video/Wan2.2
WAN_PATH=Wan2.2 python -m pytest tests/driving/test_draw.py
"""

import importlib.util
import os
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest

from everanimate_core.driving.draw import BONES, draw_pose, half_widths
from everanimate_core.driving.keypoints import FACE, JOINTS, POINTS, Keypoints
from everanimate_core.driving.pose import Pose, pose_of

WAN_PATH = os.environ.get("WAN_PATH")
SIZES = [(480, 832), (832, 480), (720, 1280), (1920, 1080)]
NAMES = list(JOINTS)
LIMBS = [
    ("neck", "right shoulder", (153, 0, 0)),
    ("neck", "left shoulder", (153, 51, 0)),
    ("right shoulder", "right elbow", (153, 102, 0)),
    ("right elbow", "right wrist", (153, 153, 0)),
    ("left shoulder", "left elbow", (102, 153, 0)),
    ("left elbow", "left wrist", (51, 153, 0)),
    ("neck", "right hip", (0, 153, 0)),
    ("right hip", "right knee", (0, 153, 51)),
    ("right knee", "right ankle", (0, 153, 102)),
    ("neck", "left hip", (0, 153, 153)),
    ("left hip", "left knee", (0, 102, 153)),
    ("left knee", "left ankle", (0, 51, 153)),
    ("neck", "nose", (0, 0, 153)),
    ("nose", "right eye", (51, 0, 153)),
    ("right eye", "right ear", (102, 0, 153)),
    ("nose", "left eye", (153, 0, 153)),
    ("left eye", "left ear", (153, 0, 102)),
    ("left ankle", "left toe", (153, 0, 51)),
    ("right ankle", "right toe", (120, 120, 0)),
]


def nobody(size=(480, 832)):
    """One frame in which all is missing."""
    hand = np.zeros((1, 21, 2)), np.zeros((1, 21))
    return Pose(np.zeros((1, 20, 2)), np.zeros((1, 20)), *hand, *(part.copy() for part in hand), *size)


def drawn(body=None, left=None, right=None, size=(480, 832), score=1.0):
    """A picture of the joints {name: (x, y)}, and of hands of the points {number: (x, y)}."""
    pose = nobody(size)
    for name, point in (body or {}).items():
        pose.joints[0, NAMES.index(name)], pose.joint_scores[0, NAMES.index(name)] = point, score
    for number, point in (left or {}).items():
        pose.left_hand[0, number], pose.left_scores[0, number] = point, score
    for number, point in (right or {}).items():
        pose.right_hand[0, number], pose.right_scores[0, number] = point, score
    return draw_pose(pose, 0)


def colours(picture):
    """The RGB values in it, without black."""
    return {tuple(colour) for colour in picture.reshape(-1, 3).tolist()} - {(0, 0, 0)}


def colour_at(picture, x, y):
    return tuple(picture[y, x].tolist())


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        ((480, 832), (1, 1)),
        ((832, 480), (1, 1)),
        ((624, 624), (2, 1)),
        ((720, 1280), (2, 1)),
        ((1920, 1080), (4, 2)),
        ((64, 64), (1, 1)),
    ],
)
def test_half_widths(size, widths):
    assert half_widths(*size) == widths


@pytest.mark.parametrize(("first", "second", "colour"), LIMBS)
def test_the_colour_of_a_limb_halfway(first, second, colour):
    picture = drawn({first: (100, 50), second: (140, 50)})
    assert colour_at(picture, 120, 50) == colour


def test_no_other_limb_than_the_19():
    pairs = {frozenset(pair) for *pair, _ in LIMBS}
    for number, first in enumerate(NAMES):
        for second in NAMES[number + 1 :]:
            picture = drawn({first: (100, 50), second: (140, 50)})
            assert picture[50, 120].any() == (frozenset((first, second)) in pairs), (first, second)


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("nose", (255, 0, 0)),
        ("neck", (255, 85, 0)),
        ("right wrist", (170, 255, 0)),
        ("left ankle", (85, 0, 255)),
        ("left ear", (255, 0, 85)),
        ("left toe", (200, 200, 0)),
        ("right toe", (100, 100, 0)),
    ],
)
def test_the_colour_of_a_joint(name, colour):
    assert colours(drawn({name: (100, 50)})) == {colour}


def test_a_joint_of_radius_1_is_a_plus_at_the_pixel_without_fractions():
    lit = np.argwhere(drawn({"nose": (100.9, 50.9)}).any(axis=2)).tolist()
    assert lit == [[49, 100], [50, 99], [50, 100], [50, 101], [51, 100]]


@pytest.mark.parametrize(("size", "reach"), [((480, 832), 1), ((720, 1280), 2), ((1920, 1080), 4)])
def test_a_limb_is_an_ellipse_from_joint_to_joint(size, reach):
    picture = drawn({"neck": (100, 50), "nose": (140, 50)}, size=size)
    rows = np.flatnonzero(picture[:, 120].any(axis=1))
    assert (rows[0], rows[-1]) == (50 - reach, 50 + reach)
    columns = np.flatnonzero(picture.any(axis=(0, 2)))
    # Its ends are under the joints, which reach as far beyond them.
    assert (columns[0], columns[-1]) == (100 - reach, 140 + reach)


def test_a_slanted_limb_passes_through_its_middle():
    picture = drawn({"neck": (100, 50), "nose": (160, 130)})
    assert colour_at(picture, 130, 90) == (0, 0, 153)
    assert not picture[50, 160].any() and not picture[130, 100].any()


def test_joints_lie_on_limbs_and_later_on_earlier():
    # The limb to the hip, which is painted later, crosses that to the shoulder; the neck lies on both.
    body = {"neck": (120, 50), "right shoulder": (80, 50), "right hip": (80, 50)}
    picture = drawn(body)
    assert colour_at(picture, 100, 50) == (0, 153, 0)
    assert colour_at(picture, 120, 50) == (255, 85, 0)
    assert colour_at(picture, 80, 50) == (0, 255, 170)


def test_hands_lie_on_the_body():
    picture = drawn({"left wrist": (100, 50), "left elbow": (160, 50)}, {0: (100, 50), 1: (130, 50)})
    assert colour_at(picture, 100, 50) == (0, 0, 255)
    assert colour_at(picture, 115, 50) == (255, 0, 0)


def test_the_right_hand_lies_on_the_left():
    picture = drawn(left={0: (100, 50), 1: (140, 50)}, right={0: (100, 50), 17: (140, 50)})
    # Bone 16 of 20: hue 288 degrees.
    assert colour_at(picture, 120, 50) == (204, 0, 255)


def test_every_finger_is_a_chain_of_four_from_the_wrist():
    assert BONES == (
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (0, 5),
        (5, 6),
        (6, 7),
        (7, 8),
        (0, 9),
        (9, 10),
        (10, 11),
        (11, 12),
        (0, 13),
        (13, 14),
        (14, 15),
        (15, 16),
        (0, 17),
        (17, 18),
        (18, 19),
        (19, 20),
    )


@pytest.mark.parametrize(
    ("points", "colour"),
    [
        ((0, 1), (255, 0, 0)),
        ((2, 3), (255, 153, 0)),
        ((0, 5), (204, 255, 0)),
        ((0, 13), (0, 102, 255)),
        ((15, 14), (51, 0, 255)),
        ((19, 18), (255, 0, 153)),
    ],
)
def test_the_colour_of_a_bone(points, colour):
    picture = drawn(left=dict(zip(points, [(100, 50), (140, 50)], strict=True)))
    assert colour_at(picture, 120, 50) == colour
    assert colour_at(picture, 100, 50) == colour_at(picture, 140, 50) == (0, 0, 255)


@pytest.mark.parametrize(("size", "rows"), [((480, 832), 1), ((720, 1280), 1), ((1920, 1080), 3)])
def test_the_breadth_of_a_bone(size, rows):
    """OpenCV draws a line of breadth 2 on three rows."""
    picture = drawn(left={0: (100, 50), 1: (140, 50)}, size=size)
    assert picture[:, 120].any(axis=1).sum() == rows


@pytest.mark.parametrize("point", [(0.9, 50), (50, 0.9), (-5, 50), (50, -5)])
def test_a_point_of_a_hand_in_the_first_column_or_row_is_left_out_with_its_bones(point):
    assert np.array_equal(drawn(left={0: (100, 50), 1: point}), drawn(left={0: (100, 50)}))


def test_a_joint_in_the_first_column_or_beyond_the_edge_is_drawn():
    assert colours(drawn({"nose": (0.5, 50)})) == {(255, 0, 0)}
    assert colour_at(drawn({"nose": (-20, 50), "neck": (40, 50)}), 0, 50) == (0, 0, 153)


def test_a_score_below_half_hides_a_joint_and_its_limbs():
    pose = nobody()
    pose.joints[0, :3], pose.joint_scores[0, :3] = [(100, 50), (140, 50), (180, 50)], [1, 1, 0.49]
    assert np.array_equal(draw_pose(pose, 0), drawn({"nose": (100, 50), "neck": (140, 50)}))
    pose.joint_scores[0, 2] = 0.5
    shown = {"nose": (100, 50), "neck": (140, 50), "right shoulder": (180, 50)}
    assert np.array_equal(draw_pose(pose, 0), drawn(shown))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_score_below_half_hides_a_point_of_a_hand(side):
    hand = {side: {0: (100, 50), 1: (140, 50)}}
    assert not drawn(**hand, score=0.49).any()
    assert drawn(**hand, score=0.5).any()


def test_points_of_a_face_are_not_drawn():
    scores = np.zeros((1, POINTS))
    scores[:, FACE] = 1
    face = Keypoints(np.full((1, POINTS, 2), 100.0), scores, 480, 832)
    assert not draw_pose(pose_of(face), 0).any()


def test_nobody_is_black():
    picture = drawn(size=(832, 480))
    assert picture.shape == (480, 832, 3) and picture.dtype == np.uint8
    assert not picture.any()


def figure(width, height):
    """A whole body with both hands, without chance."""
    share = [(50, 12), (50, 22), (41, 22), (33, 31), (27, 41), (59, 22), (68, 30), (78, 25), (44, 48), (42, 66)]
    share += [(41, 85), (56, 48), (60, 65), (57, 84), (48, 10), (52, 10), (45, 11), (55, 11), (61, 88), (37, 89)]
    joints = np.array(share) / 100 * (width, height)
    step = np.arange(21)
    fan = np.stack([np.cos(0.4 * (step // 4)), np.sin(0.4 * (step // 4))], axis=1) * (step % 4 + 1)[:, None]
    hands = joints[[7, 4], None] + fan * height / 100
    return one_frame(joints, np.ones(20), hands, np.ones((2, 21)), (width, height))


def one_frame(joints, joint_scores, hands, hand_scores, size):
    (left, right), (left_scores, right_scores) = hands[:, None], hand_scores[:, None]
    return Pose(joints[None], joint_scores[None], left, left_scores, right, right_scores, *size)


@pytest.mark.parametrize(
    ("size", "digest"), [((480, 832), 1116660577), ((720, 1280), 3009525001), ((1920, 1080), 3577780921)]
)
def test_a_figure_is_the_authors_picture_of_it(size, digest):
    """Digests of what Wan2.2 (42bf4cf) draws of it."""
    assert zlib.crc32(draw_pose(figure(*size), 0)) == digest


def authors():
    """Their module. What it imports besides, for other work, is replaced by name."""
    sys.modules.setdefault("pose2d_utils", types.ModuleType("pose2d_utils")).AAPoseMeta = object
    path = Path(WAN_PATH) / "wan/modules/animate/preprocess/human_visualization.py"
    spec = importlib.util.spec_from_file_location("human_visualization", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def authors_picture(module, pose):
    # They write into the joints that they are given.
    person = types.SimpleNamespace(
        kps_body=pose.joints[0].copy(),
        kps_body_p=pose.joint_scores[0],
        kps_lhand=pose.left_hand[0],
        kps_lhand_p=pose.left_scores[0],
        kps_rhand=pose.right_hand[0],
        kps_rhand_p=pose.right_scores[0],
    )
    return module.draw_aapose_by_meta_new(np.zeros((pose.height, pose.width, 3), np.uint8), person)


@pytest.mark.skipif(not WAN_PATH, reason="needs a checkout of Wan2.2: set WAN_PATH")
@pytest.mark.parametrize("size", [*SIZES, (624, 624)])
def test_equal_to_the_authors_pixel_by_pixel(size):
    module, random = authors(), np.random.default_rng(0)
    poses = [figure(*size)]
    for number in range(20):
        # Beyond the edges, too; on whole pixels in every other frame, where lengths and angles are whole more often.
        joints, hands = (random.uniform(-0.2, 1.2, (*shape, 2)) * size for shape in [(20,), (2, 21)])
        if number % 2:
            joints, hands = joints.round(), hands.round()
        poses.append(one_frame(joints, random.uniform(0.3, 1, 20), hands, random.uniform(0.3, 1, (2, 21)), size))
    for pose in poses:
        assert np.array_equal(draw_pose(pose, 0), authors_picture(module, pose))
