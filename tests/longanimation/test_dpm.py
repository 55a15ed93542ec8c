"""The sampler: CogVideoX's schedule, and steps against diffusers' scheduler."""

from math import inf

import pytest
import torch
from diffusers import CogVideoXDPMScheduler

from everanimate_core.longanimation.dpm import (
    alpha_bars,
    clean_estimate,
    half_log_snr,
    sample,
    step,
    timesteps,
    trained_alpha_bars,
)


@pytest.fixture
def scheduler():
    return CogVideoXDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        set_alpha_to_one=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )


def test_the_schedule_of_the_training_is_diffusers(scheduler):
    trained = trained_alpha_bars()
    torch.testing.assert_close(trained.float(), scheduler.alphas_cumprod.float(), rtol=2e-4, atol=1e-7)
    assert trained[-1] == 0
    assert (trained.diff() < 0).all()


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 50, 999])
def test_timesteps_are_diffusers(scheduler, steps):
    scheduler.set_timesteps(steps)
    assert timesteps(steps) == scheduler.timesteps.tolist()


def test_fifty_steps():
    assert timesteps(50)[:3] == [999, 979, 959]
    assert timesteps(50)[-1] == 19
    schedule = alpha_bars(50)
    assert (len(schedule), schedule[0], schedule[-1]) == (51, 0.0, 1.0)
    assert sorted(schedule) == schedule


def test_half_log_snr():
    assert half_log_snr(0.5) == 0
    assert half_log_snr(0.0) == -inf
    assert half_log_snr(1.0) == inf
    assert half_log_snr(0.8) == pytest.approx(0.5 * torch.tensor(4.0).log().item())


@pytest.mark.parametrize("steps", [2, 5, 50])
def test_sampling_is_diffusers(scheduler, steps):
    """A network whose v is a function of state and timestep; both draw from generators of one seed."""
    noise = torch.randn(1, 6, 16, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def network(x, timestep):
        return 0.6 * x.roll(1, dims=2) - 0.3 * x * (timestep / 1000) + 0.1

    scheduler.set_timesteps(steps)
    scheduler.alphas_cumprod = trained_alpha_bars()
    generator = torch.Generator().manual_seed(1)
    x, before = noise, None
    for index, timestep in enumerate(scheduler.timesteps):
        back = scheduler.timesteps[index - 1] if index else None
        v = network(x, timestep.item())
        x, before = scheduler.step(v, before, timestep, back, x, generator=generator, return_dict=False)[:2]
    generator = torch.Generator().manual_seed(1)
    schedule, steps_at = alpha_bars(steps), timesteps(steps)
    mine = sample(
        lambda state, index: clean_estimate(state, network(state, steps_at[index]), schedule[index]),
        noise,
        schedule,
        lambda: torch.randn(noise.shape, generator=generator, dtype=torch.float64),
    )
    torch.testing.assert_close(mine, x, rtol=1e-6, atol=1e-7)


def test_a_step_from_pure_noise_forgets_it():
    x, clean, noise = (torch.full((1, 1), value) for value in (5.0, 2.0, 1.0))
    # sqrt(a) z + sqrt(1 - a) eps, with fresh noise.
    assert step(x, clean, None, (0.0, 0.0, 0.36), noise).item() == pytest.approx(0.6 * 2 + 0.8)


def test_after_each_step_the_state_may_be_changed():
    seen = []

    def after(index, x, clean):
        seen.append((index, x.item(), clean.item()))
        return torch.zeros_like(x)

    one = torch.ones(1)
    result = sample(lambda x, index: x + index + 1, one, [0.0, 0.5, 1.0], lambda: one, after)
    assert result == 0
    assert seen[0] == (0, pytest.approx(2 * 0.5**0.5 + 0.5**0.5), 2.0)
    # The second step begins at the zero that `after` left.
    assert seen[1] == (1, 2.0, 2.0)


# --- a given end -----------------------------------------------------------------------------------------------------


def draws(seed, shape=(1, 16, 6, 2, 3)):
    """The noise that a sampling begins with, and a function that draws what follows."""
    generator = torch.Generator().manual_seed(seed)

    def draw():
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return draw(), draw


@pytest.mark.parametrize("count", [1, 4])
def test_the_network_sees_held_latents_as_noisy_as_the_rest(count):
    """sqrt(a) end + sqrt(1 - a) eps; the second part is what a sampling with the same draws has that leads to zero."""
    schedule, end, seen, noises = alpha_bars(20), draws(1)[0][:, :, :count], [], []

    def zero(x, index):
        noises.append(x)
        return torch.zeros_like(x)

    def predict(x, index):
        seen.append(x)
        return torch.sin(x)

    noise, draw = draws(0)
    sample(zero, noise, schedule, draw)
    noise, draw = draws(0)
    result = sample(predict, noise, schedule, draw, end=end)
    assert torch.equal(result[:, :, -count:], end)
    for a, x, eps in zip(schedule, seen, noises, strict=False):
        torch.testing.assert_close(x[:, :, -count:], a**0.5 * end + eps[:, :, -count:], rtol=0, atol=1e-12)
        assert eps.std() == pytest.approx((1 - a) ** 0.5, rel=0.1)


def test_held_latents_leave_alone_what_does_not_look_at_them():
    results = []
    for end in (None, draws(1)[0][:, :, :2]):
        noise, draw = draws(0)
        results.append(sample(lambda x, index: torch.sin(x), noise, alpha_bars(5), draw, end=end))
    free, held = results
    assert torch.equal(held[:, :, :-2], free[:, :, :-2])
    assert not torch.equal(held[:, :, -2:], free[:, :, -2:])


def test_an_end_that_comes_anyway_changes_nothing():
    clean, results = draws(1)[0], []

    def predict(x, index):
        # The last two lead to `clean`, the others to what they see of the last.
        return torch.cat([torch.sin(x[:, :, -1:] + x[:, :, :-2]), clean[:, :, -2:]], dim=2)

    for end in (None, clean[:, :, -2:]):
        noise, draw = draws(0)
        results.append(sample(predict, noise, alpha_bars(5), draw, end=end))
    assert torch.equal(*results)
