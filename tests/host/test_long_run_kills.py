"""Long runs on both bases that are killed at any moment go on bit for bit."""

import os
import random
import signal
import time
from functools import partial

import pytest
import torch
from kept import latents_of, takes
from long_runs import BASES, knows_the_bases, long_run, run_folder, total

__all__ = ["knows_the_bases"]
pytestmark = [
    pytest.mark.usefixtures("knows_the_bases"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX"),
]
KILLS, CHUNKS = 20, 4


def killed_after(seconds, call):
    """Whether `call`, in a child process, was killed so long after it began."""
    child = os.fork()
    if child == 0:
        try:
            call()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@BASES
def test_killed_at_twenty_random_moments(comfy, base):
    frames, name = total(base, CHUNKS), f"{base.name}_whole"
    # Once before: what the host does at a first start is no part of the time of a run.
    long_run(comfy, base, f"{base.name}_warm", total(base, 1))
    begun = time.perf_counter()
    _, images, _ = long_run(comfy, base, name, frames)
    needed = time.perf_counter() - begun
    moments, kills, runs = random.Random(base.name), 0, 0
    while kills < KILLS:
        killed = f"{base.name}_killed_{runs}"
        start = partial(long_run, comfy, base, killed, frames)
        # At most four kills in each run, wherever it is by then: on a busy machine, all might fall into the first.
        left = min(4, KILLS - kills)
        while left and killed_after(moments.uniform(0, needed / 2), start):
            kills, left = kills + 1, left - 1
        _, again, _ = start()
        assert torch.equal(again, images)
        expected, got = run_folder(comfy, name), run_folder(comfy, killed)
        assert all(torch.equal(*pair) for pair in zip(latents_of(got), latents_of(expected), strict=True))
        assert [chunk.key for chunk in takes(got)[-1].chunks] == [chunk.key for chunk in takes(expected)[-1].chunks]
        runs += 1
