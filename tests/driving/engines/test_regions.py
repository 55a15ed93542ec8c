"""Turned squares: by hand, and there and back."""

import numpy as np
import pytest

from everanimate_core.driving.engines.regions import Region, upright

RIGHT_ANGLE = np.pi / 2


def close(region, x, y, side, angle):
    return (region.x, region.y, region.side, region.angle) == pytest.approx((x, y, side, angle))


@pytest.mark.parametrize("high, angle", [((5, 1), 0), ((9, 5), RIGHT_ANGLE), ((1, 5), -RIGHT_ANGLE)])
def test_upright(high, angle):
    assert upright(np.array([5, 5]), np.array(high)) == pytest.approx(angle)


def test_about_a_centre_and_the_middle_of_its_upper_edge():
    assert close(Region.about(np.array([10.0, 20.0]), np.array([13.0, 16.0])), 10, 20, 10, np.arctan2(3, 4))


def test_around_points_of_a_turned_square():
    corners = np.array([[0.0, 3.0], [3.0, 0.0], [5.0, 2.0], [2.0, 5.0]])  # 3 x 2, times the root of 2
    assert close(Region.around(corners, np.pi / 4), 2.5, 2.5, 3 * np.sqrt(2), np.pi / 4)
    assert close(Region.around(corners, 0), 2.5, 2.5, 5, 0)


def test_raised_goes_up_as_the_region_is_turned():
    assert close(Region(10, 20, 8, 0).raised(0.25), 10, 18, 8, 0)
    assert close(Region(10, 20, 8, RIGHT_ANGLE).raised(0.25), 12, 20, 8, RIGHT_ANGLE)


def test_scaled_about_its_centre():
    assert close(Region(10, 20, 8, 1).scaled(1.5), 10, 20, 12, 1)


def test_near_is_measured_in_the_larger_side():
    one = Region(0, 0, 10, 0)
    assert one.near(Region(1.5, 0, 1, 0))
    assert not one.near(Region(1.6, 0, 1, 0))
    assert one.near(Region(1.6, 0, 12, 0))


def test_a_region_that_is_the_frame_changes_nothing():
    frame = np.random.default_rng(0).random((8, 8, 3), np.float32)
    region = Region(3.5, 3.5, 8, 0)
    np.testing.assert_array_equal(region.crop(frame, 8), frame)
    np.testing.assert_array_equal(region.paste(frame[..., 0], 8, 8, -1), frame[..., 0])


def test_a_quarter_turn():
    frame = np.random.default_rng(0).random((8, 8, 3), np.float32)
    # Turned clockwise by a quarter: up is where right was.
    crop = Region(3.5, 3.5, 8, RIGHT_ANGLE).crop(frame, 8)
    np.testing.assert_allclose(crop, np.rot90(frame), atol=1e-3)


@pytest.mark.parametrize("times", [2, 3])
def test_a_smaller_crop_is_the_mean_of_its_pixels(times):
    frame = np.random.default_rng(0).random((12, 12, 3), np.float32)
    crop = Region(5.5, 5.5, 12, 0).crop(frame, 12 // times)
    blocks = frame.reshape(12 // times, times, 12 // times, times, 3)
    np.testing.assert_allclose(crop, blocks.mean(axis=(1, 3)), atol=1e-6)


def test_points_go_back_to_where_the_crop_shows_them():
    frame = np.zeros((60, 80, 3), np.float32)
    frame[20:23, 50:53] = 1  # its middle is 51, 21
    region = Region(40, 30, 50, 0.4)
    crop = region.crop(frame, 500)[..., 0]
    y, x = np.mgrid[:500, :500] + 0.5
    middle = np.array([(x * crop).sum(), (y * crop).sum()]) / crop.sum() / 500
    assert region.to_frame(middle[None])[0] == pytest.approx([51, 21], abs=0.01)


def test_what_is_pasted_lies_where_it_was_seen():
    frame = np.zeros((60, 80, 3), np.float32)
    frame[20:30, 40:50] = 1
    region = Region(40, 30, 50, 0.4)
    pasted = region.paste(region.crop(frame, 250)[..., 0], 80, 60, -1)
    np.testing.assert_array_equal(pasted > 0.5, frame[..., 0] > 0.5)
    # The corners of the frame lie outside the square.
    assert pasted[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [-1] * 4
