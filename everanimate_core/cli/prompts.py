"""The prompts of a run: one for all chunks, or those of a file; and their states, kept for the job that comes next."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..plan import ChunkPlan
from ..runs.prompts import chunk_prompts, read_prompts

# Said where a toy is given prompts: it has no text encoder.
TOY_READS_NONE = "The embedded toy reads no prompts, so they change no picture."


def check_prompts(prompt: str, file: Path | None) -> None:
    """Raise InputError where --prompt and --prompts are both given."""
    if prompt and file is not None:
        raise InputError("prompts", "must be left out where --prompt is given", "one of the two", "both")


def prompts_of(prompt: str, file: Path | None, plan: ChunkPlan) -> list[str]:
    """The prompt of every chunk, or the one that serves all. ValueError, naming the line, for a file that has none."""
    return [prompt] if file is None else chunk_prompts(read_prompts(file), plan)


def encode_new(states: dict[str, Tensor], prompts: Sequence[str], encode: Callable[[list[str]], Tensor]) -> None:
    """Put the states of these prompts in the place of all others; most chunks share one, and so do most jobs.

    states: {prompt: [1, L, C]}, changed in place. encode: gives those of P prompts that are not there yet, [P, L, C].
    """
    different = list(dict.fromkeys(prompts))
    new = [prompt for prompt in different if prompt not in states]
    found = encode(new).split(1) if new else ()
    for prompt in states.keys() - set(different):
        del states[prompt]
    states.update(zip(new, found, strict=True))
