"""Where the face lies in every frame of a clip, also where it is turned away, and what the face video shows of it."""

import numpy as np
import pytest
from driving import bodies

from everanimate_core.driving.face import (
    face_boxes,
    face_picture,
    find_faces,
    head_boxes,
    pixel_boxes,
    shoulder_width,
    steady,
    without_gaps,
)
from everanimate_core.driving.keypoints import DRAWN, FACE, POINTS, Keypoints

WIDTH, HEIGHT = 480, 832
EVERYTHING = range(POINTS)
FACE_POINTS, HEAD, SHOULDERS, HIPS = EVERYTHING[FACE], range(5), (5, 6), (11, 12)
EVERY = np.ones((1, 68), dtype=bool)


def limits(low, high):
    """68 points of a face that reaches from low to high, [1, 68, 2]."""
    return np.linspace(low, high, 68)[None]


def walk(frames):
    """Keypoints of a person that walks around, its size unchanged, and the boxes of its face [N, 4]."""
    time = np.arange(frames)[:, None, None]
    path = np.concatenate([60 * np.sin(time / 20), 0.005 * (time - 50) ** 2 / 2], axis=2)
    person = bodies.keypoints(bodies.standing() + path)
    return person, face_boxes(person.points[:, FACE], np.ones((frames, 68), dtype=bool))


def off(faces, boxes):
    """How far the whole boxes lie from others [N, 4] at most; each is cut off to a whole pixel."""
    return np.abs(faces.boxes + 0.5 - boxes).max()


# --- the box of one face ---------------------------------------------------------------------------------------------


def test_the_box_of_a_face():
    boxes = face_boxes(limits((195, 120.164), (285, 200)), EVERY)
    assert pixel_boxes(boxes, WIDTH, HEIGHT).tolist() == [[188, 111, 291, 202]]


def test_the_box_has_1_3_times_the_area_as_wan_computes_it():
    points = np.random.default_rng(0).uniform(100, 400, (200, 68, 2))
    (width, height), low, high = np.ptp(points, axis=1).T, points.min(axis=1), points.max(axis=1)
    area = 1.3 * width * height
    wider = (np.sqrt(area * width / height) - width) / 2
    higher = (np.sqrt(area * height / width) - height) / 4
    expected = [low - np.stack([wider, 3 * higher], axis=1), high + np.stack([wider, higher], axis=1)]
    boxes = face_boxes(points, np.ones((200, 68), dtype=bool))
    assert np.allclose(boxes, np.concatenate(expected, axis=1), rtol=0, atol=1e-9)


def test_points_that_are_missing_do_not_count():
    points, there = limits((100, 100), (167, 167)), EVERY.copy()
    there[0, 60:] = False
    points[0, 60:] = (0, 900)
    assert np.array_equal(face_boxes(points, there), face_boxes(points[:, :60], there[:, :60]))


@pytest.mark.parametrize(
    ("low", "high", "box"),
    [
        # 100 px become 114: 7 at each side, 10.5 above, 3.5 below.
        ((0, 0), (100, 100), [0, 0, 107, 103]),
        ((380, 732), (479, 831), [373, 721, 480, 832]),
        ((-50, 300), (50, 400), [0, 289, 57, 403]),
        ((-120, 300), (-20, 400), [0, 0, 0, 0]),
        ((490, 300), (590, 400), [0, 0, 0, 0]),
        ((200, -110), (300, -10), [0, 0, 0, 0]),
        ((200, 850), (300, 950), [0, 0, 0, 0]),
    ],
)
def test_a_box_at_the_edge_of_the_picture_and_beyond(low, high, box):
    assert pixel_boxes(face_boxes(limits(low, high), EVERY), WIDTH, HEIGHT).tolist() == [box]


@pytest.mark.parametrize("at", [(100, 50), (100.3, 50.7), (99.95, 60), (479.9, 831.9)])
@pytest.mark.parametrize("size", [0, 1])
def test_a_face_of_one_pixel_has_a_box(at, size):
    boxes = face_boxes(limits(at, np.add(at, size)), EVERY)
    left, top, right, bottom = pixel_boxes(boxes, WIDTH, HEIGHT)[0]
    # Whole pixels are cut off, not rounded.
    assert left <= at[0] < right + 1 and top <= at[1] < bottom + 1
    assert 1 <= right - left <= 2 and 1 <= bottom - top <= 2


# --- the boxes of a clip ---------------------------------------------------------------------------------------------


def test_a_still_face_has_wans_box_in_every_frame():
    person = bodies.keypoints(np.repeat(bodies.standing()[None], 5, axis=0))
    boxes = pixel_boxes(face_boxes(person.points[:1, FACE], EVERY), WIDTH, HEIGHT)
    faces = find_faces(person, 30)
    assert np.array_equal(faces.boxes, np.repeat(boxes, 5, axis=0))
    assert faces.visible.all()


@pytest.mark.parametrize(("count", "visible"), [(33, False), (34, True)])
def test_half_of_its_points_make_a_face(count, visible):
    person = bodies.keypoints(bodies.standing())
    person.scores[0, FACE] = np.where(np.arange(68) < count, DRAWN, DRAWN - 0.01)
    assert find_faces(person, 30).visible.tolist() == [visible]


