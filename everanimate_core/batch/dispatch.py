"""Who makes which job: the longest first, one a worker, and what happens when one fails or its worker dies.

It knows neither Ray nor a clock of its own, so that the same code runs in a simulation.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

# How often in a row a job may take its worker with it without getting on.
DEATHS = 3
# Seconds until a job that another program is making is tried again.
PAUSE = 20.0


@dataclass(frozen=True)
class Task:
    """A job to be dispatched. length: how long it takes, beside others. network: what it loads; a worker that has
    loaded it already is quicker."""

    name: str
    length: float
    network: str = ""


@dataclass(frozen=True)
class Worker:
    """What makes one job at a time. place: the machine on which it lives."""

    number: int
    place: str


class Ended(Enum):
    """How an attempt at a job ended. LOST: the worker died, or what it needs did. TAKEN: another program makes it."""

    FINISHED = "finished"
    FAILED = "failed"
    LOST = "lost"
    TAKEN = "taken"


@dataclass(frozen=True)
class Event:
    """A worker's attempt at a job has ended. said: why, where it is not finished."""

    worker: Worker
    ended: Ended
    said: str = ""


class Workers(Protocol):
    """What makes the jobs. Dead workers are replaced by new ones, which are told apart by their numbers."""

    def idle(self) -> Sequence[Worker]:
        """Those that are ready and have no job."""

    def begin(self, worker: Worker, name: str) -> None:
        """Give a job to one of them."""

    def wait(self, seconds: float | None) -> Sequence[Event]:
        """What has ended since the last call; waits for something to happen, for so long at most (None: for ever)."""

    def now(self) -> float:
        """Seconds, by whatever clock."""


@dataclass(order=True)
class _Waiting:
    """A job in the queue, the longest first, in the order of the list where they are equal."""

    shortness: float
    number: int
    task: Task = field(compare=False)


class _Queue:
    """Jobs that wait for a worker."""

    def __init__(self) -> None:
        self.jobs: list[_Waiting] = []
        # Where each job has taken a worker with it.
        self.died: dict[str, set[str]] = {}

    def put(self, number: int, task: Task, length: float) -> None:
        insort(self.jobs, _Waiting(-length, number, task))

    def take(self, place: str, network: str) -> _Waiting:
        """The longest job that has not died at this place; among equals, one with the network that is loaded there.

        Where all have died there, the longest of them: there may be no other place.
        """
        fit = (index for index, job in enumerate(self.jobs) if place not in self.died.get(job.task.name, ()))
        first = next(fit, 0)
        longest = self.jobs[first].shortness
        same = self.jobs[first].task.network == network
        while not same and (index := next(fit, None)) is not None and self.jobs[index].shortness == longest:
            if self.jobs[index].task.network == network:
                first, same = index, True
        return self.jobs.pop(first)


class _Dispatch:
    def __init__(self, workers: Workers, progress: Callable[[str], int], left: Callable[[Task], float]):
        self.workers, self.progress, self.left = workers, progress, left
        self.queue = _Queue()
        self.later: list[tuple[float, _Waiting]] = []
        self.running: dict[int, _Waiting] = {}
        self.loaded: dict[int, str] = {}
        # How much of a job was there when its worker began with it; how often it died since it got on.
        self.before: dict[str, int] = {}
        self.deaths: dict[str, int] = {}

    def put(self, number: int, task: Task) -> None:
        self.queue.put(number, task, self.left(task))

    def begin(self) -> None:
        """Give the idle workers what they shall make."""
        now = self.workers.now()
        due = [job for time, job in self.later if time <= now]
        self.later = [(time, job) for time, job in self.later if time > now]
        for job in due:
            self.put(job.number, job.task)
        for worker in self.workers.idle():
            if not self.queue.jobs:
                break
            job = self.queue.take(worker.place, self.loaded.get(worker.number, ""))
            self.before[job.task.name] = self.progress(job.task.name)
            self.running[worker.number] = job
            self.loaded[worker.number] = job.task.network
            self.workers.begin(worker, job.task.name)

    def pause(self) -> float | None:
        """Seconds until a job is to be tried again."""
        return None if not self.later else max(0.0, min(time for time, _ in self.later) - self.workers.now())

    def lost(self, job: _Waiting, place: str) -> bool:
        """Whether a job whose worker died may go to another one."""
        name = job.task.name
        got_on = self.progress(name) > self.before[name]
        self.deaths[name] = 0 if got_on else self.deaths.get(name, 0) + 1
        self.queue.died.setdefault(name, set()).add(place)
        if self.deaths[name] >= DEATHS:
            return False
        self.put(job.number, job.task)
        return True


@dataclass(frozen=True)
class Result:
    """What became of a job. said: why it failed."""

    name: str
    ended: Ended
    said: str = ""


def dispatch(
    tasks: Iterable[Task],
    workers: Workers,
    progress: Callable[[str], int],
    tell: Callable[[Event, Task], None] = lambda event, task: None,
    left: Callable[[Task], float] = lambda task: task.length,
) -> list[Result]:
    """Make all jobs; what became of each, in the order in which they ended.

    progress: how much of a job is there, a number that grows with every finished chunk. left: how long what is missing
    of a job takes. tell: of each attempt that has ended.

    A job that fails is not tried again. One whose worker died goes on with another, elsewhere if there is a choice,
    until DEATHS in a row brought nothing new. One that another program is making is tried again after PAUSE.
    """
    state, results = _Dispatch(workers, progress, left), []
    for number, task in enumerate(tasks):
        state.put(number, task)
    while state.queue.jobs or state.later or state.running:
        state.begin()
        for event in workers.wait(state.pause()):
            job = state.running.pop(event.worker.number)
            if event.ended is Ended.TAKEN:
                state.later.append((workers.now() + PAUSE, job))
            elif event.ended is Ended.LOST and not state.lost(job, event.worker.place):
                said = f"its worker died {DEATHS} times in a row without finishing a part of it: {event.said}"
                event = Event(event.worker, Ended.FAILED, said)
            tell(event, job.task)
            if event.ended in (Ended.FINISHED, Ended.FAILED):
                results.append(Result(job.task.name, event.ended, event.said))
    return results
