"""Restorative flow matching (arXiv 2605.15042, section 4.2), in the sigma convention of `flow`.

Training: a drifted clip z~ makes the state x~ = (1 - sigma) z~ + sigma eps, and the network learns a velocity that
leads from it back to the clean clip z:

    exact   v* = (x~ - z) / sigma = v + (x~ - x) / sigma        bounded   v_r = v + w(sigma) (x~ - x)

Sampling, for networks that were not trained so: the drift d = x0 - R(x0) of the clean estimate from what the memory
or the first chunk knows takes the place of z~ - z, so that x~ - x = (1 - sigma) d and the same equation corrects the
velocity. Every weight is a function of sigma alone: samplers call the network at any noise level, some twice a step.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from math import ceil, inf

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, avg_pool2d, max_pool2d

from ..errors import InputError, check_choice
from ..ports import Velocity
from .flow import clean_estimate, interpolate, sigma_schedule, squared_error, velocity, velocity_from_clean
from .memory import ContextMemory
from .settings import RESTORE_TARGETS

# Hosts offer no `none`: there, a strength of 0 says so.
TARGETS = (*RESTORE_TARGETS, "none")
CleanTarget = Callable[[Tensor], Tensor]

# The noise levels of training: 1000, shifted by 5, from 1 down to 0.00498; float32 [1000].
TRAINING_SIGMAS = sigma_schedule(1000)[:-1]
# How far a body reaches beyond its pose, and below which size structure is detail: a part of the picture's longer side.
REACH = 1 / 16
# Pose maps are drawn on black; what compression leaves there is darker than this.
POSE_LEVEL = 0.1


def _bell(sigma: Tensor) -> Tensor:
    """g(tau) = exp(-2 ((tau - 500) / 1000)^2), tau = 1000 sigma, less its minimum over training g(1000), by g(1000).

    g / g(1000) - 1 = exp(2 sigma (1 - sigma)) - 1: exactly 0 at sigma = 1, without the loss of a difference.
    """
    return torch.expm1(2 * sigma * (1 - sigma))


_BELL_PEAK = float(_bell(TRAINING_SIGMAS).max())
_BELL_MEAN = float(_bell(TRAINING_SIGMAS).double().mean())
_LOWEST_SIGMA = float(TRAINING_SIGMAS[-1])


def gaussian(sigma: Tensor) -> Tensor:
    """The bounded weight: g(tau), min-max normalised over the training levels.

    1 at sigma = 0.5 (to 1e-5), 0 at sigma = 1, 0.0154 at the lowest level; w sigma <= 0.578, largest at sigma = 0.643.
    """
    return _bell(sigma) / _BELL_PEAK  # Eq. 11


def sigma_ramp(sigma: Tensor) -> Tensor:
    """Linear in sigma: 0 at the lowest training level (and below it), 1 at sigma = 1."""
    return ((sigma - _LOWEST_SIGMA) / (1 - _LOWEST_SIGMA)).clamp(min=0)


def exact(sigma: Tensor) -> Tensor:
    """The weight 1 / sigma that makes the bounded target the exact one; unbounded, for study."""
    return 1 / sigma  # Eq. 9


_SCHEDULES: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": gaussian,
    "sigma_ramp": sigma_ramp,
    "fixed": torch.ones_like,
    "exact": exact,
    "none": torch.zeros_like,
}
SCHEDULES = tuple(_SCHEDULES)


def check_strength(strength: float) -> None:
    """Raise InputError unless it is a strength of restoration: 0 (off) and up."""
    # Written so that it catches NaN, which command lines and links between nodes bring.
    if not 0 <= strength < inf:
        raise InputError("strength", "must be at least 0 and finite", "1.0", strength)


def restoration_weight(sigma: Tensor, schedule: str = "gaussian") -> Tensor:
    """w(sigma) of one of SCHEDULES, of sigma's shape; sigma in 0..1. `fixed` is 1 and `none` 0 everywhere."""
    check_choice("schedule", schedule, SCHEDULES)
    return _SCHEDULES[schedule](sigma)


