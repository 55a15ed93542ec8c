"""The identity measure: what it sees, and what it must not see."""

import pytest
import torch
from scipy.stats import wasserstein_distance

from everanimate_core.evaluation.frame_metrics import to_lab
from everanimate_core.evaluation.identity import from_linear, identity_distance, person_colours, to_linear


def distance(frame, reference, box=None, reference_box=None):
    return identity_distance(frame, person_colours(reference, reference_box), box)


def test_it_is_the_wasserstein_distance_of_the_colours(noise):
    # 64 pixels: every one is a quantile. Equal medians: nothing to align.
    frame, reference = noise(2, height=8, width=8)
    linear, goal = to_linear(frame), to_linear(reference)
    gain = goal.flatten(0, 1).median(0).values / linear.flatten(0, 1).median(0).values
    aligned = from_linear((linear * gain).clamp(0, 1))
    mine, theirs = to_lab(aligned).flatten(0, 1), to_lab(reference).flatten(0, 1)
    each = torch.tensor([wasserstein_distance(mine[:, channel], theirs[:, channel]) for channel in range(3)])
    assert float(distance(frame, reference)) == pytest.approx(float(each.norm()), abs=1e-4)


def test_srgb(noise):
    values = noise(1)
    assert torch.allclose(from_linear(to_linear(values)), values, atol=1e-6)
    assert float(to_linear(torch.tensor(0.5))) == pytest.approx(0.214041, abs=1e-6)
    assert float(to_linear(torch.tensor(0.02))) == pytest.approx(0.02 / 12.92)


def test_nothing_changed(noise):
    picture = noise(1)[0]
    assert distance(picture, picture) == 0
    assert distance(picture, picture, (3, 4, 20, 30), (3, 4, 20, 30)) == 0


def test_a_cast_is_taken_out_and_a_place_does_not_count(noise):
    picture = 0.1 + 0.6 * noise(1)[0]
    tinted = from_linear(to_linear(picture) * torch.tensor([1.3, 1.0, 0.8]))
    assert distance(tinted, picture) < 0.02
    assert distance(picture.flip(0, 1), picture) < 1e-5


def test_sizes_may_differ(noise):
    picture = noise(1)[0]
    assert distance(picture.repeat(2, 2, 1), picture) == 0


def test_other_colours_count_inside_the_box_alone(noise):
    # Grey around the person: its median stays.
    picture = torch.full((40, 56, 3), 0.5)
    picture[10:30, 10:20] = noise(1)[0, 10:30, 10:20]
    other = picture.clone()
    other[10:30, 10:20] = 1 - picture[10:30, 10:20]
    box, elsewhere = (10, 10, 20, 30), (30, 10, 50, 30)
    assert distance(other, picture, box, box) > 5 * distance(other, picture) > 0.5
    assert distance(other, picture, elsewhere, elsewhere) == 0


def test_a_black_picture_has_a_distance(noise):
    assert distance(torch.zeros(8, 8, 3), noise(1)[0]).isfinite()
