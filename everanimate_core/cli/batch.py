"""`everanimate batch`: many jobs, on all GPUs of a Ray cluster."""

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

import tyro

from ..batch.attempt import Engine
from ..batch.dispatch import Ended, Event, Task, dispatch
from ..batch.graphs import GraphJobs, changed
from ..batch.jobs import EXAMPLE, Job, read_jobs
from ..batch.ray_workers import RayWorkers, cluster, ray_or_complain
from ..batch.records import Record, forget_record, inputs_of, is_done, read_record, write_list, write_record
from ..batch.status import progress, share_left, statuses, table
from ..errors import InputError, one_line
from ..remote.graph import Graph, read_graph
from ..remote.headless import Host
from ..runs.store import RunFailed
from .batch_jobs import OwnCommands, in_line, task_of
from .command import Command
from .options import option

BELOW_HELP = f"""\
A line of JOBS.jsonl is a JSON object: the options of `everanimate animate` by name, and a name for the job.

    {EXAMPLE}

"command": "colour" or "train precompute" takes the options of that command. Paths are relative to the folder of
JOBS.jsonl. A job makes NAME.mp4, and keeps finished chunks in NAME.run. With --engine comfyui, a line says beside the
name which inputs to set in the graph: {{"name": "dance", "LoadImage.image": "me.png", "EverAnimateAnimate.seed": 7}}.
Files that the graph names are relative to the folder of JOBS.jsonl, too. Results are in ROOT/everanimate/NAME.

The same command again makes only what is missing. `everanimate batch status ROOT` says how far it is.

A cluster by hand, in three lines (the last one shows what it has):

    first machine:      ray start --head --port 6379
    each other one:     ray start --address FIRST:6379
    first machine:      ray status

Then run the command on the first machine with --address auto. All machines need the same everanimate, Python and Ray,
and share one folder, at the same path, with the jobs' files, the models and ROOT. A worker computes on one thread
besides its GPU, unless OMP_NUM_THREADS was set before `ray start`. On equal GPUs, drivers and packages, results are
equal bit for bit, however often a job was begun anew. Another kind of GPU rounds otherwise: its video is not equal, and
that of a job which began on one kind and went on with another is equal to neither. Whoever reaches the ports of a Ray
cluster can run anything on it: keep it in a network of your own, or give it a token (ray get-auth-token --help).
"""


@dataclass(frozen=True)
class Options:
    """Make many animations, one at a time on each GPU of this machine or of all machines of a Ray cluster."""

    jobs: tyro.conf.Positional[option(Path, "The jobs, one JSON object a line; see below.", "JOBS.jsonl")]
    out: option(Path, "Folder of the results, which all machines share.", "ROOT")
    address: option(
        str | None,
        "The Ray cluster: auto for the one that this machine is part of, or HOST:PORT.",
        "ADDRESS",
        "a cluster of this machine alone, which ends with the command",
    ) = None
    gpus_per_job: option(
        float,
        "GPUs for each worker. 0.5 puts two workers on a GPU. 0 is for machines without a GPU: CPUs compute.",
        "GPUS",
        1.0,
    ) = 1.0
    engine: option(
        Literal["diffusers", "comfyui"],
        "What makes the jobs: diffusers = this program, comfyui = a graph in ComfyUIs that it starts.",
        None,
        "diffusers",
    ) = "diffusers"
    graph: option(Path | None, "The graph of all jobs, in API format, for --engine comfyui.", "FILE", "none") = None
    comfyui: option(Path | None, "Folder of ComfyUI, with main.py, for --engine comfyui.", "PATH", "none") = None
    python: option(str | None, "The Python that ComfyUI runs in.", "EXE", "the one of this command") = None
    comfyui_arguments: option(
        str, 'More arguments of ComfyUI, in one text: --comfyui-arguments="--cpu --lowvram".', "TEXT", "none"
    ) = ""


