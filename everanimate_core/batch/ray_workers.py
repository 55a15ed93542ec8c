"""Workers that are Ray's actors, one job at a time in each. The only file that knows Ray."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError, needed, one_line
from ..runs.store import RunFailed
from .attempt import Attempt, Engine, attempt
from .dispatch import Ended, Event, Worker
from .jobs import Job

# Seconds between two looks at how large the cluster is.
LOOK = 30.0
# Seconds in which a cluster has to open its door.
KNOCK = 10.0
# How often in a row a new worker may die before it is ready.
STARTS = 3
# Bytes, the least that Ray takes: only paths and words go through it.
_STORE = 80_000_000


def ray_or_complain() -> Any:
    """Ray; ImportError, with how to install it, where it is not there."""
    try:
        return needed("ray", "many jobs at once")
    except ImportError as error:
        raise ImportError(f"everanimate batch needs Ray (pip install 'everanimate[batch]'); got {error}.") from error


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray, within the block: the cluster at an address, "auto" for the one that this machine is part of. None: one of
    this machine alone, which ends with the block.

    Raises ConnectionError where there is no such cluster.
    """
    # Nothing is sent to anybody.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = ray_or_complain()
    options = {"logging_level": "error", "log_to_driver": False}
    try:
        if address is None:
            # Reached from this machine alone.
            place = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
            ray.init("local", object_store_memory=_STORE, **place, **options)
        else:
            _knock(address)
            ray.init(address, **options)
    except Exception as error:  # what Ray raises where it does not start in time is no class of its own
        example = "`ray start --head` on one machine, `ray start --address=IP:6379` on the others"
        got = one_line(error, 200).rstrip(".")
        if address is None:
            raise ConnectionError(f"Ray must start on this machine; got {got}.") from error
        raise ConnectionError(f"a Ray cluster must be up at {address} ({example}); got {got}.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT; Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()


class _Actor:
    """Lives in a process of its own, with its engine."""

    def __init__(self, engine: Callable[[], Engine], root: Path):
        self.engine, self.root = engine(), root

    def place(self) -> str:
        """The machine on which it lives."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def make(self, job: Job, inputs: str) -> Attempt:
        return attempt(self.engine, job, self.root, inputs)

    def close(self) -> None:
        self.engine.close()


class RayWorkers:
    """As many workers as the cluster has room for, `most` at the most; see dispatch.Workers.

    engine: makes what makes the jobs, in the worker; it has to be pickled. jobs: {name: (job, inputs)}. gpus: GPUs a
    worker; 0 for workers on CPUs. Raises InputError for a cluster without so many.
    """

    def __init__(
        self,
        ray: Any,
        engine: Callable[[], Engine],
        root: Path,
        jobs: dict[str, tuple[Job, str]],
        gpus: float,
        most: int,
    ):
        self.ray, self.engine, self.root, self.jobs, self.gpus, self.most = ray, engine, root, jobs, gpus, most
        self.kind = ray.remote(_Actor)
        self.actors: dict[int, Any] = {}
        self.places: dict[int, str] = {}
        # What each worker does now: it begins, or it makes a job.
        self.busy: dict[Any, int] = {}
        self.count = self.failed_starts = 0
        if not self.room():
            have = ray.cluster_resources().get("GPU", 0)
            way = "0 for workers on CPUs"
            rule = "must be at most what a machine of the cluster has"
            raise InputError("gpus_per_job", rule, way, f"{gpus:g}, and {have:g} in all of it")
        self.grow()

    def room(self) -> int:
        """How many workers the machines of the cluster have room for."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        one = {"GPU": self.gpus} if self.gpus else {"CPU": 1}
        return sum(int(node.get(kind, 0) / each) for node in nodes for kind, each in one.items())

    def grow(self) -> None:
        """Begin with as many workers as there is room for, in the place of dead ones, too."""
        while len(self.actors) < min(self.room(), self.most):
            self.count += 1
            # One CPU is one thread of torch: two kinds of addition would be two results.
            actor = self.kind.options(num_cpus=1, num_gpus=self.gpus).remote(self.engine, self.root)
            self.actors[self.count] = actor
            self.busy[actor.place.remote()] = self.count

    def idle(self) -> list[Worker]:
        """See Workers."""
        busy = set(self.busy.values())
        return [self.worker(number) for number in self.actors if number not in busy]

    def worker(self, number: int) -> Worker:
        return Worker(number, self.places[number])

    def begin(self, worker: Worker, name: str) -> None:
        """See Workers."""
        self.busy[self.actors[worker.number].make.remote(*self.jobs[name])] = worker.number

    def wait(self, seconds: float | None) -> Sequence[Event]:
        """See Workers; returns after a while in any case."""
        timeout = LOOK if seconds is None else min(seconds, LOOK)
        ready, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=timeout) if self.busy else ([], [])
        if not self.busy:
            time.sleep(timeout)
        events = [event for reference in ready for event in self.ended(reference)]
        self.grow()
        return events

    def ended(self, reference: Any) -> Iterator[Event]:
        """What it means that this is there."""
        number = self.busy.pop(reference)
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            yield from self.died(number, error)
            return
        if isinstance(answer, Attempt):
            yield Event(self.worker(number), answer.ended, answer.said)
        else:
            self.places[number] = answer
            self.failed_starts = 0

    def died(self, number: int, error: Exception) -> Iterator[Event]:
        """A worker is dead, or as good as that; another one takes its place."""
        # Its last line says why; above it, Ray says which actor of which cluster it was.
        actor, said = self.actors.pop(number), one_line(str(error).strip().rpartition("\n")[2].strip(), 200)
        with suppress(Exception):
            self.ray.kill(actor)
        if number in self.places:
            yield Event(self.worker(number), Ended.LOST, said)
            return
        self.failed_starts += 1
        if self.failed_starts >= STARTS:
            raise RunFailed(f"the workers must start (is everanimate installed on every machine?); got {said}")

    def now(self) -> float:
        """See Workers."""
        return time.monotonic()

    def close(self) -> None:
        """End all workers."""
        ends = [actor.close.remote() for number, actor in self.actors.items() if number in self.places]
        if ends:
            self.ray.wait(ends, num_returns=len(ends), timeout=LOOK)
        for actor in self.actors.values():
            self.ray.kill(actor)
