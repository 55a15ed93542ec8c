"""Processes that compute each call of the Wan-Animate transformer together, each on a GPU of its own.

The process that animates leads: it alone reads files, decodes, writes and speaks, and it takes the sampling steps. The
helpers load the same transformer, wait for its calls, and compute their share of each. They end when it does.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import InputError
from ..runs.store import RunFailed
from .wan_alignment import Driving, predict_velocity
from .wan_context_parallel import check_heads, context_parallel

# Seconds in which a process that fails has ended, too: others may learn first that it does not answer.
_ENDING = 10.0


@dataclass(frozen=True)
class _Helper:
    """A process that helps, and the way to it: a call goes there, a word comes back when it has done its share."""

    process: BaseProcess
    pipe: Connection


@contextmanager
def together(
    transformer: nn.Module, load: Callable[[torch.device], nn.Module], devices: Sequence[torch.device]
) -> Iterator[Callable[..., Tensor]]:
    """`predict_velocity`, computed by so many processes together as there are devices, this one on the first of them.

    transformer: that of this process. load: makes it on another device; pickled for the helpers, which call it. Gives
    a function that takes what `predict_velocity` takes, and raises RunFailed when a helper has ended before its time;
    what that had to say stands on stderr. Raises InputError for numbers of processes that the network cannot serve.
    """
    check_heads(transformer, len(devices))
    with TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        helpers = _started(load, devices, meeting)
        try:
            team = _Team(helpers)
            team.wait()
            with _computing(transformer, 0, devices, meeting):
                yield team.predict_velocity
        finally:
            for helper in helpers:
                helper.process.kill()
                helper.process.join()


class _Team:
    """The helpers, as the process that leads sees them."""

    def __init__(self, helpers: list[_Helper]):
        self.helpers = helpers

    def predict_velocity(
        self,
        transformer: nn.Module,
        driving: Driving,
        model_input: Tensor,
        timestep: Tensor,
        text: Tensor,
        clip: Tensor | None,
    ) -> Tensor:
        """See `wan_alignment.predict_velocity`."""
        _, _, frames, height, width = model_input.shape
        processes, tokens = len(self.helpers) + 1, frames * (height // 2) * (width // 2)
        if tokens < processes:
            rule = "must be at most the number of tokens: one for each latent frame and 16x16 pixels"
            raise InputError("processes", rule, tokens, processes)
        tensors = [driving.pose, driving.face, model_input, timestep, text, clip]
        forms = [None if tensor is None else (tensor.shape, tensor.dtype) for tensor in tensors]
        try:
            for helper in self.helpers:
                helper.pipe.send(forms)
            for tensor in tensors:
                if tensor is not None:
                    dist.broadcast(tensor.contiguous(), src=0)
            velocity = predict_velocity(transformer, driving, model_input, timestep, text, clip)
        # What gloo and NCCL raise when a process does not answer, and a pipe without a reader. A fault of this
        # process, such as too little memory, is raised as it is.
        except (RuntimeError, OSError) as error:
            self.check(error)
            raise
        self.wait()
        return velocity

    def wait(self) -> None:
        """Until all helpers have done their share.

        A GPU that waits for one that has ended would wait for ever: this comes before anything waits for the GPU.
        """
        pipes = [helper.pipe for helper in self.helpers]
        while pipes:
            ready = connection.wait(pipes)
            for pipe in [pipe for pipe in pipes if pipe in ready]:
                try:
                    pipe.recv()
                except (EOFError, OSError) as error:
                    self.check(error)
                    raise
                pipes.remove(pipe)

    def check(self, cause: Exception) -> None:
        """Raise RunFailed if a helper has ended, or does soon."""
        ended = connection.wait([helper.process.sentinel for helper in self.helpers], _ENDING)
        for number, helper in enumerate(self.helpers, start=2):
            if helper.process.sentinel in ended:
                helper.process.join()
                raise RunFailed(
                    "the processes that sample together must all run to the end (what it said, if anything, stands "
                    f"above); got exit code {helper.process.exitcode} of process {number} of {len(self.helpers) + 1}. "
                    "Finished chunks are kept; the same command goes on from there."
                ) from cause


def _started(
    load: Callable[[torch.device], nn.Module], devices: Sequence[torch.device], meeting: Path
) -> list[_Helper]:
    """A helper for each device but the first."""
    spawning, helpers = get_context("spawn"), []
    for rank in range(1, len(devices)):
        ours, theirs = spawning.Pipe()
        arguments = (rank, devices, meeting, load, theirs)
        process = spawning.Process(target=_help, args=arguments, daemon=True)
        with _deaf_to_ctrl_c():
            process.start()
        theirs.close()
        helpers.append(_Helper(process, ours))
    return helpers


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started in the block never see Ctrl-C: a terminal sends it to all, and one has to say so."""
    if sys.platform == "win32":
        yield
        return
    # Started with the first process, it would let Ctrl-C through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _help(
    rank: int,
    devices: Sequence[torch.device],
    meeting: Path,
    load: Callable[[torch.device], nn.Module],
    pipe: Connection,
) -> None:
    """What a helper does, from its start until it is killed."""
    Thread(target=_end_with_leader, daemon=True).start()
    if devices[rank].type != "cpu":
        torch.accelerator.set_device_index(devices[rank])
    transformer = load(devices[rank])
    pipe.send(True)
    with torch.no_grad(), _computing(transformer, rank, devices, meeting):
        while True:
            pose, face, *others = (_received(form, devices[rank]) for form in pipe.recv())
            predict_velocity(transformer, Driving(pose, face), *others)
            if devices[rank].type != "cpu":
                torch.accelerator.synchronize(devices[rank])
            pipe.send(True)


def _end_with_leader() -> None:
    """End this process when the one that leads is gone, even while it loads, or waits for data."""
    leader = parent_process()
    assert leader is not None
    leader.join()
    os._exit(1)


def _received(form: Any, device: torch.device) -> Any:
    """A tensor of a call; form: its shape and type, or None for none."""
    if form is None:
        return None
    shape, dtype = form
    tensor = torch.empty(shape, dtype=dtype, device=device)
    dist.broadcast(tensor, src=0)
    return tensor


@contextmanager
def _computing(transformer: nn.Module, rank: int, devices: Sequence[torch.device], meeting: Path) -> Iterator[None]:
    """Be one of the processes that compute together; they find each other by a file, which is not there yet."""
    kind = devices[rank].type
    # Sizes of shares are exchanged on the CPU, which then need not wait for the GPU.
    backends = "gloo" if kind == "cpu" else f"cpu:gloo,{kind}:{dist.get_default_backend_for_device(kind)}"
    store = dist.FileStore(str(meeting), len(devices))
    dist.init_process_group(backends, store=store, rank=rank, world_size=len(devices))
    try:
        with context_parallel(transformer):
            yield
    finally:
        dist.destroy_process_group()
