"""How a training gets to its end, as far as it does not decide what is learnt."""

from dataclasses import dataclass

from ..knobs import check_knobs, knob


@dataclass(frozen=True)
class Pace:
    """How far and in what portions; nothing of it changes what is learnt at a step. Raises InputError out of range."""

    steps: int = knob(4000, "Steps of the training, in all.", low=1, high=100_000_000)
    accumulate: int = knob(
        1, "Portions of the batch that every process takes, one after another.", low=1, high=1_000_000, unit="portions"
    )
    save_every: int = knob(250, "Steps from one saved LoRA to the next.", low=1, high=100_000_000, unit="steps")
    sample_every: int = knob(
        0, "Steps from one written short clip to the next. 0: none is written.", low=0, high=100_000_000, unit="steps"
    )
    checkpointing: bool = knob(False, "Compute activations twice rather than keep them: less memory.")

    def __post_init__(self):
        check_knobs(self)
