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


# --- a given end -----------------------------------------------------------------------------------------------------


def test_an_end_is_held_by_hand():
    """Two latents, of which the last is held to 2: from 4 at sigma 1 over 3 at sigma 0.5. Both have the last one's v.

    The first: 8 -> 8 + 4 (0.5 - 1) = 6 -> 6 + 3 (0 - 0.5) = 4.5.
    """
    x, end = torch.tensor([8.0, 4.0]).view(1, 1, 2, 1, 1), torch.tensor(2.0).view(1, 1, 1, 1, 1)
    result = euler(lambda x, sigma: x[:, :, [1, 1]], x, torch.tensor([1.0, 0.5, 0.0]), end=end)
    assert result.flatten().tolist() == [4.5, 2.0]


@pytest.mark.parametrize("count", [1, 2])
def test_the_network_sees_held_latents_as_noisy_as_the_rest(count):
    noise, end = draw_noise((1, 16, 3, 2, 4), 0), draw_noise((1, 16, count, 2, 4), 1)
    sigmas, levels = sigma_schedule(20), []

    def field(x, sigma):
        expected = interpolate(end, noise[:, :, -count:], sigma)
        torch.testing.assert_close(x[:, :, -count:], expected, rtol=0, atol=2e-6)
        levels.append(sigma)
        return torch.sin(x)

    def on_step(step, steps, clean):
        torch.testing.assert_close(clean[:, :, -count:], end, rtol=0, atol=2e-6)

    assert torch.equal(euler(field, noise, sigmas, on_step, end)[:, :, -count:], end)
    assert torch.equal(torch.stack(levels), sigmas[:-1])


def test_held_latents_leave_alone_what_does_not_look_at_them():
    noise, end = draw_noise((1, 16, 3, 2, 4), 0), draw_noise((1, 16, 1, 2, 4), 1)
    sigmas = sigma_schedule(5)
    free = euler(lambda x, sigma: torch.sin(x), noise, sigmas)
    result = euler(lambda x, sigma: torch.sin(x), noise, sigmas, end=end)
    assert torch.equal(result[:, :, :-1], free[:, :, :-1])
    # A field that looks at all latents feels it.
    mixed = [euler(lambda x, sigma: x.mean(dim=2, keepdim=True) - x, noise, sigmas, end=given) for given in (None, end)]
    assert (mixed[0] - mixed[1])[:, :, :-1].abs().min() > 0


def test_an_end_that_comes_anyway_changes_nothing(pair):
    """The field leads the last latent to `clean` by itself, and the others by what they see of it."""
    clean, noise = pair
    sigmas = sigma_schedule(5).double()

    def field(x, sigma):
        v = x[:, :, -1:] - x
        return torch.cat([v[:, :, :-1], velocity_from_clean(x, clean, sigma)[:, :, -1:]], dim=2)

    free = euler(field, noise, sigmas)
    result = euler(field, noise, sigmas, end=free[:, :, -1:])
    torch.testing.assert_close(result, free, rtol=0, atol=1e-14)


def test_an_end_without_latents_holds_none():
    noise, sigmas = draw_noise((1, 16, 3, 2, 4), 0), sigma_schedule(3)
    free = euler(lambda x, sigma: torch.sin(x), noise, sigmas)
    assert torch.equal(euler(lambda x, sigma: torch.sin(x), noise, sigmas, end=noise[:, :, :0]), free)
