"""Jobs that are a graph with other inputs; and on a real ComfyUI, which is killed once.

COMFYUI_PATH and COMFYUI_PYTHON name the ComfyUI, as for the tests of tests/host.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from batch_parts import attempts, rows, write_jobs
from cli_parts import ROOT, finish, start
from ray_cluster import cluster, needs_ray
from refusals import refusal
from run_parts import video_of
from safetensors.torch import load_file
from torch import equal

from everanimate_core.batch import graphs
from everanimate_core.batch.attempt import Attempt, attempt
from everanimate_core.batch.dispatch import Ended
from everanimate_core.batch.graphs import GraphJobs, changed
from everanimate_core.batch.jobs import Job
from everanimate_core.batch.status import statuses
from everanimate_core.errors import InputError
from everanimate_core.remote.graph import read_graph
from everanimate_core.remote.headless import Host
from everanimate_core.remote.server import Refused
from everanimate_core.runs.store import RunFailed

TOY_WORLD = ROOT / "workflows" / "api" / "toy_world.json"
COMFYUI = os.environ.get("COMFYUI_PATH")


def job(**values):
    return Job(3, "dance", values, Path("/jobs"))


def whole(kind, name):
    """No input takes fractions."""
    return False


def test_a_line_sets_inputs_and_everything_goes_into_a_folder_of_its_name():
    graph = read_graph(TOY_WORLD)
    before = json.dumps(graph)
    values = {"EverAnimateAnimate.seed": 7, "1.frames": 50, "Animate Long Video.resume": False}
    made = changed(graph, job(**values), whole)
    assert json.dumps(graph) == before
    assert (made["2"]["inputs"]["seed"], made["1"]["inputs"]["frames"], made["2"]["inputs"]["resume"]) == (7, 50, False)
    assert made["2"]["inputs"]["run_name"] == "dance/toy_world"
    assert made["8"]["inputs"]["filename_prefix"] == "everanimate/dance/toy_world_comparison"
    # Only these are others.
    for node, name in (("2", "seed"), ("1", "frames"), ("2", "resume"), ("2", "run_name"), ("8", "filename_prefix")):
        made[node]["inputs"][name] = graph[node]["inputs"][name]
    assert made == graph


def test_what_is_saved_elsewhere_goes_there_too():
    graph = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "stills/one"}}}
    assert changed(graph, job(), whole)["1"]["inputs"]["filename_prefix"] == "everanimate/dance/stills/one"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"seed": 7}, "a change must be written NODE.INPUT=VALUE (KSampler.seed=7); got seed=7."),
        ({"2.seed": "x"}, "seed of Animate Long Video (node 2) must be a number (0); got x."),
        ({"2.seed": 1.5}, "seed of Animate Long Video (node 2) must be a whole number (0); got 1.5."),
        ({"2.resume": 1}, "resume of Animate Long Video (node 2) must be true or false; got 1."),
        ({"2.seed": None}, "2.seed must be text, a number, or true or false; got null."),
        ({"2.seed": [1]}, "2.seed must be text, a number, or true or false; got [1]."),
    ],
)
def test_what_the_graph_does_not_take_is_refused(values, said):
    assert refusal(changed, read_graph(TOY_WORLD), job(**values), whole, kind=InputError) == said


class Up:
    """A ComfyUI that is up, as far as no graph is run on it."""

    alive = True
    server = None

    def last_line(self):
        return "Killed"

    def close(self):
        self.alive = False


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """engine(error) -> a GraphJobs on which every graph ends with this error."""

    def made(error):
        def fail(*_):
            raise error

        monkeypatch.setattr(graphs, "run", fail)
        monkeypatch.setattr(graphs, "changed", lambda *_: {})
        found = GraphJobs({}, Host(tmp_path, sys.executable), tmp_path, tmp_path)
        found.comfyui = Up()
        monkeypatch.setattr(found, "started", lambda: found.comfyui)
        return found

    # The server is not asked for anything.
    monkeypatch.setattr(Up, "server", SimpleNamespace(takes_fractions=None))
    return made


def test_how_a_graph_can_end(engine, tmp_path):
    taken = "Animate Long Video (node 2) failed: Animate Long Video: a run is written by one program at a time (...)"
    ends = {
        RunFailed("Load Toy World (node 1) failed"): (Ended.FAILED, "Load Toy World (node 1) failed", True),
        RunFailed(taken): (Ended.TAKEN, f"a run is written by one program at a time; got {taken}.", True),
        ConnectionError("went away"): (Ended.LOST, "ComfyUI died: Killed", False),
        Refused("404 from /prompt", ""): (Ended.FAILED, "404 from /prompt", True),
    }
    for error, (ended, said, lives) in ends.items():
        found = engine(error)
        assert attempt(found, job(), tmp_path, "") == Attempt(ended, said)
        # One that is dead is started again for the next job.
        assert (found.comfyui is not None) == lives


# --- on a real ComfyUI ------------------------------------------------------------------------------------------------

needs_comfyui = pytest.mark.skipif(
    not COMFYUI or sys.platform != "linux", reason="needs COMFYUI_PATH and COMFYUI_PYTHON, and /proc"
)


def base_folder(path):
    """A base directory for ComfyUI with this pack in it."""
    for name in ("custom_nodes", "models", "input"):
        (path / name).mkdir(parents=True)
    (path / "custom_nodes" / "comfyui-everanimate").symlink_to(ROOT, target_is_directory=True)
    return path


def line(name, frames, seed):
    return {"name": name, "Load Toy World.frames": frames, "EverAnimateAnimate.seed": seed}


def servers(root):
    """The processes that are a ComfyUI which writes to `root`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"main.py" in arguments[1:3] and os.fsencode(root) in arguments:
            found.append(int(path.parent.name))
    return found


