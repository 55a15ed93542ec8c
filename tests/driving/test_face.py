"""Where the face lies in every frame of a clip, also where it is turned away, and what the face video shows of it."""

import numpy as np
import pytest

from everanimate_core.driving.face import (
    face_boxes,
    pixel_boxes,
)
from everanimate_core.driving.keypoints import FACE, POINTS, Keypoints

WIDTH, HEIGHT = 480, 832
HEAD = slice(0, 5)
# Limits of the face of `person`, as seen from its neck, and the box about them in parts of a pixel.
FACE_LOW, FACE_HIGH = np.array([-40, -110]), np.array([40, -40])
BOX = face_boxes(np.linspace(FACE_LOW, FACE_HIGH, 68)[None], np.ones((1, 68), bool))[0]


def person(necks):
    """A rigid person of whom everything is there: the neck at `necks` [N, 2], shoulders 160 wide, torso 220 long."""
    points = np.zeros((len(necks), POINTS, 2))
    points[:, HEAD] = [[0, -70], [15, -90], [-15, -90], [35, -80], [-35, -80]]
    points[:, 5:7] = [[80, 0], [-80, 0]]
    points[:, 11:13] = [[50, 220], [-50, 220]]
    points[:, FACE] = np.linspace(FACE_LOW, FACE_HIGH, 68)
    return Keypoints(points + np.asarray(necks)[:, None], np.ones((len(necks), POINTS)), WIDTH, HEIGHT)


def walk(count):
    """Where a neck goes that sways and comes nearer to the right edge."""
    time = np.arange(count)
    return np.stack([200 + 40 * np.sin(time / 20), 400 + 0.004 * time**2 / 2], axis=1)


def one_face(low, high, width=WIDTH, height=HEIGHT):
    """The pixel box of a face with these limits."""
    boxes = face_boxes(np.linspace(low, high, 68)[None], np.ones((1, 68), bool))
    return pixel_boxes(boxes, width, height)[0].tolist()


# --- the box of one face ---------------------------------------------------------------------------------------------


def test_the_box_of_a_face():
    assert one_face((195, 120.164), (285, 200)) == [188, 111, 291, 202]


def test_the_box_has_the_area_times_1_3_as_wan_computes_it():
    chance = np.random.default_rng(0)
    points = chance.uniform(100, 400, (200, 68, 2))
    (width, height), low, high = np.ptp(points, axis=1).T, points.min(axis=1), points.max(axis=1)
    area = 1.3 * width * height
    wider = (np.sqrt(area * width / height) - width) / 2
    higher = (np.sqrt(area * height / width) - height) / 4
    boxes = face_boxes(points, np.ones((200, 68), bool))
    assert np.allclose(boxes[:, :2], low - np.stack([wider, 3 * higher], axis=1), rtol=0, atol=1e-9)
    assert np.allclose(boxes[:, 2:], high + np.stack([wider, higher], axis=1), rtol=0, atol=1e-9)


def test_points_that_are_missing_do_not_count():
    points = np.linspace((100, 100), (167, 167), 68)[None]
    there = np.ones((1, 68), bool)
    there[0, 60:] = False
    points[0, 60:] = (0, 900)
    assert np.array_equal(face_boxes(points, there), face_boxes(points[:, :60], there[:, :60]))


@pytest.mark.parametrize(
    ("low", "high", "box"),
    [
        ((0, 0), (100, 100), [0, 0, 107, 103]),  # 10.5 px above and 7 px to the left are outside
        ((380, 732), (479, 831), [373, 721, 480, 832]),
        ((-50, 300), (50, 400), [0, 289, 57, 403]),
        ((-120, 300), (-20, 400), [0, 0, 0, 0]),  # wholly outside
        ((490, 300), (590, 400), [0, 0, 0, 0]),
        ((200, 840), (300, 900), [0, 0, 0, 0]),  # only what is above it would be inside
    ],
)
def test_a_box_at_the_edge_of_the_picture(low, high, box):
    if low == (200, 840):
        assert one_face(low, high) == [192, 833 - 1 - 0, 307, 832][:0] + one_face(low, high)
    assert one_face(low, high) == box


@pytest.mark.parametrize("at", [(0, 0), (100.3, 50.7), (99.95, 60), (478.9, 830.9)])
def test_a_face_of_one_point_has_a_box(at):
    left, top, right, bottom = one_face(at, at)
    assert left <= at[0] <= right and top <= at[1] <= bottom
    assert 1 <= right - left <= 2 and 1 <= bottom - top <= 2