@pytest.mark.parametrize(("fps", "longest"), [(30, 8), (60, 16), (15, 4)])
def test_short_gaps_go_evenly_from_box_to_box(fps, longest):
    person = bodies.keypoints(bodies.standing() + 1.7 * np.arange(60)[:, None, None])
    whole = find_faces(person, fps).boxes
    for length, furthest in ((longest, 1), (longest + 1, 101)):
        gap = slice(30, 30 + length)
        missing = bodies.without(person, [*HEAD, *FACE_POINTS], gap)
        # Should the body be asked where the head is, it would be wrong.
        missing.points[gap, 5:13] -= (100, 0)
        faces = find_faces(missing, fps)
        assert furthest - 2 <= np.abs(faces.boxes - whole).max() <= furthest
        assert np.flatnonzero(~faces.visible).tolist() == list(range(30, 30 + length))


def test_a_gap_is_filled_in_equal_steps():
    boxes, heads = np.full((6, 4), np.nan), np.full((6, 4), 7.0)
    boxes[1], boxes[4] = (0, 30, 60, 90), (3, 0, 66, 90)
    middle = [[1, 20, 62, 90], [2, 10, 64, 90]]
    assert np.allclose(without_gaps(boxes, heads, 2), [heads[0], boxes[1], *middle, boxes[4], heads[5]])
    assert np.array_equal(without_gaps(boxes, heads, 1)[2:4], heads[2:4])


@pytest.mark.parametrize("missing", [FACE_POINTS, [*HEAD, *FACE_POINTS]])
def test_a_face_that_is_turned_away_for_long(missing):
    person, boxes = walk(300)
    faces = find_faces(bodies.without(person, missing, slice(100, 181)), 30)
    assert np.flatnonzero(~faces.visible).tolist() == list(range(100, 181))
    assert off(faces, boxes) < 1


def test_at_the_ends_of_a_clip_the_head_is_followed():
    person, boxes = walk(60)
    for frames in (slice(0, 5), slice(55, 60)):
        assert off(find_faces(bodies.without(person, FACE_POINTS, frames), 30), boxes) < 1


def test_seen_from_the_side_the_head_keeps_its_size():
    person, boxes = walk(100)
    side = bodies.without(person, FACE_POINTS, slice(40, 70))
    for pair in (SHOULDERS, HIPS):
        middle = side.points[40:70, pair].mean(axis=1, keepdims=True)
        side.points[40:70, pair] = middle + 0.1 * (side.points[40:70, pair] - middle)
    assert off(find_faces(side, 30), boxes) < 1.5


def test_a_head_that_comes_nearer_grows():
    growth = np.linspace(1, 2, 100)[:, None, None]
    person = bodies.keypoints((bodies.standing() - (240, 150)) * growth + (240, 150))
    boxes = face_boxes(person.points[:, FACE], np.ones((100, 68), dtype=bool))
    for missing in (FACE_POINTS, [*HEAD, *FACE_POINTS]):
        assert off(find_faces(bodies.without(person, missing, slice(30, 100)), 30), boxes) < 1.5
    # Without shoulders, it is at least where it was, as large as before.
    faces = find_faces(bodies.without(person, [*SHOULDERS, *FACE_POINTS], slice(30, 100)), 30)
    assert np.allclose(np.diff(faces.boxes[40:][:, ::2]), np.diff(faces.boxes[29, ::2]), atol=1)


@pytest.mark.parametrize("missing", [FACE_POINTS, [*HEAD, *FACE_POINTS]])
def test_who_never_shows_the_face_shows_the_head(missing):
    person, _ = walk(20)
    faces = find_faces(bodies.without(person, missing), 30)
    left, top, right, bottom = faces.boxes.T[..., None]
    x, y = np.moveaxis(person.points[:, HEAD], -1, 0)
    assert ((left <= x) & (x < right) & (top <= y) & (y < bottom)).all()
    shoulders = person.points[:, 5, 0] - person.points[:, 6, 0]
    assert np.allclose(np.sqrt(np.prod(faces.boxes[:, 2:] - faces.boxes[:, :2], axis=1)), 0.5 * shoulders, atol=2)
    assert not faces.visible.any()


def test_a_head_of_which_the_size_is_never_known_is_not_shown():
    person = bodies.without(walk(20)[0], [*FACE_POINTS, *SHOULDERS])
    assert not find_faces(person, 30).boxes.any()


@pytest.mark.parametrize("missing", [EVERYTHING, [*FACE_POINTS, *HEAD, *SHOULDERS], [*FACE_POINTS, *HEAD, 5]])
def test_where_neither_head_nor_both_shoulders_are_there_is_no_box(missing):
    person, boxes = walk(60)
    faces = find_faces(bodies.without(person, missing, slice(20, 40)), 30)
    assert np.flatnonzero(~faces.boxes.any(axis=1)).tolist() == list(range(20, 40))
    # Next to the gap the boxes are averaged with nothing.
    there = np.delete(np.arange(60), slice(20, 40))
    assert np.abs(faces.boxes[there] + 0.5 - boxes[there]).max() < 1
    assert faces.boxes.dtype == np.int64
    assert not find_faces(bodies.without(person, missing), 30).boxes.any()


