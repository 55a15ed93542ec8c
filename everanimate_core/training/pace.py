"""How a training gets to its end, as far as it does not decide what is learnt."""

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Pace:
    """How far and in what portions; nothing of it changes what is learnt at a step.

    steps: in all. accumulate: portions that every process takes of the recipe's batch, one after another. save_every,
    sample_every: steps; 0 for no samples. checkpointing: compute activations twice rather than keep them.
    """

    steps: int
    accumulate: int = 1
    save_every: int = 250
    sample_every: int = 0
    checkpointing: bool = False

    def __post_init__(self):
        for name, least, example in (
            ("steps", 1, 4000),
            ("accumulate", 1, 4),
            ("save_every", 1, 250),
            ("sample_every", 0, 500),
        ):
            if getattr(self, name) < least:
                raise InputError(name, f"must be at least {least}", example, getattr(self, name))
