"""The numbers of the training, as released (arXiv 2605.15042, section 5 and the authors' code)."""

from dataclasses import dataclass
from math import inf

import torch

from ..errors import InputError
from ..everanimate.perturbation import RECIPES
from ..everanimate.restoration import SCHEDULES
from ..runs.fingerprint import digest

# Share of the samples whose pose video is black.
BLACK_POSE = 0.05
WEIGHT_DECAY = 0.01
# The learning rate is constant, but for the first steps.
WARMUP_STEPS, WARMUP_FACTOR = 5, 1 / 3


@dataclass(frozen=True)
class Recipe:
    """All that decides what is learnt, beside the films and the network.

    stage: 1 (memory adaptation, plain flow matching) or 2 (restorative, memory augmentation). rank: of the LoRA, and
    its alpha. batch: samples a step, over all processes. rate: AdamW's learning rate. Stage 1 does not read the rest:
    schedule, perturbation: w(sigma) and P, one of restoration.SCHEDULES and perturbation.RECIPES. augmented: share of
    the samples whose anchors are augmented.
    """

    stage: int
    seed: int = 0
    rank: int = 32
    batch: int = 1
    rate: float = 1e-4
    schedule: str = "gaussian"
    perturbation: str = RECIPES[0]
    augmented: float = 0.5

    def __post_init__(self):
        for name, allowed in (("stage", (1, 2)), ("schedule", SCHEDULES), ("perturbation", RECIPES)):
            if getattr(self, name) not in allowed:
                raise InputError(name, f"must be one of {', '.join(map(str, allowed))}", "", repr(getattr(self, name)))
        if not 0 < self.rate < inf:
            raise InputError("rate", "must be a finite number above 0", "1e-4", self.rate)
        if not 0 <= self.augmented <= 1:
            raise InputError("augmented", "must be between 0 and 1", "0.5", self.augmented)
        for name, example in (("rank", 32), ("batch", 8)):
            if getattr(self, name) < 1:
                raise InputError(name, "must be at least 1", example, getattr(self, name))

    @property
    def restoration(self) -> str:
        """w(sigma) of the loss, one of restoration.SCHEDULES."""
        return self.schedule if self.stage == 2 else "none"

    def learning_rate(self, step: int) -> float:
        """Of step 0, 1, ..."""
        return self.rate * (WARMUP_FACTOR if step < WARMUP_STEPS else 1)


def generator(*key: str | int) -> torch.Generator:
    """Random numbers on the CPU that depend on the key (seed, purpose, number) alone."""
    return torch.Generator().manual_seed(int(digest(*key)[:16], 16))
