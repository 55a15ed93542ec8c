"""The sampler: DPM-Solver++ (2M) as a stochastic differential equation, for networks that predict v of a
variance-preserving process.

    x = sqrt(a) z + sqrt(1 - a) eps      v = sqrt(a) eps - sqrt(1 - a) z      z = sqrt(a) x - sqrt(1 - a) v

a (alpha bar) runs from 0 (noise) to 1 (data). lambda = log(a / (1 - a)) / 2 is half the log of the signal-to-noise
ratio.
"""

from collections.abc import Callable, Sequence
from math import exp, expm1, inf, log, sqrt

import torch
from torch import Tensor

from ..latents import with_end

# CogVideoX: betas whose roots are evenly spaced, brought to a signal-to-noise ratio of zero at the end.
TRAIN_STEPS, FIRST_BETA, LAST_BETA = 1000, 0.00085, 0.012

# predict(x, step) -> the clean estimate z of the state x before that step.
Predict = Callable[[Tensor, int], Tensor]


def trained_alpha_bars() -> Tensor:
    """a of the 1000 timesteps of the training, float64 [1000], falling from nearly 1 to exactly 0."""
    roots = torch.linspace(sqrt(FIRST_BETA), sqrt(LAST_BETA), TRAIN_STEPS, dtype=torch.float64)
    signal = (1 - roots.square()).cumprod(0).sqrt()
    # Zero terminal SNR (arXiv 2305.08891, Algorithm 1): the last becomes 0, the first stays.
    first, last = signal[0].clone(), signal[-1].clone()
    return ((signal - last) * first / (first - last)).square()


def timesteps(steps: int) -> list[int]:
    """The timesteps of so many sampling steps, "trailing": 999, 979, ..., 19 for 50."""
    return [round(TRAIN_STEPS - index * TRAIN_STEPS / steps) - 1 for index in range(steps)]


def alpha_bars(steps: int) -> list[float]:
    """a before each step, and 1 behind the last: [steps + 1] numbers."""
    trained = trained_alpha_bars()
    return [*(float(trained[timestep]) for timestep in timesteps(steps)), 1.0]


def clean_estimate(x: Tensor, v: Tensor, a: float) -> Tensor:
    """z from the state and the network's answer."""
    return sqrt(a) * x - sqrt(1 - a) * v


def half_log_snr(a: float) -> float:
    """lambda, -inf for noise and inf for data."""
    if a <= 0:
        return -inf
    return inf if a >= 1 else (log(a) - log(1 - a)) / 2


def step(x: Tensor, clean: Tensor, before: Tensor | None, schedule: Sequence[float], noise: Tensor) -> Tensor:
    """The state after a step. clean, before: z of this step and of the one before, None in the first.

    schedule: a before the step before this one (any number in the first), before this one, and after it. noise: like x.
    """
    a_back, a, a_next = schedule
    h = half_log_snr(a_next) - half_log_snr(a)
    if before is not None:
        # Twice the ratio of both steps; infinite where the step before began at pure noise: first order.
        ratio = 2 * (half_log_snr(a) - half_log_snr(a_back)) / h
        clean = (1 + 1 / ratio) * clean - (1 / ratio) * before
    decay = sqrt((1 - a_next) / (1 - a)) * exp(-h)
    spread = sqrt(1 - a_next) * sqrt(1 - exp(-2 * h))
    return decay * x - expm1(-2 * h) * sqrt(a_next) * clean + spread * noise


def draw_noise(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Noise [B, C, T, h, w], float32 on the CPU, in the order of the authors' script: time before channels."""
    batch, channels, frames, *cells = shape
    return torch.randn(batch, frames, channels, *cells, generator=generator).transpose(1, 2)


def sample(
    predict: Predict,
    noise: Tensor,
    schedule: Sequence[float],
    draw: Callable[[], Tensor],
    after_step: Callable[[int, Tensor, Tensor], Tensor] = lambda index, x, clean: x,
    end: Tensor | None = None,
) -> Tensor:
    """From noise [B, 16, T, h, w] along a schedule of a, which ends at 1; the final state.

    draw: noise like the state, for the steps. after_step(index, x, clean): what becomes of the state after a step.
    end: [B, 16, n, h, w], latents that the last step leaves in the last places, bit for bit. There the clean estimate
    is `end` at every step, so the state is sqrt(a) end + sqrt(1 - a) eps and the network sees it as noisy as the rest.
    None: it ends as it will.
    """
    x, before, steps = noise, None, len(schedule) - 1
    for index in range(steps):
        clean = predict(x, index)
        if end is not None:
            clean = with_end(clean, end)
        fresh = draw()
        if index == steps - 1:
            x = clean
        elif before is None:
            x = step(x, clean, None, (0.0, *schedule[:2]), fresh)
        else:
            # The authors draw twice in such a step and use the second; seeds mean nothing otherwise.
            x = step(x, clean, before, schedule[index - 1 : index + 2], draw())
        before = clean
        x = after_step(index, x, clean)
    return x
