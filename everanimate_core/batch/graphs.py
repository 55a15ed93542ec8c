"""Jobs that are one graph with other inputs, each on a ComfyUI that the worker starts, watches and ends."""

import copy
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError, one_line
from ..remote.graph import Graph, set_input
from ..remote.headless import Headless, Host
from ..remote.run import run
from ..remote.server import Refused
from ..runs.store import ONE_WRITER, RunFailed, RunTaken
from .attempt import Lost, Say
from .jobs import Job
from .status import COMFYUI

# Inputs that say where something is written.
_RUN, _PREFIX = "run_name", "filename_prefix"


def changed(graph: Graph, job: Job, takes_fractions: Callable[[str, str], bool]) -> Graph:
    """The graph with the inputs that a line names, NODE.INPUT, and with results of its own.

    What the graph writes goes into a folder with the job's name, which its `run_name` and `filename_prefix` get in
    front. takes_fractions: see set_input.

    Raises InputError for an input that the graph has not and for a value that does not fit.
    """
    graph = copy.deepcopy(graph)
    for name, value in job.values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if isinstance(value, dict | list) or value is None:
            raise InputError(name, "must be text, a number, or true or false", "", text)
        set_input(graph, f"{name}={text}", takes_fractions)
    for node in graph.values():
        inputs = node["inputs"]
        if isinstance(inputs.get(_RUN), str):
            inputs[_RUN] = f"{job.name}/{inputs[_RUN]}".rstrip("/")
        if isinstance(inputs.get(_PREFIX), str):
            # Beside its runs, which have a folder for themselves.
            inputs[_PREFIX] = f"{COMFYUI}/{job.name}/{inputs[_PREFIX].removeprefix(f'{COMFYUI}/')}"
    return graph


class GraphJobs:
    """An engine that makes jobs by a graph on a ComfyUI of its own; see batch.attempt.Engine.

    What the graph writes goes to `root`, whichever worker runs it: a job goes on where the attempt before it ended.
    inputs: the folder from which the graph's files are seen.
    """

    def __init__(self, graph: Graph, host: Host, root: Path, inputs: Path):
        self.graph, self.host, self.root, self.inputs = graph, host, root, inputs
        self.log = root / f"comfyui-{socket.gethostname()}-{os.getpid()}.log"
        self.comfyui: Headless | None = None

    def make(self, job: Job, say: Say) -> list[Path]:
        """Run the graph for a job. Raises RunFailed for what fails in it, RunTaken where another one makes it, and Lost
        when ComfyUI died."""
        comfyui = self.started()
        try:
            files = run(changed(self.graph, job, comfyui.server.takes_fractions), comfyui.server, say)
        except RunFailed as failed:
            # The ComfyUI of a worker that was killed lives for a moment longer.
            if ONE_WRITER in str(failed):
                raise RunTaken("a run", ONE_WRITER, "", one_line(failed)) from failed
            raise
        except Refused:
            raise
        except ConnectionError as error:
            self.close()
            raise Lost(f"ComfyUI died: {comfyui.last_line()}") from error
        return [self.root / file for file in files]

    def started(self) -> Headless:
        """The ComfyUI of this worker, started if there is none that lives."""
        if self.comfyui is None or not self.comfyui.alive:
            self.close()
            self.comfyui = Headless(self.host, self.root, self.inputs, self.log)
            try:
                self.comfyui.wait()
            except BaseException:
                self.close()
                raise
        return self.comfyui

    def close(self) -> None:
        """End the ComfyUI."""
        if self.comfyui is not None:
            self.comfyui.close()
        self.comfyui = None
