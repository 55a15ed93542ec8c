"""POSE_KEYPOINT as its sources write it, read into 133 points and written again."""

import json
import math

import numpy as np
import pytest
from driving import bodies
from refusals import refusal

from everanimate_core.driving.keypoints import DRAWN, FACE, FEET, LEFT_HAND, POINTS, RIGHT_HAND, Keypoints
from everanimate_core.driving.pose_keypoint import (
    as_pose_keypoint,
    keypoints_of,
    load_pose_keypoint,
    read_pose_keypoint,
)

# OpenPose's body: which of the 133 points each of the 18 is; the neck is between the shoulders.
OPENPOSE = [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
WIDTH, HEIGHT = 480, 832
SIZES = {
    "pose_keypoints_2d": 18,
    "foot_keypoints_2d": 6,
    "face_keypoints_2d": 70,
    "hand_left_keypoints_2d": 21,
    "hand_right_keypoints_2d": 21,
}
STANDING = bodies.standing()


def flat(points, scores):
    return np.concatenate([points, np.reshape(scores, (-1, 1))], axis=1).ravel().tolist()


def openpose_body(points, scores):
    neck = points[[5, 6]].mean(axis=0), scores[[5, 6]].min()
    triples = [neck if number is None else (points[number], scores[number]) for number in OPENPOSE]
    return flat(*(np.array(part) for part in zip(*triples, strict=True)))


def sdpose(points, scores):
    """A person as SDPoseKeypointExtractor gives it: under swapped names of the hands, COCO's left hand first."""
    face = [*range(POINTS)[FACE], 2, 1]
    return {
        "pose_keypoints_2d": openpose_body(points, scores),
        "foot_keypoints_2d": flat(points[FEET], scores[FEET]),
        "face_keypoints_2d": flat(points[face], scores[face]),
        "hand_right_keypoints_2d": flat(points[LEFT_HAND], scores[LEFT_HAND]),
        "hand_left_keypoints_2d": flat(points[RIGHT_HAND], scores[RIGHT_HAND]),
    }


def dwpose(points, seen):
    """A person as DWPreprocessor gives it: no feet, missing points are 0, 0, 0, and missing parts are None."""
    points, scores = np.where(seen[:, None], points, 0), seen.astype(float)
    face = [*range(POINTS)[FACE], 2, 1]
    parts = {"face": face, "hand_left": range(POINTS)[LEFT_HAND], "hand_right": range(POINTS)[RIGHT_HAND]}
    person = {"pose_keypoints_2d": openpose_body(points, scores)}
    for name, numbers in parts.items():
        numbers = list(numbers)
        person[f"{name}_keypoints_2d"] = flat(points[numbers], scores[numbers]) if seen[numbers].any() else None
    return person


def clip(*people, width=WIDTH, height=HEIGHT):
    """One frame."""
    return [{"canvas_width": width, "canvas_height": height, "people": list(people)}]


def read(*people, **kwargs):
    """The one frame's people."""
    return read_pose_keypoint(clip(*people, **kwargs), WIDTH, HEIGHT)[0]


def graded():
    """Scores of the 133 points, each another one, from 0.301 to 0.9."""
    return np.linspace(0.301, 0.9, POINTS)


def test_every_point_of_sdpose_comes_to_its_place():
    (person,) = read(sdpose(STANDING, graded()))
    assert np.array_equal(person.points, STANDING)
    assert np.allclose(person.scores, 0.5 + (graded() - 0.3) / 0.7 * 0.5, rtol=0, atol=1e-12)


def test_hands_under_their_right_names_come_to_their_places_too():
    person = sdpose(STANDING, graded())
    names = ("hand_left_keypoints_2d", "hand_right_keypoints_2d")
    person.update(zip(names, [person[name] for name in reversed(names)], strict=True))
    assert np.array_equal(read(person)[0].points, STANDING)


@pytest.mark.parametrize(
    ("raw", "score"), [(-0.2, 0), (0, 0), (0.15, 0.25), (0.3, 0.5), (0.65, 0.75), (1.0, 1), (1.2, 1)]
)
def test_scores_are_straight_up_to_the_threshold_and_beyond(raw, score):
    scores = np.where(np.arange(POINTS) == 0, raw, 0.9)
    assert read(sdpose(STANDING, scores))[0].scores[0] == pytest.approx(score, abs=1e-12)


def test_dwpose_has_no_feet_and_none_for_missing_parts():
    seen = np.ones(POINTS, dtype=bool)
    seen[[7, 30]] = seen[RIGHT_HAND] = False
    person = dwpose(STANDING, seen)
    assert person["hand_right_keypoints_2d"] is None
    (found,) = read(person)
    expected = seen.copy()
    expected[FEET] = False
    assert np.array_equal(found.scores, expected.astype(float))
    assert np.array_equal(found.points[expected], STANDING[expected])


@pytest.mark.parametrize("missing", [None, []])
def test_a_body_alone(missing):
    empty = dict.fromkeys(SIZES, missing)
    (found,) = read({**empty, "pose_keypoints_2d": openpose_body(STANDING, np.ones(POINTS))})
    assert found.scores[:17].all() and not found.scores[17:].any()


def test_a_face_of_68_points():
    person = sdpose(STANDING, graded())
    person["face_keypoints_2d"] = person["face_keypoints_2d"][: 3 * 68]
    assert np.array_equal(read(person)[0].points, STANDING)


def test_coordinates_in_shares_of_the_canvas():
    (found,) = read(sdpose(STANDING / (WIDTH, HEIGHT), graded()), width=1000, height=500)
    assert np.allclose(found.points, STANDING, rtol=0, atol=1e-9)


def test_a_share_a_little_beyond_the_edge():
    shares = STANDING / (WIDTH, HEIGHT)
    shares[9] = (-0.1, 1.12)
    assert np.allclose(read(sdpose(shares, graded()))[0].points[9], (-48, 1.12 * 832), rtol=0, atol=1e-9)


def test_the_whole_clip_tells_shares_from_pixels():
    """What is seen of the first frame, one point in the corner, may be either."""
    corner, alone = STANDING.copy(), np.where(np.arange(POINTS) == 0, 0.9, 0)
    corner[0] = (1, 1)
    frames = clip(sdpose(corner, alone)) + clip(sdpose(STANDING, graded()))
    assert read_pose_keypoint(frames, WIDTH, HEIGHT)[0][0].points[0].tolist() == [1, 1]


def test_the_canvas_is_rescaled_to_the_video():
    (found,) = read(sdpose(STANDING / (2, 4), graded()), width=WIDTH / 2, height=HEIGHT / 4)
    assert np.array_equal(found.points, STANDING)


def test_a_canvas_beyond_all_bounds_shrinks_its_people_to_a_point():
    (found,) = read(sdpose(STANDING, graded()), width=10**30, height=10**30)
    assert np.abs(found.points).max() < 1e-20 and found.points.dtype == np.float64


def test_each_frame_has_its_own_canvas():
    frames = clip(sdpose(STANDING, graded())) + clip(sdpose(STANDING, graded()), width=960)
    first, second = read_pose_keypoint(frames, WIDTH, HEIGHT)
    assert np.array_equal(second[0].points, first[0].points / (2, 1))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("value", range(3))
def test_a_point_with_a_bad_number_is_missing(bad, value):
    person = sdpose(STANDING, np.full(POINTS, 0.9))
    # The right elbow.
    person["pose_keypoints_2d"][3 * 3 + value] = bad
    (found,) = read(person)
    assert found.scores[8] == 0 and np.isfinite(found.points).all()
    assert np.flatnonzero(found.scores == 0).tolist() == [8]


@pytest.mark.parametrize("far", [1e7, -1e7, 1e300, 10**30])
@pytest.mark.parametrize("width", [WIDTH, 1e-30])
def test_a_point_that_is_further_away_than_any_frame_reaches_is_missing(far, width):
    person = sdpose(STANDING, np.full(POINTS, 0.9))
    person["pose_keypoints_2d"][3 * 3] = far
    found = read(person, width=width)
    assert [np.flatnonzero(one.scores == 0).tolist() for one in found] == ([[8]] if width == WIDTH else [])


@pytest.mark.parametrize("nobody", [{"people": []}, {"people": None}, {}, {"people": [{}]}])
def test_nobody(nobody):
    frames = [*clip(sdpose(STANDING, graded())), {"canvas_width": WIDTH, "canvas_height": HEIGHT, **nobody}]
    assert [len(people) for people in read_pose_keypoint(frames, WIDTH, HEIGHT)] == [1, 0]


def test_somebody_without_a_point_is_left_out_and_others_stay_in_order():
    made = [(0, 0.9), (40, 0), (60, -0.01), (80, 0.9)]
    people = [sdpose(np.add(STANDING, (shift, 0)), np.full(POINTS, score)) for shift, score in made]
    assert [person.points[0, 0] for person in read(*people)] == [240, 320]


def test_sdposes_missing_points_at_minus_1():
    points, scores = STANDING.copy(), np.full(POINTS, 0.9)
    points[10], scores[10] = -1, -0.01
    (found,) = read(sdpose(points, scores))
    assert np.flatnonzero(found.scores == 0).tolist() == [10]


@pytest.mark.parametrize("side", [LEFT_HAND, RIGHT_HAND])
@pytest.mark.parametrize("name", [LEFT_HAND, RIGHT_HAND])
def test_one_hand_belongs_to_the_nearer_of_two_wrists(side, name):
    seen, points = np.ones(POINTS, dtype=bool), STANDING.copy()
    seen[91:], points[name] = False, STANDING[side]
    seen[name] = True
    (found,) = read(dwpose(points, seen))
    assert np.array_equal(found.points[side], STANDING[side])
    assert np.flatnonzero(found.scores[91:]).tolist() == list(range(side.start - 91, side.stop - 91))


def test_roots_tell_hands_whose_fingers_reach_beyond_the_other_wrist():
    points = STANDING.copy()
    for hand, other in ((LEFT_HAND, RIGHT_HAND), (RIGHT_HAND, LEFT_HAND)):
        points[hand][1:] = STANDING[other][1:]
    assert np.array_equal(read(sdpose(points, graded()))[0].points, points)


def test_one_hand_and_one_wrist_belong_together():
    seen = np.ones(POINTS, dtype=bool)
    # The right wrist alone is seen, and a hand that is called left.
    seen[9] = seen[RIGHT_HAND] = False
    points = STANDING.copy()
    points[LEFT_HAND] = STANDING[RIGHT_HAND]
    (found,) = read(dwpose(points, seen))
    assert np.array_equal(found.points[RIGHT_HAND], STANDING[RIGHT_HAND])
    assert found.scores[RIGHT_HAND].all() and not found.scores[LEFT_HAND].any()


def test_of_two_hands_the_nearer_belongs_to_the_only_wrist():
    seen = np.ones(POINTS, dtype=bool)
    seen[9] = False
    points = STANDING.copy()
    points[LEFT_HAND], points[RIGHT_HAND] = STANDING[RIGHT_HAND], STANDING[LEFT_HAND]
    (found,) = read(dwpose(points, seen))
    assert np.array_equal(found.points[91:], STANDING[91:])


def test_hands_keep_their_names_without_wrists():
    seen = np.ones(POINTS, dtype=bool)
    seen[[9, 10]] = False
    assert np.array_equal(read(dwpose(STANDING, seen))[0].points[91:], STANDING[91:])


def test_a_hand_without_its_root_is_told_by_its_next_point():
    seen = np.ones(POINTS, dtype=bool)
    seen[[91, 112]] = False
    points = STANDING.copy()
    points[LEFT_HAND], points[RIGHT_HAND] = STANDING[RIGHT_HAND], STANDING[LEFT_HAND]
    expected = np.delete(STANDING, [91, 112], axis=0)
    assert np.array_equal(np.delete(read(dwpose(points, seen))[0].points, [91, 112], axis=0)[91:], expected[91:])


def test_a_hand_that_is_too_faint_to_draw_does_not_take_the_wrist_of_the_other():
    """SDPose looks for a hidden hand in the one that is seen."""
    points, scores = STANDING.copy(), np.full(POINTS, 0.9)
    # The left hand lies a little off its wrist; the hidden right hand is thought to lie closer to it.
    points[RIGHT_HAND], points[LEFT_HAND] = STANDING[LEFT_HAND], STANDING[LEFT_HAND] + 3
    scores[RIGHT_HAND] = 0.1
    (found,) = read(sdpose(points, scores))
    assert np.array_equal(found.points[LEFT_HAND], STANDING[LEFT_HAND] + 3)
    assert (found.scores[LEFT_HAND] >= DRAWN).all()


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("off", [-1, 1])
def test_a_part_of_another_length_is_refused(key, off):
    frames = clip(sdpose(STANDING, graded())) + clip(sdpose(STANDING, graded()))
    values = frames[1]["people"][0][key]
    frames[1]["people"][0][key] = values[:off] if off < 0 else [*values, 0.5]
    message = refusal(read_pose_keypoint, frames, WIDTH, HEIGHT)
    size = "68 or 70" if key == "face_keypoints_2d" else SIZES[key]
    expected = f"keypoints must have x, y and score of {size} points in {key} of frame 1 (or none); "
    assert message == f"{expected}got {3 * SIZES[key] + off} numbers."


@pytest.mark.parametrize("part", [5, "x", "xyz", {}, {"a": 1}, True, [[0, 0, 1]] * 18, [[]], [0, [1], 2], ["x"] * 54])
def test_a_part_of_something_else_is_refused(part):
    message = refusal(read, {"pose_keypoints_2d": part})
    assert message.startswith("keypoints must have x, y and score of 18 points in pose_keypoints_2d of frame 0 (or ")


def test_a_json_file(tmp_path):
    frames = clip(sdpose(STANDING, graded()))
    (tmp_path / "a.json").write_text(json.dumps(frames))
    assert load_pose_keypoint(tmp_path / "a.json") == frames
    (tmp_path / "a.json").write_text(json.dumps(frames[0]))
    rule = "keypoints must be POSE_KEYPOINT as JSON, a list of frames (openpose.json); got "
    assert refusal(load_pose_keypoint, tmp_path / "a.json").startswith(f"{rule}{{'canvas_height': 832, ")
    assert refusal(load_pose_keypoint, tmp_path / "none.json").startswith(f"{rule}a file that cannot be read (")


def test_keypoints_come_back_from_what_was_written():
    dance, scores = bodies.dance(4), np.full((4, POINTS), 0.9)
    scores[2] = 0
    again = keypoints_of(json.loads(json.dumps(as_pose_keypoint(Keypoints(dance, scores, WIDTH, HEIGHT)))))
    assert (again.width, again.height) == (WIDTH, HEIGHT)
    assert np.allclose(again.scores, scores, rtol=0, atol=1e-12)
    assert np.array_equal(again.points[scores > 0], dance[scores > 0])


@pytest.mark.parametrize("side", ["canvas_width", "canvas_height"])
@pytest.mark.parametrize("size", [None, 0, -480, math.nan, "480"])
def test_a_canvas_without_a_size_is_refused(side, size):
    """Files of OpenPose itself have none."""
    frames = clip(sdpose(STANDING, graded()))
    frames[0][side] = size
    message = refusal(read_pose_keypoint, frames, WIDTH, HEIGHT)
    assert message == f"keypoints must have {side} in frame 0 (pixels, above 0); got {size!r}."


@pytest.mark.parametrize(
    "frames",
    [{"people": []}, [None], [{"people": {"pose_keypoints_2d": []}}], [{"people": [[0]]}]],
)
def test_what_is_no_list_of_frames_with_people_is_refused(frames):
    assert "keypoints must have a list of people in frame 0 " in refusal(read_pose_keypoint, frames, WIDTH, HEIGHT)


def test_written_and_read_again_is_the_same():
    dance = bodies.dance(6)
    scores = np.random.default_rng(0).uniform(0.05, 1, dance.shape[:2])
    scores[1] = 0
    scores[2, RIGHT_HAND] = scores[3, FEET] = scores[4, 5] = 0
    scores[5, 20:24] = [DRAWN, np.nextafter(DRAWN, 1), 1, 1e-9]
    keypoints = Keypoints(dance, scores, WIDTH, HEIGHT)
    written = json.loads(json.dumps(as_pose_keypoint(keypoints)))
    assert written[1]["people"] == []
    people = read_pose_keypoint(written, WIDTH, HEIGHT)
    assert [len(frame) for frame in people] == [1, 0, 1, 1, 1, 1]
    for frame in (0, 2, 3, 4, 5):
        (person,) = people[frame]
        assert np.allclose(person.scores, scores[frame], rtol=0, atol=1e-12)
        assert np.array_equal(person.scores > 0, scores[frame] > 0)
        assert (person.scores >= DRAWN)[scores[frame] >= DRAWN].all()
        there = scores[frame] > 0
        assert np.array_equal(person.points[there], dance[frame][there])


def test_the_written_form():
    keypoints = bodies.keypoints(STANDING, score=DRAWN)
    (frame,) = as_pose_keypoint(keypoints)
    assert (frame["canvas_width"], frame["canvas_height"]) == (WIDTH, HEIGHT)
    (person,) = frame["people"]
    assert {key: len(values) // 3 for key, values in person.items()} == SIZES
    triples = {key: np.reshape(values, (-1, 3)) for key, values in person.items()}
    body = triples["pose_keypoints_2d"][:, :2]
    assert np.array_equal(np.delete(body, 1, axis=0), STANDING[[number for number in OPENPOSE if number is not None]])
    assert np.array_equal(body[1], (STANDING[5] + STANDING[6]) / 2)
    assert np.array_equal(triples["foot_keypoints_2d"][:, :2], STANDING[FEET])
    assert np.array_equal(triples["face_keypoints_2d"][:, :2], STANDING[[*range(POINTS)[FACE], 2, 1]])
    assert np.array_equal(triples["hand_left_keypoints_2d"][:, :2], STANDING[LEFT_HAND])
    assert np.array_equal(triples["hand_right_keypoints_2d"][:, :2], STANDING[RIGHT_HAND])
    # Others draw what has 0.3.
    assert all((values[:, 2] == 0.3).all() for values in triples.values())


def test_a_missing_point_is_written_as_zeros_and_takes_the_neck_along():
    keypoints = bodies.keypoints(STANDING)
    # The left shoulder.
    keypoints.scores[0, 5] = 0
    values = as_pose_keypoint(keypoints)[0]["people"][0]["pose_keypoints_2d"]
    assert values[3:6] == values[15:18] == [0, 0, 0]
