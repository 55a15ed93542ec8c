"""Euler steps against closed solutions."""

import pytest
import torch

from everanimate_core.everanimate.flow import interpolate, sigma_schedule, velocity, velocity_from_clean
from everanimate_core.everanimate.sampling import euler
from everanimate_core.noise import draw_noise


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 1, 16, 3, 2, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_a_straight_path_ends_at_the_data_in_any_number_of_steps(pair, steps):
    clean, noise = pair
    sigmas = sigma_schedule(steps).double()
    constant = euler(lambda x, sigma: velocity(clean, noise), noise, sigmas)
    torch.testing.assert_close(constant, clean, rtol=0, atol=1e-14)
    pointing = euler(lambda x, sigma: velocity_from_clean(x, clean, sigma), noise, sigmas)
    torch.testing.assert_close(pointing, clean, rtol=0, atol=1e-14)


def test_sampling_may_begin_and_end_between_noise_and_data(pair):
    clean, noise = pair
    sigmas = torch.tensor([0.8, 0.5, 0.3], dtype=torch.float64)
    start = interpolate(clean, noise, 0.8)
    end = euler(lambda x, sigma: velocity_from_clean(x, clean, sigma), start, sigmas)
    torch.testing.assert_close(end, interpolate(clean, noise, 0.3), rtol=0, atol=1e-14)


def test_a_linear_field_multiplies_by_one_factor_a_step(pair):
    x, rate = pair[0], 0.7
    sigmas = sigma_schedule(7).double()
    factor = torch.prod(1 + rate * (sigmas[1:] - sigmas[:-1]))
    result = euler(lambda x, sigma: rate * x, x, sigmas)
    torch.testing.assert_close(result, factor * x, rtol=1e-13, atol=0)


def test_two_steps_by_hand():
    # x: 8 -> 8 + 8 (0.5 - 1) = 4 -> 4 + 4 * 0.5 (0 - 0.5) = 3, with v = x at sigma 1 and x / 2 at sigma 0.5
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    assert euler(lambda x, sigma: x * sigma, torch.tensor([8.0]), sigmas) == torch.tensor([3.0])


def test_velocity_sees_each_level_but_the_last_once_as_a_scalar():
    seen = []
    sigmas = sigma_schedule(4)

    def field(x, sigma):
        assert sigma.shape == ()
        seen.append(sigma)
        return torch.zeros_like(x)

    euler(field, torch.ones(3), sigmas)
    assert torch.equal(torch.stack(seen), sigmas[:-1])


def test_on_step_sees_the_clean_estimate_of_its_step():
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    seen = []
    euler(lambda x, sigma: x * sigma, torch.tensor([8.0]), sigmas, lambda *args: seen.append(args))
    # x - sigma v: 8 - 1 * 8 = 0, then 4 - 0.5 * 2 = 3 (see the two steps by hand)
    assert seen == [(0, 2, torch.tensor([0.0])), (1, 2, torch.tensor([3.0]))]


def test_watching_does_not_change_the_result():
    noise = draw_noise((1, 16, 3, 2, 4), 0)
    sigmas = sigma_schedule(5)
    watched = euler(lambda x, sigma: torch.sin(x), noise, sigmas, lambda *args: None)
    assert torch.equal(watched, euler(lambda x, sigma: torch.sin(x), noise, sigmas))


def test_what_on_step_raises_ends_the_sampling():
    class Cancelled(BaseException):
        """As some hosts raise it: not an Exception."""

    calls = []

    def field(x, sigma):
        calls.append(float(sigma))
        return x

    def cancel(step, steps, clean):
        if step == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        euler(field, torch.ones(3), sigma_schedule(10), cancel)
    assert len(calls) == 3


def test_the_given_state_is_not_modified():
    noise = draw_noise((2, 3), 0)
    before = noise.clone()
    result = euler(lambda x, sigma: x, noise, sigma_schedule(3))
    assert torch.equal(noise, before)
    assert not torch.equal(result, before)