def loss_weight(sigma: Tensor) -> Tensor:
    """The flow-matching weight y(tau): g(tau), shifted to minimum 0, scaled to mean 1 over training."""
    return _bell(sigma) / _BELL_MEAN


def exact_target(drifted_x: Tensor, clean: Tensor, sigma: float | Tensor) -> Tensor:
    """The constant velocity that takes any state at `sigma` > 0 to `clean` at sigma 0, along the straight line

    x(s) = clean + (s / sigma) (drifted_x - clean), s from sigma to 0 (Eq. 7).
    """
    return velocity_from_clean(drifted_x, clean, sigma)  # Eq. 8


def bounded_target(v: Tensor, drifted_x: Tensor, x: Tensor, weight: float | Tensor) -> Tensor:
    """v of the clean path, plus `weight` times what the drift moved the state by."""
    return v + weight * (drifted_x - x)  # Eq. 10


def _per_sample(sigma: Tensor) -> Tensor:
    """sigma, a scalar or [B], so that it broadcasts over [B, C, T, h, w]."""
    return sigma.reshape(-1, 1, 1, 1, 1)


@dataclass(frozen=True)
class TrainingPair:
    """What the network sees and what it is to answer: state x~ and target v_r, both [B, 16, N + T, h, w]."""

    state: Tensor
    target: Tensor


def training_pair(
    clean: Tensor, drifted: Tensor, noise: Tensor, sigma: Tensor, schedule: str = "gaussian"
) -> TrainingPair:
    """The restorative training pair (Eq. 10): from a drifted state back to the clean clip.

    clean, noise: [B, 16, N + T, h, w], the N anchors in front. drifted: P(clip), the T latents of the chunk alone: the
    anchors are memory, which stays clean, and there v_r = v. sigma: a scalar or [B]. With drifted equal to the clip
    this is plain flow matching, bit for bit.
    """
    sigma = _per_sample(sigma)
    anchors = clean.shape[2] - drifted.shape[2]
    state = interpolate(torch.cat([clean[:, :, :anchors], drifted], dim=2), noise, sigma)  # Eq. 6
    weight = restoration_weight(sigma, schedule)
    return TrainingPair(state, bounded_target(velocity(clean, noise), state, interpolate(clean, noise, sigma), weight))


