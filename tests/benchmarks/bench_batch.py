"""10 000 animations on 256 workers, of which 1 % die in an hour: what is lost, and how long it takes beside the ideal.

    python tests/benchmarks/bench_batch.py [--jobs 10000] [--workers 256] [--deaths 0.01] [--seeds 3]

The dispatch is the one of `everanimate batch`, under a simulated clock. A job is a dance of 10 seconds to 3 minutes, by
chance, at 25 frames a second, in chunks of 77 frames that share 4. How long a chunk takes at the real size is not known
to us: three guesses. A worker loads its network for 3 minutes, and one that died is back after 10. The ideal knows no
deaths and no loading: all work, divided evenly, or the longest job.
"""

import argparse
import random
import sys
from pathlib import Path
from statistics import mean

sys.path.append(str(Path(__file__).resolve().parents[1]))
from simulated_workers import SimulatedWorkers, Work

from everanimate_core.batch.dispatch import Ended, Task, dispatch
from everanimate_core.plan import ChunkPlan

LOAD, BACK, HOUR = 180.0, 600.0, 3600.0
MINUTES = (1, 5, 20)
WAYS = {
    "as it is": {},
    "in the order of the list": {"ordered": False},
    "jobs begun anew after a death": {"kept": False},
}


def simulated(options, minutes, seed, ordered=True, kept=True):
    """One batch: (hours, hours of the ideal, share of work that was lost, deaths, jobs that were given up)."""
    chance = random.Random(seed)
    counts = [ChunkPlan(chance.randint(250, 4500), 77, 4).chunk_count for _ in range(options.jobs)]
    seconds = 60.0 * minutes
    # What is not kept is one piece.
    pieces = [[seconds] * count if kept else [seconds * count] for count in counts]
    work = {str(number): Work(chunks) for number, chunks in enumerate(pieces)}
    workers = SimulatedWorkers(options.workers, work, LOAD, options.deaths / HOUR, BACK, seed)
    tasks = [Task(name, job.seconds if ordered else 1.0) for name, job in work.items()]
    results = dispatch(tasks, workers, workers.progress, left=workers.left if ordered else lambda task: task.length)
    total, longest = sum(counts) * seconds, max(counts) * seconds
    ideal = max(total / options.workers, longest)
    failed = sum(result.ended is Ended.FAILED for result in results)
    return workers.clock / HOUR, ideal / HOUR, workers.lost / total, workers.died, failed


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", type=int, default=10_000)
    options.add_argument("--workers", type=int, default=256)
    options.add_argument("--deaths", type=float, default=0.01, help="of a worker, an hour")
    options.add_argument("--seeds", type=int, default=3)
    options = options.parse_args()
    print("| a chunk takes | way | ideal | makespan | beside the ideal | work lost | deaths | given up |")
    print("|---|---|---|---|---|---|---|---|")
    for minutes in MINUTES:
        for way, how in WAYS.items():
            runs = [simulated(options, minutes, seed, **how) for seed in range(options.seeds)]
            hours, ideal, lost, died, failed = map(mean, zip(*runs, strict=True))
            print(
                f"| {minutes} min | {way} | {ideal:.1f} h | {hours:.1f} h | {100 * (hours / ideal - 1):+.2f} % "
                f"| {100 * lost:.3f} % | {died:.0f} | {failed:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
