"""What goes on in a driver, from the video to the driving videos: a cut to another camera, several people, bad data."""

import random

import numpy as np
import pytest
import torch
from driving.bodies import standing
from driving.dancers import HEIGHT, WIDTH, Driver, Reader, body, mask_of, number_of
from driving.prepare_parts import ANIMATING, SMALL, films, refused, told
from safetensors.numpy import load_file

from everanimate_core.driving import prepare
from everanimate_core.driving.engines.found import Found
from everanimate_core.driving.keypoints import BODY, FACE, Keypoints
from everanimate_core.driving.pose_keypoint import as_pose_keypoint
from everanimate_core.driving.settings import Settings

pytestmark = pytest.mark.usefixtures("small_windows")

# --- a cut -----------------------------------------------------------------------------------------------------------

# In the middle of the second window; the person jumps by so many pixels there.
CUT, JUMP = 10, 60


class CutDriver(Driver):
    """Behind the cut, the person stands elsewhere in front of another wall."""

    def read(self, indices):
        frames = super().read(indices)
        for frame, number in zip(frames, indices, strict=True):
            if number >= CUT:
                # The rows of the face; the number in the corner stays.
                frame[:48] = frame[:48].roll(JUMP, dims=1)
                frame[(frame[..., 2] * 255).round() == 160] = torch.tensor([0.9, 0.8, 0.1])
        return frames


def place_in(number):
    """The 133 points in a frame."""
    return np.add(body(number), (JUMP if number >= CUT else 0, 0))


class CutReader(Reader):
    """Finds the person on either side of the cut. Without the noise that Reader's memory adds."""

    def find(self, frame):
        found = super().find(frame)
        place = place_in(self.read[-1])
        return [one._replace(points=place, mask=mask_of(place)) for one in found]


def whole(fps):
    return Settings(mode="replacement", fps=fps, mask_grow=0, mask_blocks=0)


@pytest.mark.parametrize("fps", [0, 60])
def test_nothing_goes_on_across_a_cut(tmp_path, fps):
    times = 2 if fps else 1
    made = prepare.prepare(CutDriver(20), CutReader(), whole(fps), tmp_path)
    assert made.report["cuts"] == [CUT * times] and made.report["people"] == 1
    shown = np.repeat(np.arange(20), times)
    corner, face = told(made.background, (-24, -8), (-8, -8)), told(made.face, (100, 256), (410, 256))
    for levels_shown in (corner, face):
        assert [number_of(*values) for values in levels_shown] == shown.tolist()
    # Even motion passes the filters as it is; the mean of both sides of the cut would be 30 pixels off.
    places = np.array([place_in(number) for number in shown])
    np.testing.assert_allclose(load_file(made.keypoints)["points"], places, atol=1e-9)
    masks = films(tmp_path)["mask"][0][..., 0] > 0.5
    for mask, place in zip(masks, places, strict=True):
        np.testing.assert_array_equal(mask, mask_of(place))


@pytest.mark.parametrize("nobody", [(8, 9, 10, 11), (9,), (10,)])
def test_a_gap_at_a_cut_is_not_filled(tmp_path, nobody):
    made = prepare.prepare(CutDriver(20), CutReader(nobody=nobody), whole(0), tmp_path)
    # Where nobody is found on either side, the colours alone tell the frame of the cut.
    assert made.report["cuts"] == [CUT]
    there = [number not in nobody for number in range(20)]
    made_films = films(tmp_path)
    for name in ("pose", "mask", "face"):
        lit = made_films[name][0].flatten(1).amax(dim=1) > 0.05
        np.testing.assert_array_equal(lit, there, err_msg=name)
    assert not load_file(made.keypoints)["filled"].any()


# --- several people --------------------------------------------------------------------------------------------------

COUNT = 18
# Left, middle and right; the right one is the largest over the clip. Their shirts tell them apart.
MIDDLES, SHIRTS = {"left": 20.0, "middle": 62.0, "right": 104.0}, {"left": 0.9, "middle": 0.5, "right": 0.1}


def one_of_them(name, number):
    """Somebody's 133 points. In the first frames the left one is the largest, then steps back; the right one comes."""
    if name == "left":
        return standing(tall=70.0 - 2 * number, middle=MIDDLES[name], crown=8.0)
    return standing(tall=40.0 if name == "middle" else 45.0 + 2 * number, middle=MIDDLES[name], crown=8.0)


def order_in(number):
    """In which order they are found in a frame."""
    return random.Random(number).sample(sorted(MIDDLES), 3)


class Stage(Driver):
    """Three people in shirts of their own, and the number of the frame in the corner."""

    def read(self, indices):
        frames = super().read(indices)
        for frame, number in zip(frames, indices, strict=True):
            frame[:64] = 0.2
            for name, shirt in SHIRTS.items():
                points = one_of_them(name, number)
                (left, top), (right, bottom) = points[6].astype(int), points[11].astype(int) + 1
                frame[top:bottom, left:right] = torch.tensor([shirt, 0.2, 1 - shirt])
        return frames


