"""The numbers of the training, as released (arXiv 2605.15042, section 5 and the authors' code)."""

from dataclasses import asdict, dataclass
from math import cos, pi
from typing import Any

import torch

from ..digests import digest
from ..errors import InputError
from ..everanimate.perturbation import RECIPES
from ..everanimate.restoration import SCHEDULES
from ..knobs import check_knobs, knob, knobs
from ..noise import MAX_SEED
from .quantised import KINDS

# What each recipe that has a name changes of the released numbers, which are the defaults.
NAMED: dict[str, dict[str, Any]] = {"released": {}, "paper": {"rank": 128, "perturbation": "paper"}}
# Share of the samples whose pose video is black.
BLACK_POSE = 0.05
WEIGHT_DECAY = 0.01
# The learning rate is constant, but for the first steps.
WARMUP_STEPS, WARMUP_FACTOR = 5, 1 / 3


@dataclass(frozen=True)
class Recipe:
    """All that decides what is learnt, beside the films and the network.

    stage: 1 (memory adaptation, plain flow matching) or 2 (restorative, memory augmentation). Stage 1 does not read
    schedule, w(sigma), and augmented, and P for the motion memory alone. Raises InputError for a value that is out of
    its range.
    """

    stage: int
    seed: int = knob(0, "Seed of the LoRA's first weights, of samples and noise.", low=0, high=MAX_SEED)
    rank: int = knob(32, "Rank of the LoRA, and its alpha.", low=1, high=65_536)
    batch: int = knob(8, "Samples a step, over all processes.", low=1, high=1_000_000, unit="samples")
    rate: float = knob(1e-4, "Learning rate of AdamW.", low=0.0)
    schedule: str = knob(
        "gaussian", "Stage 2: at which noise levels restoration counts in the loss. none: nowhere.", choices=SCHEDULES
    )
    perturbation: str = knob(
        RECIPES[0], "How drift is simulated, in stage 2 and for --perturbed-motion.", choices=RECIPES
    )
    augmented: float = knob(0.5, "Stage 2: share of the samples with moved anchors.", low=0.0, high=1.0, unit="share")
    perturbed_motion: float = knob(
        0.0,
        "Share of the samples whose motion memory is perturbed (off as released, which recommends 0.95). Needs a set "
        "made with --motion-pixels.",
        low=0.0,
        high=1.0,
        unit="share",
    )
    rate_schedule: str = knob(
        "constant",
        "Of the learning rate: constant, as released (a third of it for the first 5 steps), or it rises over --warmup "
        "and falls to 0 along a cosine.",
        choices=("constant", "cosine"),
    )
    warmup: int = knob(
        100, "Steps in which the learning rate rises, with the cosine.", low=0, high=100_000_000, unit="steps"
    )
    clip_norm: float = knob(0.0, "Largest norm of a step's gradients, which are scaled down to it. 0: any.", low=0.0)
    ema: float = knob(
        0.0,
        "Decay of a moving average of the LoRA, 0.999 for example, saved beside it as ema-STEP.safetensors. 0: none.",
        low=0.0,
        high=0.999999,
    )
    quantised: str = knob(
        "none", "Type of the frozen weights in memory, with a scale for each output: half of bfloat16.", choices=KINDS
    )
    held_out: int = knob(
        0,
        "Films, the last of the set, that nothing is learnt from. Their loss is written to held_out.csv with every "
        "saved LoRA.",
        low=0,
        high=1_000_000,
        unit="films",
    )

    def __post_init__(self):
        check_knobs(self)
        if self.stage not in (1, 2):
            raise InputError("stage", "must be 1 or 2", 1, self.stage)
        if not self.rate:
            raise InputError("rate", "must be above 0", 1e-4, self.rate)

    def facts(self) -> dict[str, Any]:
        """All of it, as a training's state keeps it: what came after 0.1.0 is left out while it is off, so that older
        trainings go on."""
        later = ("perturbed_motion", "held_out", "rate_schedule", "warmup", "clip_norm", "ema", "quantised")
        off = {name: knobs(Recipe)[name].default for name in later}
        if self.rate_schedule == "cosine":
            del off["warmup"]
        return {name: value for name, value in asdict(self).items() if name not in off or value != off[name]}

    @property
    def restoration(self) -> str:
        """w(sigma) of the loss, one of restoration.SCHEDULES."""
        return self.schedule if self.stage == 2 else "none"

    def learning_rate(self, step: int, steps: int) -> float:
        """Of step 0, 1, ... of so many."""
        if self.rate_schedule == "constant":
            return self.rate * (WARMUP_FACTOR if step < WARMUP_STEPS else 1)
        if step < self.warmup:
            return self.rate * (step + 1) / (self.warmup + 1)
        return self.rate * (1 + cos(pi * (step - self.warmup) / max(1, steps - self.warmup))) / 2


def generator(*key: str | int) -> torch.Generator:
    """Random numbers on the CPU that depend on the key (seed, purpose, number) alone."""
    return torch.Generator().manual_seed(int(digest(*key)[:16], 16))
