"""How a training gets to its end, as far as it does not decide what is learnt."""

from dataclasses import dataclass

from ..errors import InputError
from ..knobs import check_knobs, knob


@dataclass(frozen=True)
class Pace:
    """How far, in what portions and with what memory; nothing of it changes what is learnt at a step, unless the rate
    falls towards the last one. Raises InputError out of range."""

    steps: int = knob(4000, "Steps of the training, in all.", low=1, high=100_000_000)
    accumulate: int = knob(
        0,
        "Portions of the batch that every process takes, one after another. 0: one sample each, for the least memory.",
        low=0,
        high=1_000_000,
        unit="portions",
    )
    save_every: int = knob(250, "Steps from one saved LoRA to the next.", low=1, high=100_000_000, unit="steps")
    sample_every: int = knob(
        0,
        "Steps from one written short clip to the next, of a film that is held out, if any is. 0: none is written.",
        low=0,
        high=100_000_000,
        unit="steps",
    )
    checkpointing: bool = knob(
        True, "Compute activations twice rather than keep them: much less memory. The toy always keeps them."
    )
    offload: bool = knob(False, "Let what --checkpointing keeps wait in main memory: less memory on the GPU, slower.")
    workers: int = knob(
        2, "Processes that read samples ahead, for each process that trains.", low=0, high=1000, unit="processes"
    )

    def __post_init__(self):
        check_knobs(self)
        if self.offload and not self.checkpointing:
            raise InputError("offload", "must be off without checkpointing", "--checkpointing", self.offload)

    def portions(self, batch: int, processes: int) -> tuple[int, int]:
        """In how many portions each process takes its share of a batch, and of how many samples each of them is.
        InputError where they would differ."""
        portions = self.accumulate or max(1, batch // processes)
        if batch % (processes * portions):
            got = f"{batch} for {processes} x {portions}"
            raise InputError("batch", "must be a multiple of processes x accumulate", "8 for 2 x 4", got)
        return portions, batch // (processes * portions)