def restorative_loss(prediction: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
    """y(tau) times the objective of each sample [B, ...], averaged: a scalar. sigma: scalar or [B]."""
    return (loss_weight(sigma) * squared_error(prediction, target)).mean()  # Eq. 12


@dataclass(frozen=True)
class Restoration:
    """Explicit restoration while sampling: v' = v + strength w(sigma) (1 - sigma) (x0 - R(x0)).

    strength: 0 (off) and up; the clean estimate moves by strength w sigma (1 - sigma) of its way to R, so that up to 4
    no weight but `exact` (up to 1) takes it beyond. schedule: w, one of SCHEDULES. target: R, one of TARGETS.
    """

    strength: float = 0.0
    schedule: str = "gaussian"
    target: str = "statistics"

    def __post_init__(self):
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("target", self.target, TARGETS)
        check_strength(self.strength)

    @classmethod
    def of(cls, settings: object) -> "Restoration":
        """What settings say of it: each field by the knob `restore_` and its name; of what they lack, the default."""
        said = {part.name: f"restore_{part.name}" for part in fields(cls)}
        return cls(**{name: getattr(settings, knob) for name, knob in said.items() if knob in vars(settings)})


OFF = Restoration()


def match_statistics(x0: Tensor, statistics: Tensor) -> Tensor:
    """R of `statistics`: x0 [B, C, T, h, w] with the channel means and spreads [2, C] of the first chunk.

    The statistics transfer of AdaIN (Huang and Belongie, arXiv 1703.06868), by channel over time and space.
    """
    mean, spread = statistics.to(x0).reshape(2, 1, -1, 1, 1, 1)
    own_spread, own_mean = torch.std_mean(x0, dim=(2, 3, 4), correction=0, keepdim=True)
    # A channel without any spread has none to scale.
    return (x0 - own_mean) / own_spread.clamp(min=1e-6) * spread + mean


def reach(height: int, width: int) -> int:
    """REACH of a latent grid in whole cells, rounded up."""
    return ceil(max(height, width) * REACH)


def masked_region(mask: Tensor, height: int, width: int) -> Tensor:
    """The cells of the latent grid, [1, 1, 1, height, width], that lie inside mask [n, H, W] (0..1) in all n frames."""
    return 1 - adaptive_max_pool2d(1 - mask, (height, width)).amax(dim=0)[None, None, None]


def static_region(pose: Tensor, height: int, width: int) -> Tensor:
    """The cells of the latent grid, [1, 1, 1, height, width], that the pose frames [F, H, W, 3] leave static: 1 or 0.

    A cell is static when neither it nor any cell within `reach` holds a pose pixel in any of the F frames: a body is
    wider than the lines and joints that a pose map draws.
    """
    empty = masked_region((pose.amax(dim=-1) <= POSE_LEVEL).to(pose), height, width)[0, 0]
    margin = reach(height, width)
    return 1 - max_pool2d(1 - empty, 2 * margin + 1, stride=1, padding=margin)[None, None]


def low_pass(latents: Tensor, region: Tensor) -> Tensor:
    """Mean of latents [B, 16, T, h, w] over the part of `region` [1, 1, 1, h, w] within `reach` of each cell.

    A normalised convolution (Knutsson and Westin, 1993): what lies outside the region, the person, does not leak in.
    """
    margin = reach(*latents.shape[3:])

    def around(values: Tensor) -> Tensor:
        mean = avg_pool2d(values.flatten(1, 2), 2 * margin + 1, stride=1, padding=margin)
        return mean.unflatten(1, values.shape[1:3])

    # Cells with nothing of the region around them are not in it either, and their value is not used.
    return around(latents * region) / around(region).clamp(min=1e-6)


def lasting(identity: Tensor) -> Tensor:
    """What most of the N identity latents [1, 16, N, h, w] show at each place: their median, [1, 16, 1, h, w].

    What never moves looks in every chunk as it did in the first, and the identity memory is frozen since (taken again
    from every chunk, as a policy has it for comparison, it drifts along). That its frames were encoded alone matters
    little: in static regions of the toy world their low frequencies are 0.04 spreads of the channel or less from those
    of whole clips.
    """
    return identity.quantile(0.5, dim=2, keepdim=True)


def match_low_frequency(x0: Tensor, low: Tensor, region: Tensor) -> Tensor:
    """R of `low_frequency`: x0 [B, 16, T, h, w] with the low frequencies `low` [1, 16, 1, h, w] inside `region`.

    region: [1, 1, 1, h, w], 1 where the scene is static. Detail, and all that lies outside, stays as it is in x0.
    """
    region = region.to(x0)
    return x0 + region * (low.to(x0) - low_pass(x0, region))


def clean_target(
    name: str,
    memory: ContextMemory,
    pose: Tensor | None = None,
    mask: Tensor | None = None,
) -> CleanTarget | None:
    """R, one of TARGETS, as a function of x0's chunk latents [B, 16, T, h, w]; None when nothing is to be corrected.

    statistics: none on the first chunk, whose statistics are still to come. low_frequency: towards the low frequencies
    of the identity memory, inside mask [n, H, W] (1 = static) if given, else where the chunk's pose frames [F, H, W, 3]
    leave the scene static; it alone reads the two. InputError for an unknown name, and when it has neither.
    """
    check_choice("target", name, TARGETS)
    if name == "low_frequency":
        size = memory.identity.shape[3:]
        if mask is not None:
            region = masked_region(mask, *size)
        elif pose is not None:
            region = static_region(pose, *size)
        else:
            raise InputError("target low_frequency", "must be told what is static", "a pose_video or a mask", "neither")
        low = low_pass(lasting(memory.identity), region)
        return lambda x0: match_low_frequency(x0, low, region)
    if name == "statistics" and memory.statistics is not None:
        return partial(match_statistics, statistics=memory.statistics)
    return None


@dataclass(frozen=True)
class Correction:
    """c(x0, sigma), the one function that all hosts share: v' = v + c and x0' = x0 - sigma c.

    shape: (C, h, w) that the chunk must have; h and w are None where any will do. head: how many slots at the start are
    neither measured nor corrected: references or anchors, and what is held behind them. target: R, of what x0 has
    behind the head, [B, C, T, h, w].
    """

    restoration: Restoration
    shape: tuple[int, int | None, int | None]
    head: int
    target: CleanTarget

    def behind(self, held: int) -> "Correction":
        """The same correction with `held` (0 and up) further slots in its head.

        Of held slots the host puts the given latents back after each model call; what the network says there is its own
        guess, which would move the statistics of the rest.
        """
        return replace(self, head=self.head + held)

    def __call__(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """c of x0's shape [B, C, head + T, h, w], 0 on the head. sigma: a scalar or [B], on any device."""
        c = torch.zeros_like(x0)
        chunk = x0[:, :, self.head :]
        # A chunk that is held throughout has nothing to measure.
        if chunk.shape[2]:
            sigma = _per_sample(sigma).to(x0.device)
            weight = self.restoration.strength * restoration_weight(sigma, self.restoration.schedule) * (1 - sigma)
            c[:, :, self.head :] = weight * (chunk - self.target(chunk))
        return c

    def estimate(self, x0: Tensor, sigma: Tensor) -> Tensor:
        """The corrected clean estimate x0 - sigma c, for hosts whose samplers step from it and not from v."""
        return x0 - _per_sample(sigma).to(x0.device) * self(x0, sigma)


def correction(
    restoration: Restoration,
    memory: ContextMemory,
    pose: Tensor | None = None,
    mask: Tensor | None = None,
) -> Correction | None:
    """The correction of one chunk of EverAnimate; pose, mask: see clean_target. Its head are the memory's anchors.

    None when nothing is to be corrected (strength 0, or no target): the host then leaves its sampler as it is.
    """
    target = clean_target(restoration.target, memory, pose, mask)
    if target is None or not restoration.strength:
        return None
    _, channels, anchors, height, width = memory.identity.shape
    return Correction(restoration, (channels, height, width), anchors, target)


def correction_of_statistics(restoration: Restoration, statistics: Tensor | None, head: int) -> Correction | None:
    """The correction of one chunk of a network that has no memory, towards the first chunk.

    statistics: [2, C] of the first chunk's own slots, None while it is still to come. head: slots in front of the
    chunk's own. None as in `correction`. InputError for the target low_frequency: only a memory has identity latents.
    """
    if restoration.target == "low_frequency":
        raise InputError(
            "target", "must be statistics without a memory", "only a memory shows what stands still", "low_frequency"
        )
    if statistics is None or not restoration.strength or restoration.target == "none":
        return None
    return Correction(
        restoration, (statistics.shape[1], None, None), head, partial(match_statistics, statistics=statistics)
    )


def restored(network: Velocity, correct: Correction | None) -> Velocity:
    """A velocity of `sampling` with explicit restoration; `network` itself when nothing is to be corrected."""
    if correct is None:
        return network

    def corrected(x: Tensor, sigma: Tensor) -> Tensor:
        v = network(x, sigma)
        return v + correct(clean_estimate(x, v, sigma), sigma)

    return corrected