class Crowd(Reader):
    """Finds all three, in an order that changes in each frame."""

    def find(self, frame):
        super().find(frame)
        number = self.read[-1]
        bodies = [one_of_them(name, number) for name in order_in(number)]
        return [Found(points, np.full(133, 0.9), mask_of(points)) for points in bodies]


CHOICES = [
    ({}, "right"),
    ({"person": "largest"}, "right"),
    ({"person": "leftmost"}, "left"),
    ({"person": "centre"}, "middle"),
    ({"person": "rightmost"}, "right"),
    ({"person": "index"}, "left"),
    ({"person": "index", "person_index": 1}, "middle"),
    ({"person": "index", "person_index": 2}, "right"),
    # It takes the place of person; the point lies on a shirt.
    ({"person": "leftmost", "person_at": "0,62,20"}, "middle"),
    ({"person_at": "17,20.5,14.25"}, "left"),
    ({"person_at": "9,120,30"}, "right"),
]


@pytest.mark.parametrize(("choice", "name"), CHOICES)
def test_the_chosen_one_drives_all_along(tmp_path, choice, name):
    settings = Settings(mode="replacement", mask_grow=0, mask_blocks=0, smoothing=False, **choice)
    made = prepare.prepare(Stage(COUNT), Crowd(), settings, tmp_path)
    assert made.report["people"] == 3
    expected = np.array([one_of_them(name, number) for number in range(COUNT)])
    np.testing.assert_array_equal(load_file(made.keypoints)["points"], expected)
    masks = films(tmp_path)["mask"][0][..., 0] > 0.5
    for mask, points in zip(masks, expected, strict=True):
        np.testing.assert_array_equal(mask, mask_of(points))


def given(number):
    """POSE_KEYPOINT of a frame with all three."""
    (frame,) = as_pose_keypoint(Keypoints(np.zeros((1, 133, 2)), np.zeros((1, 133)), WIDTH, HEIGHT))
    for name in order_in(number):
        alone = Keypoints(one_of_them(name, number)[None], np.full((1, 133), 0.9), WIDTH, HEIGHT)
        frame["people"] += as_pose_keypoint(alone)[0]["people"]
    return frame


@pytest.mark.parametrize(("choice", "name"), CHOICES[2:5])
def test_one_of_several_people_in_given_keypoints(tmp_path, choice, name):
    keypoints = [given(number) for number in range(COUNT)]
    settings = Settings(smoothing=False, **SMALL, **choice)
    made = prepare.prepare(Stage(COUNT), None, settings, tmp_path, pose_keypoint=keypoints)
    expected = np.array([one_of_them(name, number) for number in range(COUNT)])
    np.testing.assert_allclose(load_file(made.keypoints)["points"], expected, atol=1e-9)
    assert made.report["people"] == 3


class Relay(Crowd):
    """The left one is there in the first half of the video, the right one in the second, nobody in frames 7 and 8."""

    def find(self, frame):
        everybody = super().find(frame)
        number = self.read[-1]
        found = dict(zip(order_in(number), everybody, strict=True))
        return [] if number in (7, 8) else [found["left" if number < 7 else "right"]]


# Of 18 frames at 30 a second: 18 at 60 a second is frame 9, and 5 at 15 a second is frame 10.
@pytest.mark.parametrize(
    ("fps", "frame", "name"), [(60, 13, "left"), (60, 18, "right"), (15, 3, "left"), (15, 5, "right")]
)
def test_the_frame_of_a_point_is_one_of_the_driving_videos(tmp_path, fps, frame, name):
    settings = Settings(fps=fps, person_at=f"{frame},62,30", smoothing=False, max_gap=0, **SMALL)
    made = prepare.prepare(Stage(COUNT), Relay(), settings, tmp_path)
    points = load_file(made.keypoints)["points"]
    x = points[points.any(axis=(1, 2)), 0, 0]
    assert set(x) == {MIDDLES[name]}