def main(options: Options, command: Command) -> None:
    """Make the jobs, or what is missing of them. All lines are checked before anything starts.

    Raises InputError for what cannot serve, ConnectionError for a cluster that is not there, RunFailed when a job
    failed.
    """
    ray_or_complain()
    _check_together(options)
    jobs = read_jobs(options.jobs)
    root = Path(os.path.abspath(options.out))
    if root.exists() and not root.is_dir():
        raise InputError("out", "must be a folder", "results", f"the file {one_line(root)}")
    graph = None if options.graph is None else read_graph(options.graph)
    engine: Callable[[], Engine] = partial(OwnCommands, root)
    if graph is not None:
        engine = partial(GraphJobs, graph, _host(options), root, jobs[0].folder)
    tasks = {job.name: _task(job, graph, root) for job in jobs}
    root.mkdir(parents=True, exist_ok=True)
    write_list(root, jobs)
    more = () if graph is None else (graph,)
    inputs = {job.name: inputs_of(job, *more) for job in jobs}
    missing = [job for job in jobs if not is_done(root, job.name, inputs[job.name])]
    command.say(f"{len(jobs)} jobs, {len(jobs) - len(missing)} of them finished already")
    command.kept = "finished chunks are kept"
    if missing:
        _make(options, missing, [tasks[job.name] for job in missing], inputs, engine, root, command)
    rows = [row for row in statuses(root) if row.name in inputs]
    for line in table(rows):
        command.say(line)
    failed = sum(bool(row.error) for row in rows)
    if failed:
        raise RunFailed(f"{failed} of {len(jobs)} jobs failed; the same command tries them again.")


def _check_together(options: Options) -> None:
    """Raise InputError for options that need each other, or exclude each other."""
    gpus = options.gpus_per_job
    # What Ray can divide.
    if gpus < 0 or not (gpus.is_integer() if gpus >= 1 else gpus == round(gpus, 4)):
        rule = "must be 0, a part of a GPU with at most 4 decimals, or a whole number"
        raise InputError("gpus_per_job", rule, "0.5, 1, 2", gpus)
    for name, needed in (("graph", True), ("comfyui", True), ("python", False), ("comfyui_arguments", False)):
        value = getattr(options, name)
        if value and options.engine != "comfyui":
            raise InputError(name, "must be left out without --engine comfyui", "", one_line(value))
        if needed and not value and options.engine == "comfyui":
            raise InputError(name, "must be given with --engine comfyui", "", "none")
    if options.comfyui is not None and not (options.comfyui / "main.py").is_file():
        raise InputError("comfyui", "must be a folder with ComfyUI's main.py", "", one_line(options.comfyui))


def _host(options: Options) -> Host:
    """How a worker starts its ComfyUI. InputError for arguments that cannot be told apart."""
    text = options.comfyui_arguments
    try:
        arguments = tuple(shlex.split(text))
    except ValueError as error:
        rule, got = "must be written as on a command line", f"{one_line(text)} ({error})"
        raise InputError("comfyui_arguments", rule, "--cpu --lowvram", got) from error
    folder, python = Path(os.path.abspath(cast(Path, options.comfyui))), options.python or sys.executable
    return Host(folder, python, arguments, os.environ.get("OMP_NUM_THREADS"))


def _task(job: Job, graph: Graph | None, root: Path) -> Task:
    """A job as it is dispatched; InputError, with the line, for one that cannot serve."""
    if graph is None:
        return task_of(job, root)
    with in_line(job):
        # Only the ComfyUI knows which inputs take fractions, and there is none yet.
        changed(graph, job, lambda kind, name: True)
    # Nobody knows how long a graph takes: the order of the file stays.
    return Task(job.name, 1)


def _make(
    options: Options,
    jobs: list[Job],
    tasks: list[Task],
    inputs: dict[str, str],
    engine: Callable[[], Engine],
    root: Path,
    command: Command,
) -> None:
    """Make these jobs on the cluster."""
    with cluster(options.address) as ray:
        work = {job.name: (job, inputs[job.name]) for job in jobs}
        workers = RayWorkers(ray, engine, root, work, options.gpus_per_job, len(jobs))
        for job in jobs:
            forget_record(root, job.name)

        def tell(event: Event, task: Task) -> None:
            job = work[task.name][0]
            if event.ended is Ended.FAILED and read_record(root, task.name) is None:
                # The worker that gave up could not write it any more.
                write_record(root, task.name, Record(job.line, inputs[task.name], event.said))
            said = f": {one_line(event.said)}" if event.said else ""
            command.say(f"{one_line(task.name)} (line {job.line}) {event.ended.value}{said}")

        dispatch(tasks, workers, partial(progress, root), tell, lambda task: task.length * share_left(root, task.name))
        workers.close()
