"""Boxes and crops: by hand, and there and back."""

import numpy as np
import pytest

from everanimate_core.driving.engines.boxes import Crop, separate


def test_a_tall_box_becomes_125_times_as_high_and_three_quarters_as_wide():
    crop = Crop.of(np.array([100.0, 50.0, 140.0, 210.0]), 192, 256)
    # 160 high, times 1.25 is 200; 150 wide; about (120, 130).
    assert (crop.left, crop.top, crop.step) == pytest.approx((45, 30, 200 / 256))


def test_a_wide_box_keeps_its_width():
    crop = Crop.of(np.array([0.0, 0.0, 120.0, 40.0]), 288, 384)
    # 120 wide, times 1.25 is 150; 200 high; about (60, 20).
    assert (crop.left, crop.top, crop.step) == pytest.approx((-15, -80, 150 / 288))


def test_points_go_back_to_where_the_crop_shows_them():
    frame = np.zeros((120, 160, 3), np.float32)
    frame[70, 90] = 1
    crop = Crop(left=58, top=30, step=0.5, width=96, height=128)
    y, x = np.argwhere(crop.picture(frame)[..., 0] == 1)[0]
    assert (x, y) == (64, 80)
    assert crop.to_frame(np.array([[x, y]])).tolist() == [[90, 70]]


def test_a_crop_is_black_beyond_the_frame():
    picture = Crop(left=-4, top=-2, step=1, width=12, height=8).picture(np.ones((3, 5, 3), np.float32))
    assert picture[2:5, 4:9].min() == 1
    assert picture.sum() == 3 * 5 * 3


def test_of_boxes_that_overlap_too_much_the_surest_stays():
    # The second has half of the first, 1/3 of both together; the third 2/3 of the first, half of both.
    boxes = np.array([[0.0, 0, 12, 10], [6, 0, 18, 10], [4, 0, 12, 10], [50, 0, 60, 10]])
    scores = np.array([0.9, 0.8, 0.7, 0.95])
    assert separate(boxes, scores, 0.5).tolist() == [3, 0, 1]
    assert separate(boxes, scores, 0.3).tolist() == [3, 0]
    assert separate(boxes, scores, 0.7).tolist() == [3, 0, 1, 2]


def test_no_boxes():
    assert separate(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
