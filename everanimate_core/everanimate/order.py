"""Which chunk comes next: the one after that which left the memory.

A chain of chunks can be wired by hand, and an index that is one off makes a video that is wrong and looks right.
"""

from ..errors import InputError
from ..plan import NEXT, ChunkPlan
from .memory import ContextMemory


def next_chunk(plan: ChunkPlan, memory: ContextMemory, index: int = NEXT) -> int:
    """The chunk of `plan` that is made from `memory`: `index`, or for NEXT the one that the memory knows of.

    Raises InputError for a memory that another chunk than the one before has left or that is of another plan, for NEXT
    with a memory that does not know its chunk (one of latents that were given), and for an index that is not in the
    plan.
    """
    known = memory.made_by is not None or memory.motion is None
    after = 0 if memory.made_by is None else memory.made_by + 1
    if index == NEXT and not known:
        raise InputError("chunk_index", "must be given for a memory that does not know its chunk", "1", NEXT)
    chosen = after if index == NEXT else index
    plan.check_index(chosen)
    if known and chosen != after:
        rule = f"must be {_left_before(chosen)} for chunk_index {chosen}"
        raise InputError("memory", rule, f"chunk_index {NEXT} is always the next", _left_before(after))
    if memory.plan is not None and memory.plan != plan:
        raise InputError("plan", "must be that of the chunk before", _in_words(memory.plan), _in_words(plan))
    return chosen


def _left_before(index: int) -> str:
    """Which memory chunk `index` is made from."""
    return f"the one after chunk {index - 1}" if index else "one that has seen no chunk"


def _in_words(plan: ChunkPlan) -> str:
    return f"{plan.total_frames} frames, chunk_frames {plan.chunk_frames}, overlap {plan.overlap}, {plan.continuation}"
