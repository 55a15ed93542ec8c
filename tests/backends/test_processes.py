"""Processes that compute together: one that ends ends all of the work, in words, and leaves nothing behind."""

import multiprocessing
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from parallel_parts import ending, uneven_transformer
from run_parts import posix_only

from everanimate_core.backends.diffusers_wan import DiffusersWan
from everanimate_core.backends.processes import together
from everanimate_core.everanimate.flow import sigma_schedule
from everanimate_core.runs.store import RunFailed

TWO = [torch.device("cpu")] * 2
SAID = (
    "the processes that sample together must all run to the end (what it said, if anything, stands above); got exit "
    "code {} of process 2 of 2. Finished chunks are kept; the same command goes on from there."
)


def assert_nothing_is_left():
    assert not dist.is_initialized()
    assert not multiprocessing.active_children()


@posix_only
def test_one_that_is_killed_ends_the_sampling_and_leaves_the_transformer_as_it_was(make_request, text, clip):
    transformer = uneven_transformer()
    modules = dict(transformer.named_modules())
    alone = DiffusersWan(transformer, None, text, lambda image: clip)
    sample = partial(alone.sample_chunk, make_request(4), 7, sigmas=sigma_schedule(2))
    before = sample()

    def kill(step, steps, clean):
        multiprocessing.active_children()[0].kill()

    with pytest.raises(RunFailed) as failed, together(transformer, uneven_transformer, TWO) as predict:
        model = DiffusersWan(transformer, None, text, lambda image: clip, predict=predict)
        model.sample_chunk(make_request(4), 7, sigmas=sigma_schedule(2), on_step=kill)
    assert str(failed.value) == SAID.format(-signal.SIGKILL)
    assert_nothing_is_left()
    assert torch.equal(sample(), before)
    assert dict(transformer.named_modules()) == modules


def test_one_that_cannot_load_ends_it_before_anything_is_sampled():
    with pytest.raises(RunFailed) as failed, together(uneven_transformer(), ending, TWO):
        pytest.fail("there is nobody to compute with")
    assert str(failed.value) == SAID.format(3)
    assert_nothing_is_left()


LEADER = """
import sys
sys.path[:0] = sys.argv[1:]
import torch
from everanimate_core.backends.processes import together
from parallel_parts import loading, uneven_transformer

if __name__ == "__main__":
    with together(uneven_transformer(), loading, [torch.device("cpu")] * 2):
        pass
"""


@posix_only
def test_when_the_one_that_leads_is_killed_the_others_end_even_while_they_load(tmp_path):
    root = Path(__file__).resolve().parents[2]
    (tmp_path / "leader.py").write_text(LEADER, encoding="utf-8")
    command = [sys.executable, "-u", str(tmp_path / "leader.py"), str(root), str(root / "tests")]
    leader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert leader.stdout.readline() == "loading\n"
    killed = time.monotonic()
    leader.kill()
    # Open until the last of the two has ended.
    assert leader.stdout.read() == ""
    assert time.monotonic() - killed < 30
    leader.wait()