def test_a_point_at_which_nobody_can_be_is_an_error(tmp_path):
    rule = "person_at must lie in the video, which has 18 frames of 128x96 (all counted from 0); got "
    for point in ("18,0,0", "0,128,0", "0,0,96"):
        assert refused(Stage(COUNT), Relay(), Settings(person_at=point, **SMALL), tmp_path) == f"{rule}{point}."
    assert not list(tmp_path.iterdir())
    # Frame 15 at 60 a second is frame 7 of the driver.
    for fps, frame, nearest in ((0, 7, 6), (0, 8, 9), (60, 15, 13), (60, 17, 18)):
        settings = Settings(fps=fps, person_at=f"{frame},1,2", **SMALL)
        message = refused(Stage(COUNT), Relay(), settings, tmp_path)
        rule = f"person_at must name a frame in which somebody is found (frame {nearest} is the nearest one)"
        assert message == f"{rule}; got {frame},1,2."
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_a_person_whom_nobody_is_is_an_error_before_any_video(tmp_path):
    message = refused(Stage(COUNT), Crowd(), Settings(person="index", person_index=3, **SMALL), tmp_path)
    assert message.startswith("person_index must be within 0..2: the people in this video, from the left; got 3.")
    assert [path.name for path in tmp_path.iterdir()] == ["found"]
    # What was found serves another choice.
    engine = Crowd()
    prepare.prepare(Stage(COUNT), engine, Settings(person="index", person_index=2, **SMALL), tmp_path)
    assert engine.read == []


# --- given keypoints -------------------------------------------------------------------------------------------------


def test_keypoints_of_another_canvas_are_scaled_to_the_video(tmp_path):
    clip = Keypoints(2 * np.array([body(n) for n in range(9)]), np.full((9, 133), 0.9), 2 * WIDTH, 2 * HEIGHT)
    settings = Settings(smoothing=False, **SMALL)
    made = prepare.prepare(Driver(9), None, settings, tmp_path, pose_keypoint=as_pose_keypoint(clip))
    found = load_file(made.keypoints)["points"]
    np.testing.assert_allclose(found[:, BODY], clip.points[:, BODY] / 2, atol=1e-9)
    face = told(made.face, (100, 256), (410, 256))
    assert [number_of(*values) for values in face] == list(range(9))


def test_what_is_not_finite_in_keypoints_is_missing(tmp_path):
    clip = Keypoints(np.array([body(n) for n in range(12)]), np.full((12, 133), 0.9), WIDTH, HEIGHT)
    damaged = as_pose_keypoint(clip)
    numbers = damaged[2]["people"][0]["pose_keypoints_2d"]
    # The neck of OpenPose is no point of its own: that is the right shoulder, and the nose.
    numbers[6], numbers[0] = float("nan"), float("inf")
    damaged[5]["people"], damaged[6]["people"][0]["face_keypoints_2d"] = [], None
    made = prepare.prepare(Driver(12), None, ANIMATING, tmp_path, pose_keypoint=damaged)
    data = load_file(made.keypoints)
    # Short gaps are filled in, and said to be.
    np.testing.assert_allclose(data["points"][:, BODY], clip.points[:, BODY], atol=1e-6)
    assert np.argwhere(data["filled"][:, BODY])[:2].tolist() == [[2, 0], [2, 6]]
    assert data["filled"][5].all() and data["filled"][6, FACE].all()
    assert not data["filled"][[0, 1, 3, 4, 7, 8, 9, 10, 11]].any()


def test_keypoints_of_nobody(tmp_path):
    nobody = [{"canvas_width": WIDTH, "canvas_height": HEIGHT, "people": []}] * 9
    message = refused(Driver(9), None, ANIMATING, tmp_path, pose_keypoint=nobody)
    assert "0% of 9 frames by the engine keypoints, best score 0.00" in message


# --- what a reference may show ---------------------------------------------------------------------------------------


class Portrait(Reader):
    """Sees a part of a person in the reference, whose colour is one: the points above this one, or the face alone."""

    def __init__(self, shown):
        super().__init__()
        self.shown = shown

    def find(self, frame):
        if frame[0, 0, 0] != 1:
            return super().find(frame)
        scores = np.zeros(133)
        scores[self.shown] = 0.9
        return [Found(standing(tall=160.0, middle=100.0, crown=20.0), scores, None)]


@pytest.mark.parametrize("mode", ["fit", "proportions"])
def test_a_reference_of_head_and_shoulders_stands_at_its_neck(tmp_path, mode):
    settings = Settings(width=128, height=96, retarget=mode, smoothing=False)
    shown = [*range(0, 7), *range(23, 91)]
    made = prepare.prepare(Driver(3), Portrait(shown), settings, tmp_path, reference=torch.ones(1, 96, 128, 3))
    told_of = made.report["retarget"]
    assert (told_of["anchor"], told_of["measured"]) == ("neck", "shoulders")
    assert told_of["scale"] == pytest.approx(2.0, abs=0.05)


def test_a_reference_of_a_face_alone_is_an_error_before_any_video(tmp_path):
    engine = Portrait([0, 1, 2, *range(23, 91)])
    message = refused(Driver(3), engine, ANIMATING, tmp_path, reference=torch.ones(1, 96, 128, 3))
    assert "the reference must show a person, from the shoulders up at least" in message
    assert not list(tmp_path.glob("*.mp4"))
