"""The toy's networks: what each is trained on, from which it starts, for how long, and towards which target."""

from dataclasses import dataclass

from ...everanimate.context import METHOD
from .material import PIXEL_CARRY, WAN_ANIMATE, Recipe


@dataclass(frozen=True)
class Task:
    """A network to be made. rate: the highest learning rate. decay: of the moving average of its weights, per step.
    after: the network that it starts from.

    schedule: None for plain flow matching; else restorative (stage 2), towards the target of that weight, one of
    restoration.SCHEDULES: gaussian is the bounded one, none the same loss without drift, for comparison.
    """

    name: str
    recipe: Recipe
    steps: int
    rate: float
    decay: float = 0.995
    after: str | None = None
    schedule: str | None = None


def _stage(name: str, **recipe: object) -> Task:
    """From the network that knows even light alone. All of these differ in their recipes alone."""
    return Task(name, Recipe(**recipe), steps=4000, rate=8e-4, after="even_baseline")  # type: ignore[arg-type]


def _stage_2(after: str, name: str, schedule: str, steps: int = 1000, **recipe: object) -> Task:
    """On from a network, each for as long; in their losses, too, these differ in target and recipe alone."""
    policy = WAN_ANIMATE if after == "baseline" else METHOD
    return Task(f"{after}_{name}", Recipe(policy, **recipe), steps, 3e-4, after=after, schedule=schedule)  # type: ignore[arg-type]


# In even light: in the way of Wan-Animate from nothing, then EverAnimate's.
EVEN = (
    Task("even_baseline", Recipe(WAN_ANIMATE, lit=False, far=False), 26_000, 1.5e-3, decay=0.999),
    Task("even_memory", Recipe(METHOD, lit=False, far=False), 6_000, 8e-4, decay=0.999, after="even_baseline"),
)
# In wandering light: Wan-Animate's way with a reference from another moment, the same with one from its own, and
# EverAnimate's way with the first kind.
LIT = (
    _stage("baseline", policy=WAN_ANIMATE),
    _stage("control", policy=WAN_ANIMATE, far=False),
    _stage("memory", policy=METHOD),
)
# The same with EverAnimate's identity memory alone: what is carried are pixels, as Wan-Animate does it.
CARRY = (_stage("memory_pixel", policy=PIXEL_CARRY),)
# The ladder of training on: each rung beside a control of equal steps, schedule and films.
LADDER = (
    _stage_2("memory", "longer", "none"),
    _stage_2("memory", "rfm", "gaussian"),
    _stage_2("memory", "rfm_light", "gaussian", perturbation="light"),
    _stage_2("memory", "exact", "exact"),
    _stage_2("memory", "exact_light", "exact", perturbation="light"),
    _stage_2("memory", "motion", "none", perturbed_motion=0.5, perturbation="light"),
    _stage_2("memory", "motion95", "none", perturbed_motion=0.95, perturbation="light"),
    _stage_2("memory", "motion_released", "none", perturbed_motion=0.5),
    _stage_2("memory", "motion_rfm", "gaussian", perturbed_motion=0.5, perturbation="light"),
    _stage_2("memory", "motion_exact", "exact", perturbed_motion=0.5, perturbation="light"),
    _stage_2("memory", "motion_shared", "exact", perturbed_motion=0.5, perturbation="light", shared=True),
    _stage_2("memory", "longer_3000", "none", steps=3000),
    _stage_2("memory", "exact_light_3000", "exact", steps=3000, perturbation="light"),
    _stage_2("baseline", "longer", "none"),
    _stage_2("baseline", "rfm_light", "gaussian", perturbation="light"),
    _stage_2("baseline", "exact_light", "exact", perturbation="light"),
)
TASKS = EVEN + LIT + CARRY + LADDER
