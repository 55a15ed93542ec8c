"""The noise schedule, the straight path and its sign."""

import re
from fractions import Fraction

import pytest
import torch
from refusals import refusal

from everanimate_core.everanimate.flow import (
    check_sigmas,
    clean_estimate,
    interpolate,
    shifted,
    sigma_schedule,
    velocity,
    velocity_from_clean,
)


@pytest.fixture
def path():
    """A clean sample, its noise and one noise level per sample, in double precision."""
    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    sigma = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64).view(3, 1, 1)
    return clean, noise, sigma


def test_four_steps_by_hand():
    # u = 1, 3/4, 2/4, 1/4 and 5u / (1 + 4u)
    expected = torch.tensor([1, 15 / 16, 5 / 6, 5 / 8, 0])
    torch.testing.assert_close(sigma_schedule(4), expected, rtol=0, atol=1e-7)
    assert torch.equal(sigma_schedule(4, shift=1.0), torch.tensor([1, 0.75, 0.5, 0.25, 0]))


def test_official_schedule_bit_for_bit():
    # The authors' arithmetic: a float32 ramp of 21, its end cut off, shifted in float32.
    ramp = torch.linspace(1.0, 0.0, 21, dtype=torch.float32)[:-1]
    official = 5 * ramp / (1 + 4 * ramp)
    sigmas = sigma_schedule(20, 5)
    assert sigmas.dtype == torch.float32
    assert torch.equal(sigmas[:-1], official)
    assert sigmas[0] == 1
    assert sigmas[-1] == 0


def test_official_schedule_against_exact_fractions():
    exact = [5 * u / (1 + 4 * u) for u in (Fraction(20 - i, 20) for i in range(21))]
    expected = torch.tensor([float(value) for value in exact], dtype=torch.float64)
    torch.testing.assert_close(sigma_schedule(20, 5).double(), expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("shift", [0.5, 1.0, 5.0, 8.0])
def test_levels_fall_from_one_to_zero(steps, shift):
    sigmas = sigma_schedule(steps, shift)
    assert sigmas.shape == (steps + 1,)
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "settings",
    [(20, NAN), (20, INFINITY), (20, -INFINITY), (20, 0.0), (20, -1.0), (20, 5.0, NAN), (20, 5.0, 0.0), (20, 5.0, 1.5),
     (NAN,), (0,), (-3,), (2.5,)],
)  # fmt: skip
def test_settings_that_make_no_schedule(settings):
    assert re.match(r"(steps|shift|denoise) must ", refusal(sigma_schedule, *settings))


@pytest.mark.parametrize("shift", [1e9, 1e38, 1e-38, 5e-324])
def test_a_shift_beyond_what_float32_tells_apart(shift):
    rule = "shift must leave noise levels that float32 can tell apart (5.0)"
    assert refusal(sigma_schedule, 1000, shift) == f"{rule}; got {shift}."


RULE = "sigmas must fall from step to step, from at most 1 to exactly 0 (1.0, 0.9375, 0.8333, 0.625, 0.0); got "
BAD_SIGMAS = {
    "empty": ([], "values of shape [0], which make no step."),
    "one value": ([0.0], "values of shape [1], which make no step."),
    "rising": ([0.0, 0.5, 1.0], "0 followed by 0.5 in step 0."),
    "rising at one place": ([1.0, 0.5, 0.75, 0.0], "0.5 followed by 0.75 in step 1."),
    "repeated": ([1.0, 0.5, 0.5, 0.0], "0.5 followed by 0.5 in step 1."),
    "zero twice": ([1.0, 0.0, 0.0], "0 followed by 0 in step 1."),
    "negative": ([1.0, 0.5, -0.5], "-0.5 at last."),
    "all negative": ([-0.5, -1.0], "-1 at last."),
    "not a number": ([1.0, NAN, 0.0], "1 followed by nan in step 0."),
    "ends in nothing": ([1.0, NAN], "1 followed by nan in step 0."),
    "infinite": ([INFINITY, 1.0, 0.0], "inf followed by 1 in step 0."),
    "minus infinity": ([1.0, -INFINITY], "1 followed by -inf in step 0."),
    "cut in two": ([1.0, 0.9375, 0.625], "0.625 at last."),
    "of another kind of model": ([14.6, 3.0, 0.0], "14.6 at first, the noise level of another kind of model."),
    "a batch": ([[1.0, 0.0]], "values of shape [1, 2], which make no step."),
}


