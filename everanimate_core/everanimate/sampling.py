"""Sampling: integrate a velocity field from noise to data with Euler steps."""

from torch import Tensor

from ..ports import StepCallback, Velocity
from .flow import clean_estimate


def euler(velocity: Velocity, x: Tensor, sigmas: Tensor, on_step: StepCallback | None = None) -> Tensor:
    """Follow dx = v dsigma from sigmas[0] to sigmas[-1].

    velocity(x, sigma) -> v of x's shape, called once a step with sigma as a scalar tensor. x: the state at sigmas[0],
    usually [1, 16, N + T, h, w] of pure noise. sigmas: [steps + 1], falling. on_step(step, steps, clean) is called
    after each step with the clean estimate that the step saw; what it raises ends the sampling (this is how runs are
    cancelled). Returns the state at sigmas[-1].
    """
    steps = len(sigmas) - 1
    for step in range(steps):
        v = velocity(x, sigmas[step])
        moved = x + v * (sigmas[step + 1] - sigmas[step])
        if on_step:
            on_step(step, steps, clean_estimate(x, v, sigmas[step]))
        x = moved
    return x