def test_a_face_beyond_the_edge_is_not_visible():
    person = bodies.keypoints(bodies.standing(middle=-160))
    faces = find_faces(person, 30)
    assert not faces.boxes.any() and not faces.visible.any()


def test_nothing_goes_on_across_a_cut():
    near, far = bodies.standing(), bodies.standing(tall=300, middle=100, crown=400)
    person = bodies.keypoints(np.stack([*[near] * 10, *[far] * 10]))
    whole = find_faces(person, 30, [10]).boxes
    assert np.array_equal(whole, np.repeat(whole[[0, 10]], 10, axis=0))
    gap = find_faces(bodies.without(person, FACE_POINTS, slice(8, 12)), 30, [10]).boxes
    assert np.abs(gap - whole).max() <= 1


def test_shoulders_are_as_wide_as_they_look_or_as_the_torso_says():
    points, scores = np.zeros((5, POINTS, 2)), np.zeros((5, POINTS))
    points[:, SHOULDERS], points[:, HIPS] = [[100, 0], [0, 0]], [[70, 100], [30, 100]]
    points[1, SHOULDERS] = [[50, 0], [50, 0]]
    points[4, SHOULDERS] = [[50, 0], [50, 0]]
    scores[:, (*SHOULDERS, *HIPS)] = 1
    scores[2, 6] = 0.4
    scores[3, 12] = scores[4, 12] = 0.4
    width = shoulder_width(Keypoints(points, scores, WIDTH, HEIGHT))
    assert np.allclose(width, [100, 70, np.nan, 100, np.nan], equal_nan=True)


def test_the_head_is_placed_as_in_the_median_frame():
    points, scores = np.zeros((4, POINTS, 2)), np.zeros((4, POINTS))
    points[:, SHOULDERS], points[:, 0] = [[200, 300], [100, 300]], (150, 200)
    scores[:, (0, *SHOULDERS)] = 1
    scores[3, 0] = 0
    # Size 60, shape 4:9, and the centre 0, 6 and 60 px below the nose.
    faces = np.full((4, 4), np.nan)
    faces[:3] = [(130, 155 + down, 170, 245 + down) for down in (0, 6, 60)]
    heads = head_boxes(Keypoints(points, scores, WIDTH, HEIGHT), faces)
    assert np.allclose(heads, [[130, 161, 170, 251]] * 4)


# --- trembling -------------------------------------------------------------------------------------------------------


def test_an_even_motion_is_not_changed_by_averaging():
    boxes = np.arange(12)[:, None] * (3.0, -2.0, 5.0, 0.5)
    boxes[5] = np.nan
    assert np.allclose(steady(boxes), boxes, rtol=0, atol=1e-12, equal_nan=True)


def test_one_frame_that_jumps_is_spread_over_five():
    boxes = np.zeros((9, 4))
    boxes[4] = 16
    assert steady(boxes)[:, 0].tolist() == [0, 0, 1, 4, 6, 4, 1, 0, 0]
    assert steady(boxes[4:])[:, 0].tolist() == [16, 6, 1, 0, 0]
    assert steady(boxes[4:5]).tolist() == [[16] * 4]
    assert steady(boxes[:0]).shape == (0, 4)


def test_noise_from_frame_to_frame_becomes_a_quarter():
    noise = np.random.default_rng(0).normal(0, 1.5, (4000, 4))
    assert np.diff(steady(noise), axis=0).std() / np.diff(noise, axis=0).std() == pytest.approx(0.234, abs=0.01)


# --- the face video --------------------------------------------------------------------------------------------------


def test_a_box_of_512_pixels_shows_the_pixels_themselves():
    frame = np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    picture = face_picture(frame, np.array([100, 50, 612, 562]))
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, frame[50:562, 100:612])


def test_a_box_of_any_shape_is_stretched():
    frame = np.full((100, 100, 3), 9, np.uint8)
    frame[20:60, 30:40], frame[20:60, 40:50] = (255, 0, 0), (0, 0, 255)
    picture = face_picture(frame, np.array([30, 20, 50, 60]))
    assert picture.shape == (512, 512, 3)
    # Within half a source pixel of the border the colours run into each other.
    assert (picture[:, :243] == (255, 0, 0)).all() and (picture[:, 269:] == (0, 0, 255)).all()


def test_a_single_pixel_fills_the_picture():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[3, 4] = (1, 2, 3)
    assert (face_picture(frame, np.array([4, 3, 5, 4])) == (1, 2, 3)).all()


def test_where_nobody_is_the_picture_is_black():
    picture = face_picture(np.full((8, 8, 3), 255, np.uint8), np.zeros(4, dtype=int))
    assert picture.shape == (512, 512, 3) and picture.dtype == np.uint8 and not picture.any()
