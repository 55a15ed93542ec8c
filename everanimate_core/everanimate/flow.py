"""Flow matching in the sigma convention: sigma runs from 1 (noise) to 0 (data).

    x = (1 - sigma) z + sigma eps        v = eps - z        z = x - sigma v

The paper (arXiv 2605.15042, Eq. 4-5) runs t = 1 - sigma from noise to data with v = z - eps, minus ours.
"""

from itertools import pairwise
from math import inf

import torch
from torch import Tensor

from ..errors import InputError
from .settings import RELEASED


def shifted(u: Tensor, shift: float) -> Tensor:
    """Shift uniform noise levels u in 0..1 towards noise: s u / (1 + (s - 1) u)."""
    return shift * u / (1 + (shift - 1) * u)


def sigma_schedule(steps: int, shift: float = RELEASED.shift, denoise: float = 1.0) -> Tensor:
    """Noise levels of `steps` Euler steps, float32 [steps + 1], falling, the last exactly 0.

    denoise in (0, 1] keeps the last `steps` of a schedule of steps / denoise, so that sampling starts from a lower
    noise level (1 starts from pure noise, sigma = 1).
    """
    if not isinstance(steps, int) or steps < 1:
        raise InputError("steps", "must be at least 1", "20", steps)
    # Written so that they catch NaN, which is neither above nor below anything.
    if not 0 < shift < inf:
        raise InputError("shift", "must be above 0 and finite", "5.0", shift)
    if not 0 < denoise <= 1:
        raise InputError("denoise", "must lie above 0 and up to 1", "1.0", denoise)
    levels = torch.linspace(1, 0, int(steps / denoise) + 1)[:-1]
    sigmas = torch.cat([shifted(levels, shift), torch.zeros(1)])[-(steps + 1) :]
    try:
        check_sigmas(sigmas)
    except InputError as error:
        raise InputError("shift", "must leave noise levels that float32 can tell apart", "5.0", shift) from error
    return sigmas


def check_sigmas(sigmas: Tensor) -> None:
    """Raise InputError unless these are noise levels that a chunk can be sampled with.

    They are one list of at least two finite values, from at most 1 (noise) falling to exactly 0 (data).
    """

    def refuse(got: str) -> InputError:
        rule = "must fall from step to step, from at most 1 to exactly 0"
        return InputError("sigmas", rule, "1.0, 0.9375, 0.8333, 0.625, 0.0", got)

    if sigmas.ndim != 1 or len(sigmas) < 2:
        raise refuse(f"values of shape {list(sigmas.shape)}, which make no step")
    levels = sigmas.tolist()
    for step, (level, following) in enumerate(pairwise(levels)):
        # NaN and infinity fail it, too.
        if not inf > level > following > -inf:
            raise refuse(f"{level:g} followed by {following:g} in step {step}")
    # Other programs round: 1.0000001 is noise, 14.6 is another model's.
    if levels[0] > 1.001:
        raise refuse(f"{levels[0]:g} at first, the noise level of another kind of model")
    if levels[-1] != 0:
        raise refuse(f"{levels[-1]:g} at last")


def interpolate(clean: Tensor, noise: Tensor, sigma: float | Tensor) -> Tensor:
    """The state x = (1 - sigma) clean + sigma noise; all of one shape, sigma broadcastable."""
    return (1 - sigma) * clean + sigma * noise  # Eq. 4


def velocity(clean: Tensor, noise: Tensor) -> Tensor:
    """The velocity v = noise - clean of the straight path between the two."""
    return noise - clean


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """The flow-matching objective of each sample: [B, ...] twice -> [B], mean squared distance of two velocities."""
    return (prediction.float() - target.float()).square().flatten(1).mean(dim=1)  # Eq. 5


def clean_estimate(x: Tensor, v: Tensor, sigma: float | Tensor) -> Tensor:
    """The clean latents that velocity v at x points to: x - sigma v."""
    return x - sigma * v


def velocity_from_clean(x: Tensor, clean: Tensor, sigma: float | Tensor) -> Tensor:
    """The velocity whose clean estimate at x is `clean`: (x - clean) / sigma, sigma > 0."""
    return (x - clean) / sigma
