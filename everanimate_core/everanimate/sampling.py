"""Sampling: integrate a velocity field from noise to data with Euler steps."""

from torch import Tensor

from ..latents import with_end
from ..ports import StepCallback, Velocity
from .flow import clean_estimate, velocity_from_clean


def held(network: Velocity, end: Tensor) -> Velocity:
    """The velocity `network`, but for the last latents, which go straight to `end` [1, 16, n, h, w].

    There the clean estimate is `end` at every step. From pure noise they follow the straight path
    x(s) = (1 - s) end + s noise (arXiv 2605.15042, Eq. 4), so the network sees them as noisy as all others.
    """

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        last = x[:, :, x.shape[2] - end.shape[2] :]
        return with_end(network(x, sigma), velocity_from_clean(last, end.to(x), sigma))

    return velocity


def euler(
    velocity: Velocity, x: Tensor, sigmas: Tensor, on_step: StepCallback | None = None, end: Tensor | None = None
) -> Tensor:
    """Follow dx = v dsigma from sigmas[0] to sigmas[-1].

    velocity(x, sigma) -> v of x's shape, called once a step with sigma as a scalar tensor. x: the state at sigmas[0],
    usually [1, 16, N + T, h, w] of pure noise. sigmas: [steps + 1], falling. on_step(step, steps, clean) is called
    after each step with the clean estimate that the step saw; what it raises ends the sampling (this is how runs are
    cancelled). end: [1, 16, n, h, w], latents that the result has in its last places, bit for bit; sigmas then fall to
    0. None: it ends as it will. Returns the state at sigmas[-1].
    """
    if end is not None:
        velocity = held(velocity, end)
    steps = len(sigmas) - 1
    for step in range(steps):
        v = velocity(x, sigmas[step])
        moved = x + v * (sigmas[step + 1] - sigmas[step])
        if on_step:
            on_step(step, steps, clean_estimate(x, v, sigmas[step]))
        x = moved
    # The last step leaves them the last bits of rounding away.
    return x if end is None else with_end(x, end)
