import pytest
import torch

from everanimate_core.training.augmentation import Affine, augment, draw_affine


def pictures(height=8, width=12):
    return torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(0))


def test_draws_fill_their_ranges():
    generator = torch.Generator().manual_seed(0)
    draws = [draw_affine(generator) for _ in range(2000)]
    for values, low, high in (
        ([affine.scale for affine in draws], 0.8, 1.2),
        ([affine.x for affine in draws], -0.1, 0.1),
        ([affine.y for affine in draws], -0.1, 0.1),
    ):
        assert low <= min(values) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < max(values) <= high
        assert sum(values) / 2000 == pytest.approx((low + high) / 2, abs=0.02 * (high - low) + 1e-3)


def test_the_neutral_affine_changes_nothing():
    assert torch.allclose(augment(Affine(1, 0, 0), pictures()), pictures(), atol=1e-6)


def test_a_shift_of_the_grid_to_the_right_moves_the_picture_left_and_shows_grey():
    # 2 / 12 is one pixel of 12, 4 / 8 two of 8.
    moved = augment(Affine(1, 2 / 12, 4 / 8), pictures())
    expected = torch.full_like(moved, 0.5)
    expected[:, :6, :11] = pictures()[:, 2:, 1:]
    assert torch.allclose(moved, expected, atol=1e-5)


def test_a_grid_twice_as_wide_shows_the_picture_half_as_large():
    small = augment(Affine(2, 0, 0), pictures())
    expected = torch.full_like(small, 0.5)
    expected[:, 2:6, 3:9] = pictures().unflatten(2, (6, 2)).unflatten(1, (4, 2)).mean(dim=(2, 4))
    assert torch.allclose(small, expected, atol=1e-5)


def test_all_frames_get_the_same():
    frames = pictures()[:1].expand(3, -1, -1, -1)
    result = augment(Affine(0.9, 0.03, -0.02), frames)
    assert torch.equal(result[0], result[1]) and torch.equal(result[0], result[2])
    assert result.shape == frames.shape
