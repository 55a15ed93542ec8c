"""Chunks in their order: what does not belong together is refused, by hand-made chains and by the loop alike."""

from dataclasses import replace

import pytest
import torch
from exact_parts import ExactCodec, Frames, exact_pictures, exact_sampler
from refusals import refusal

from everanimate_core.errors import InputError
from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.memory import build_memory, memory_from_latents
from everanimate_core.everanimate.order import next_chunk
from everanimate_core.everanimate.propagation import hand_over, make_chunk
from everanimate_core.plan import NEXT, ChunkPlan

CODEC = ExactCodec()
PLAN = ChunkPlan(19, 9, 4)
DRIVERS = Drivers(pose=Frames(exact_pictures(24, seed=1)))
WAY = "(chunk_index -1 is always the next)"


@pytest.fixture
def memories():
    """Before the first chunk, and after each of the three."""
    found = [build_memory(exact_pictures(1), CODEC)]
    for index in range(PLAN.chunk_count):
        found.append(make_chunk(DRIVERS.chunk(PLAN, index), found[-1], exact_sampler, CODEC).memory)
    return found


def refused(plan, memory, index=NEXT):
    return refusal(next_chunk, plan, memory, index, kind=InputError)


def test_a_memory_knows_which_chunk_comes_next(memories):
    assert [(memory.made_by, memory.plan) for memory in memories] == [(None, None), (0, PLAN), (1, PLAN), (2, PLAN)]
    assert [next_chunk(PLAN, memory) for memory in memories[:3]] == [0, 1, 2]
    assert [next_chunk(PLAN, memory, index) for index, memory in enumerate(memories[:3])] == [0, 1, 2]
    assert refused(PLAN, memories[3]) == "chunk_index must be between 0 and 2 (3 chunks make 19 frames); got 3."


def test_every_other_index_is_refused(memories):
    said = {
        (0, 1): f"memory must be the one after chunk 0 for chunk_index 1 {WAY}; got one that has seen no chunk.",
        (1, 0): f"memory must be one that has seen no chunk for chunk_index 0 {WAY}; got the one after chunk 0.",
        (1, 2): f"memory must be the one after chunk 1 for chunk_index 2 {WAY}; got the one after chunk 0.",
        (2, 1): f"memory must be the one after chunk 0 for chunk_index 1 {WAY}; got the one after chunk 1.",
    }
    for (before, index), message in said.items():
        assert refused(PLAN, memories[before], index) == message
    for number, memory in enumerate(memories[:3]):
        for index in range(PLAN.chunk_count):
            if index != number:
                refused(PLAN, memory, index)


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"total_frames": 24}, "24 frames, chunk_frames 9, overlap 4, pingpong"),
        ({"overlap": 3}, "19 frames, chunk_frames 9, overlap 3, pingpong"),
        ({"continuation": "loop"}, "19 frames, chunk_frames 9, overlap 4, loop"),
    ],
)
def test_another_plan_is_refused(memories, change, shown):
    other = replace(PLAN, **change)
    assert refused(other, memories[1]) == (
        f"plan must be that of the chunk before (19 frames, chunk_frames 9, overlap 4, pingpong); got {shown}."
    )
    assert next_chunk(other, memories[0]) == 0


def test_latents_that_were_given_go_anywhere_but_not_by_themselves():
    latents = torch.zeros(1, 16, 1, 2, 4)
    memory = memory_from_latents(latents, latents)
    assert [next_chunk(PLAN, memory, index) for index in range(3)] == [0, 1, 2]
    assert refused(PLAN, memory) == ("chunk_index must be given for a memory that does not know its chunk (1); got -1.")
    assert next_chunk(PLAN, memory_from_latents(latents)) == 0


def test_the_steps_of_the_loop_ask_it(memories):
    chunk = DRIVERS.chunk(PLAN, 2)
    for step in (
        lambda: make_chunk(chunk, memories[1], exact_sampler, CODEC),
        lambda: hand_over(chunk, memories[1], torch.zeros(1, 16, 3, 2, 4), CODEC),
    ):
        with pytest.raises(InputError, match=r"^memory must be the one after chunk 1 for chunk_index 2"):
            step()