@pytest.mark.parametrize("kind", BAD_SIGMAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_noise_levels_that_cannot_be_sampled_with(kind, dtype):
    values, got = BAD_SIGMAS[kind]
    got = got.replace("14.6", f"{float(torch.tensor(14.6, dtype=dtype)):g}")
    assert refusal(check_sigmas, torch.tensor(values, dtype=dtype)) == RULE + got


@pytest.mark.parametrize("values", [[1.0, 0.0], [0.3, 0.0], [1.0000001, 0.5, 1e-9, 0.0], [1.0, 0.5, -0.0]])
def test_noise_levels_that_can(values):
    check_sigmas(torch.tensor(values))


def test_shift_by_hand():
    levels = torch.tensor([0.0, 0.2, 0.5, 1.0])
    torch.testing.assert_close(shifted(levels, 5.0), torch.tensor([0, 5 / 9, 5 / 6, 1]), rtol=0, atol=1e-7)
    assert torch.equal(shifted(levels, 1.0), levels)


@pytest.mark.parametrize(
    ("steps", "denoise", "whole"), [(20, 0.5, 40), (10, 0.25, 40), (4, 0.8, 5), (20, 1.0, 20), (3, 0.52, 5)]
)
def test_denoise_keeps_the_end_of_the_longer_schedule(steps, denoise, whole):
    sigmas = sigma_schedule(steps, 5.0, denoise)
    assert sigmas.shape == (steps + 1,)
    assert torch.equal(sigmas, sigma_schedule(whole, 5.0)[-(steps + 1) :])


def test_schedule_errors():
    assert refusal(sigma_schedule, 0) == "steps must be at least 1 (20); got 0."
    assert refusal(sigma_schedule, 20, 0.0) == "shift must be above 0 and finite (5.0); got 0.0."
    assert refusal(sigma_schedule, 20, -1.0) == "shift must be above 0 and finite (5.0); got -1.0."
    for denoise in (0.0, -0.5, 1.01):
        expected = f"denoise must lie above 0 and up to 1 (1.0); got {denoise}."
        assert refusal(sigma_schedule, 20, 5.0, denoise) == expected


def test_path_by_hand():
    clean, noise = torch.tensor([2.0, -1.0]), torch.tensor([4.0, 3.0])
    x, v = interpolate(clean, noise, 0.25), velocity(clean, noise)
    assert torch.equal(x, torch.tensor([2.5, 0.0]))
    assert torch.equal(v, torch.tensor([2.0, 4.0]))
    assert torch.equal(clean_estimate(x, v, 0.25), clean)
    assert torch.equal(velocity_from_clean(x, clean, 0.25), v)


def test_path_runs_from_noise_to_data(path):
    clean, noise, _ = path
    assert torch.equal(interpolate(clean, noise, 1.0), noise)
    assert torch.equal(interpolate(clean, noise, 0.0), clean)


def test_velocity_is_the_slope_of_the_path(path):
    clean, noise, sigma = path
    sigma.requires_grad_()
    slope = torch.autograd.functional.jvp(lambda s: interpolate(clean, noise, s), sigma, torch.ones_like(sigma))[1]
    torch.testing.assert_close(slope, velocity(clean, noise), rtol=0, atol=1e-15)


def test_velocity_and_clean_estimate_undo_each_other(path):
    clean, noise, sigma = path
    x, v = interpolate(clean, noise, sigma), velocity(clean, noise)
    torch.testing.assert_close(clean_estimate(x, v, sigma), clean)
    torch.testing.assert_close(velocity_from_clean(x, clean, sigma), v)
    # Also off the path, where v is whatever the network says.
    guess = torch.randn(v.shape, generator=torch.Generator().manual_seed(2), dtype=v.dtype)
    torch.testing.assert_close(velocity_from_clean(x, clean_estimate(x, guess, sigma), sigma), guess)


def test_paper_convention_is_the_same_path_backwards(path):
    # Paper: t = 1 - sigma, z_t = (1 - t) eps + t z1, v = z1 - eps, and z1 = z_t + (1 - t) v.
    clean, noise, sigma = path
    t = 1 - sigma
    z_t, v_paper = (1 - t) * noise + t * clean, clean - noise
    torch.testing.assert_close(interpolate(clean, noise, sigma), z_t)
    assert torch.equal(velocity(clean, noise), -v_paper)
    torch.testing.assert_close(clean_estimate(z_t, -v_paper, sigma), z_t + (1 - t) * v_paper)
