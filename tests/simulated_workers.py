"""Workers under a clock that is not waited for: the dispatch of a batch at any size, with deaths, in seconds."""

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count

from everanimate_core.batch.dispatch import Ended, Event, Worker


@dataclass
class Work:
    """A job: seconds of each of its chunks. done: how many are there. fails: it ends with an error of its own."""

    chunks: list
    done: int = 0
    fails: bool = False

    @property
    def seconds(self):
        return sum(self.chunks)


@dataclass
class SimulatedWorkers:
    """Workers on so many machines, one on each. work: {name: Work}. load: seconds until a network is loaded.

    deaths: a second, of each worker, at random. back: seconds until a dead worker is replaced, on the same machine.
    scripted: {(name, chunk): times}: that chunk takes its worker with it, so often, halfway.
    """

    machines: int
    work: dict
    load: float = 0.0
    deaths: float = 0.0
    back: float = 0.0
    seed: int = 0
    scripted: dict = field(default_factory=dict)
    taken: dict = field(default_factory=dict)

    def __post_init__(self):
        self.clock, self.chance = 0.0, random.Random(self.seed)
        self.numbers, self.order = count(1), count()
        # (time, order, what happens): a heap, in which equal times keep their order.
        self.events, self.ready, self.busy = [], {}, {}
        self.loaded = {}
        # What was seen: (worker's machine, name) of each beginning; chunks made, by name; seconds that came to nothing.
        self.begun, self.made = [], defaultdict(list)
        self.lost = self.died = 0
        for machine in range(self.machines):
            self.arrive(f"machine {machine}")

    def at(self, seconds, act, *arguments):
        heapq.heappush(self.events, (self.clock + seconds, next(self.order), act, arguments))

    def arrive(self, place):
        worker = Worker(next(self.numbers), place)
        self.ready[worker.number] = worker

    def idle(self):
        return list(self.ready.values())

    def begin(self, worker, name):
        del self.ready[worker.number]
        self.begun.append((worker.place, name))
        if self.taken.get(name, 0):
            self.taken[name] -= 1
            self.at(1.0, self.end, worker, Ended.TAKEN)
            return
        load = 0.0 if worker.number in self.loaded else self.load
        self.loaded[worker.number] = True
        death = self.chance.expovariate(self.deaths) if self.deaths else float("inf")
        self.next_chunk(worker, name, self.clock + death, load)

    def next_chunk(self, worker, name, death, load=0.0):
        work = self.work[name]
        if work.fails:
            return self.at(load, self.end, worker, Ended.FAILED)
        if work.done == len(work.chunks):
            return self.at(load, self.end, worker, Ended.FINISHED)
        seconds, script = load + work.chunks[work.done], (name, work.done)
        if self.scripted.get(script, 0):
            self.scripted[script] -= 1
            self.at(seconds / 2, self.die, worker, seconds / 2)
        elif self.clock + seconds > death:
            self.at(death - self.clock, self.die, worker, death - self.clock)
        else:
            self.at(seconds, self.finish_chunk, worker, name, death)

    def finish_chunk(self, worker, name, death):
        self.made[name].append(self.work[name].done)
        self.work[name].done += 1
        self.next_chunk(worker, name, death)

    def die(self, worker, lost):
        self.lost += lost
        self.died += 1
        self.at(self.back, self.arrive, worker.place)
        return Event(worker, Ended.LOST, "killed")

    def end(self, worker, ended):
        self.ready[worker.number] = worker
        return Event(worker, ended, "an error" if ended is Ended.FAILED else "")

    def wait(self, seconds):
        """The next thing that happens, or the time, whichever is first."""
        until = float("inf") if seconds is None else self.clock + seconds
        while self.events and self.events[0][0] <= until:
            self.clock, _, act, arguments = heapq.heappop(self.events)
            event = act(*arguments)
            if event is not None:
                return [event]
            if act == self.arrive:
                return []
        assert until < float("inf"), "nothing happens any more"
        self.clock = until
        return []

    def now(self):
        return self.clock

    def progress(self, name):
        return self.work[name].done

    def left(self, task):
        work = self.work[task.name]
        return sum(work.chunks[work.done :])
