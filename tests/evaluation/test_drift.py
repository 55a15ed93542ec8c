"""What curves tell, on curves drawn by hand."""

import numpy as np
import pytest
import torch

from everanimate_core.evaluation.drift import LASTING, STILL, departure, flashes, running_median, seam_index, slope


def test_slope_is_polyfits():
    curve = np.random.default_rng(0).normal(size=250).cumsum()
    assert slope(curve.tolist()) == pytest.approx(100 * np.polyfit(range(250), curve, 1)[0], abs=1e-6)
    assert slope([2.0, 2.5, 3.0]) == pytest.approx(50)


def test_slope_leaves_out_what_is_not_finite():
    assert slope([float("inf"), 1.0, float("nan"), 3.0]) == pytest.approx(100)
    assert np.isnan(slope([float("inf"), 1.0]))


def test_running_median():
    curve = torch.tensor([5.0, 1, 2, 9, 4, 3])
    assert running_median(curve, 3).tolist() == [5, 2, 2, 4, 4, 3]


@pytest.mark.parametrize("frame", [1, 40, 100 - LASTING])
def test_a_step_departs_where_it_is(frame):
    curve = torch.zeros(100)
    curve[frame:] = 3
    assert departure(curve, 2.0) == frame
    assert departure(curve, 3.0) is None


def test_a_ramp_departs_where_it_crosses():
    assert departure(torch.arange(100) / 10, 4.95) == 50


def test_what_comes_back_or_is_short_is_no_departure():
    curve = torch.zeros(100)
    curve[50] = curve[20:24] = 9
    assert departure(curve, 1.0) is None
    curve[50:80] = 9
    assert departure(curve, 1.0) is None
    late = torch.zeros(100)
    late[101 - LASTING :] = 9
    assert departure(late, 1.0) is None
    assert departure(torch.full((LASTING,), 9.0), 1.0) == 0


def test_single_frames_do_not_hide_a_departure():
    curve = torch.zeros(100)
    curve[30:] = 5
    curve[60] = 0
    assert departure(curve, 1.0) == 30


def test_flashes():
    colours = torch.zeros(50, 3)
    colours[:, 0] = torch.linspace(0, 20, 50)
    colours[30:] += 8
    assert flashes(colours) == []
    colours[10, 0] += 3.1
    colours[40, 2] -= 3.1
    colours[20, 1] += 2.9
    assert flashes(colours) == [10, 40]


def test_two_frames_are_no_flash():
    colours = torch.zeros(50, 3)
    colours[10:12] = 9
    assert flashes(colours) == []


def test_a_change_that_mostly_stays_is_no_flash():
    colours = torch.zeros(50, 3)
    colours[10], colours[11:] = 10, 6
    assert flashes(colours) == []
    colours[11:] = 3
    assert flashes(colours) == [10]


@pytest.mark.parametrize("count", [1, 2])
def test_a_short_video_has_no_flash(count):
    assert flashes(torch.rand(count, 3)) == []


def test_seam_index():
    steps = torch.full((200,), 0.02)
    steps[0] = 0
    assert seam_index(steps, 77) == 1
    steps[77] = 0.06
    assert seam_index(steps, 77) == pytest.approx((0.06 + STILL) / (0.02 + STILL))
    # What is usual, is so near the join.
    steps[:40] = steps[114:] = 1
    assert seam_index(steps, 77) == pytest.approx((0.06 + STILL) / (0.02 + STILL))
    assert seam_index(steps, 150) == pytest.approx(1)


def test_the_seam_of_a_still_video():
    assert seam_index(torch.zeros(100), 50) == 1
    assert seam_index(torch.zeros(2), 1) == 1