def chunks(root, name):
    """{key: tensors} of the finished chunks of a job."""
    records = (root / "everanimate" / name / "toy_world" / "chunks").glob("[!.]*.json")
    return {path.stem: load_file(path.with_suffix(".safetensors")) for path in records}


@needs_ray
@needs_comfyui
def test_three_jobs_on_a_comfyui_that_is_killed_once(tmp_path):
    root, base = tmp_path / "results", base_folder(tmp_path / "base")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    lines = [line("one", 120, 1), line("two", 33, 2), line("three", 40, 3)]
    jobs, more = write_jobs(tmp_path / "jobs.jsonl", *lines), f"--cpu --disable-api-nodes --base-directory {base}"
    with cluster(1) as address:
        arguments = ["batch", str(jobs), "--out", str(root), "--address", address, "--gpus-per-job", "0"]
        arguments += ["--engine", "comfyui", "--graph", str(TOY_WORLD), "--comfyui", COMFYUI, "--python", python]
        process = start([*arguments, f"--comfyui-arguments={more}"])
        try:
            while len(chunks(root, "one")) < 2:
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            (server,) = servers(root)
            os.kill(server, signal.SIGKILL)
            code, said, complaints = finish(process)
        finally:
            process.kill()
        assert (code, complaints) == (0, "")
        assert servers(root) == []
    assert said.count("one (line 1) lost: ComfyUI died: ") == 1
    expected = {"one": ("finished", "4/4", ""), "two": ("finished", "1/1", ""), "three": ("finished", "2/2", "")}
    assert rows(said) == expected
    assert [(row.state, row.done) for row in statuses(root)] == [("finished", 4), ("finished", 1), ("finished", 2)]
    assert len(attempts(root, "one")) == 2
    files = sorted(path.name for path in (root / "everanimate" / "one").iterdir() if path.is_file())
    assert files == ["toy_world_00001_.mp4", "toy_world_comparison_00001_.mp4"]

    # The same as a run that nobody killed, on another ComfyUI.
    other = tmp_path / "other"
    other.mkdir()
    engine = GraphJobs(read_graph(TOY_WORLD), Host(Path(COMFYUI), python, tuple(more.split()), "1"), other, tmp_path)
    alone = Job(1, "one", {name: value for name, value in lines[0].items() if name != "name"}, tmp_path)
    assert attempt(engine, alone, other, "").ended is Ended.FINISHED
    engine.close()
    assert servers(other) == []
    found, undisturbed = chunks(root, "one"), chunks(other, "one")
    assert found.keys() == undisturbed.keys() and len(found) == 4
    for key, tensors in found.items():
        assert all(equal(tensor, undisturbed[key][name]) for name, tensor in tensors.items())
    # The files differ: a host writes into their tags what was there when the graph began.
    video = "everanimate/one/toy_world_00001_.mp4"
    assert equal(video_of(root / video)[0], video_of(other / video)[0])


@needs_ray
@needs_comfyui
def test_a_comfyui_ends_with_the_command_that_is_killed_and_another_one_goes_on(tmp_path):
    root, base = tmp_path / "results", base_folder(tmp_path / "base")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    jobs = write_jobs(tmp_path / "jobs.jsonl", line("one", 120, 1))
    with cluster(1) as address:
        arguments = ["batch", str(jobs), "--out", str(root), "--address", address, "--gpus-per-job", "0"]
        arguments += ["--engine", "comfyui", "--graph", str(TOY_WORLD), "--comfyui", COMFYUI, "--python", python]
        arguments += [f"--comfyui-arguments=--cpu --disable-api-nodes --base-directory {base}"]
        process = start(arguments)
        while not chunks(root, "one"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.kill()
        process.communicate()
        # At once: the run may still be held by the ComfyUI that is about to end.
        code, said, complaints = finish(start(arguments))
        assert (code, complaints) == (0, "")
        assert rows(said) == {"one": ("finished", "4/4", "")}
        assert servers(root) == []
    assert len(attempts(root, "one")) >= 2
