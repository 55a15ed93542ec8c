"""`everanimate batch` as far as no worker is needed. tests/batch/test_ray_workers.py starts them."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from batch_parts import TOY, toy, write_jobs
from cli_parts import DATA, ROOT, unboxed
from ray_cluster import needs_ray

from everanimate_core.batch.attempt import attempt
from everanimate_core.batch.dispatch import Ended
from everanimate_core.batch.jobs import Job, read_jobs
from everanimate_core.batch.records import read_record, write_list
from everanimate_core.cli.batch import BELOW_HELP
from everanimate_core.cli.batch_jobs import OwnCommands, options_of, task_of

GPUS = "--gpus-per-job: must be 0, a part of a GPU with at most 4 decimals, or a whole number (0.5, 1, 2)"
TOY_WORLD = ROOT / "workflows" / "api" / "toy_world.json"


def job(line, folder=DATA):
    return Job(1, line["name"], {name: value for name, value in line.items() if name != "name"}, folder)


# --- what is refused before anything starts ---------------------------------------------------------------------------


@needs_ray
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (toy("b", 9, frame=3), "line 2: frame must be an option of the command (reference, "),
        (toy("b", "many"), "line 2: frames must be a whole number; got many."),
        (toy("b", 9, out="x.mp4"), "line 2 must leave out 'out': results go to the --out of the batch; got 'x.mp4'."),
        (toy("b", 9, run="x"), "line 2 must leave out 'run': results go to the --out of the batch; got 'x'."),
        (toy("b", 9, command="demo"), "line 2 must have a command that a batch can run (animate, colour, train prec"),
        (toy("b", 9, command=["animate"]), "line 2 must have a command that a batch can run (animate, colour, train "),
        ({"name": "b"}, "line 2: reference must be given; got none."),
        (toy("b", 9, overlap=8), "line 2: overlap must lie between 0 and chunk_frames - 2 (0..7); got 8."),
        (toy("b", 9) | {"width": 33}, "line 2: width must be a multiple of 16 (832); got 33."),
        (toy("A", 9), "line 2 must have a name of its own; got 'A', which line 1 has."),
        ({"name": "b", "command": "colour", "pose": "a.mp4"}, "line 2: pose must be an option of the command (lineart"),
    ],
)
def test_a_line_that_cannot_serve(command, tmp_path, line, said):
    jobs = write_jobs(tmp_path / "jobs.jsonl", toy("a", 9), line)
    code, nothing, complaints = command(["batch", str(jobs), "--out", str(tmp_path / "results")])
    assert (code, nothing) == (2, "")
    assert complaints.startswith(said)
    assert not (tmp_path / "results").exists()


@needs_ray
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--graph", str(TOY_WORLD)], "--graph: must be left out without --engine comfyui; got "),
        (["--engine", "comfyui"], "--graph: must be given with --engine comfyui; got none."),
        (
            ["--engine", "comfyui", "--graph", str(TOY_WORLD)],
            "--comfyui: must be given with --engine comfyui; got none.",
        ),
        (
            ["--engine", "comfyui", "--graph", str(TOY_WORLD), "--comfyui", str(DATA)],
            "--comfyui: must be a folder with ComfyUI's main.py; got ",
        ),
        (["--python", "python3"], "--python: must be left out without --engine comfyui; got python3."),
        (["--comfyui-arguments=--cpu"], "--comfyui-arguments: must be left out without --engine comfyui; got --cpu."),
        *((["--gpus-per-job", gpus], f"{GPUS}; got {gpus}.") for gpus in ("-1.0", "1.5", "1e-05", "nan", "inf")),
    ],
)
def test_options_that_need_each_other(command, tmp_path, more, said):
    jobs = write_jobs(tmp_path / "jobs.jsonl", toy("a", 9))
    code, nothing, complaints = command(["batch", str(jobs), "--out", str(tmp_path / "results"), *more])
    assert (code, nothing) == (2, "")
    assert complaints.startswith(said)
    assert not (tmp_path / "results").exists()


@pytest.fixture
def by_a_graph(command, tmp_path):
    """by_a_graph(lines, *more) -> what is complained of where these jobs are to be made by a graph."""
    host = tmp_path / "ComfyUI"
    host.mkdir()
    (host / "main.py").touch()

    def call(lines, *more):
        jobs, out = write_jobs(tmp_path / "jobs.jsonl", *lines), str(tmp_path / "results")
        graph = ["--engine", "comfyui", "--graph", str(TOY_WORLD), "--comfyui", str(host)]
        code, said, complaints = command(["batch", str(jobs), "--out", out, *graph, *more])
        assert (code, said, (tmp_path / "results").exists()) == (2, "", False)
        return complaints

    return call


@needs_ray
def test_an_input_that_the_graph_has_not(by_a_graph):
    complaints = by_a_graph([{"name": "a", "2.seed": 1}, {"name": "b", "2.sed": 1}])
    assert complaints.startswith("line 2: an input of Animate Long Video (node 2) must be one of these (")


@needs_ray
def test_arguments_of_comfyui_that_cannot_be_told_apart(by_a_graph):
    assert by_a_graph([{"name": "a"}], "--comfyui-arguments=--cpu '--lowvram") == (
        "--comfyui-arguments: must be written as on a command line (--cpu --lowvram); "
        "got --cpu '--lowvram (No closing quotation).\n"
    )


def test_without_ray_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['ray'] = None; from everanimate_core.cli.main import main; "
        f"sys.exit(main(['batch', 'jobs.jsonl', '--out', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("everanimate batch needs Ray (pip install 'everanimate[batch]'); got ")
    assert done.stderr.count("\n") == 1


def test_a_ray_that_does_not_start_in_time_is_said_in_words(command, tmp_path, monkeypatch):
    def init(*_, **__):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("everanimate_core.cli.batch.ray_or_complain", lambda: None)
    monkeypatch.setattr("everanimate_core.batch.ray_workers.ray_or_complain", lambda: SimpleNamespace(init=init))
    jobs = write_jobs(tmp_path / "jobs.jsonl", toy("a", 9))
    code, said, complaints = command(["batch", str(jobs), "--out", str(tmp_path / "root")])
    assert (code, said) == (1, "1 jobs, 0 of them finished already\n")
    assert complaints == "Ray must start on this machine; got The current node timed out during startup.\n"


def test_the_help_ends_with_what_a_line_is_and_how_a_cluster_is_made(command):
    code, said, complaints = command(["batch", "--help"])
    assert (code, complaints) == (0, "")
    assert said.endswith(f"\n\n{BELOW_HELP}")
    assert "a cluster of this machine alone, which ends with the command" in unboxed(said)


# --- jobs that are commands of ours -----------------------------------------------------------------------------------


def test_a_model_beside_the_list_is_found_and_what_is_embedded_is_not_looked_for(tmp_path):
    (tmp_path / "Wan").mkdir()
    (tmp_path / "toy").mkdir()

    def model(name):
        return options_of(job({**toy("a", 9), "model": name}, tmp_path), tmp_path)[1].model

    assert (model("Wan"), model("toy"), model("none")) == (str(tmp_path / "Wan"), "toy", "none")


def test_the_length_of_a_job_is_its_work(tmp_path):
    def length(**values):
        return task_of(job({**TOY, "name": "a", "frames": 50, **values}), tmp_path).length

    one = length()
    assert one == 50 * 2 * 32 * 16
    assert length(cfg=3) == length(steps=4) == length(candidates=2) == length(width=64) == 2 * one
    # 200 frames of the pose video, which its header says.
    assert length(frames=0) == pytest.approx(4 * one, rel=0.01)
    assert length(frames=0, pose="none.mp4") == 0
    # What the model was trained at is meant where nothing is said.
    said = {name: value for name, value in TOY.items() if name not in ("steps", "width", "height", "chunk_frames")}
    assert task_of(job({**said, "name": "a", "frames": 50}), tmp_path).length == 50 * 4 * 64 * 64


def test_jobs_with_the_same_network_are_known(tmp_path):
    def network(**values):
        return task_of(job({**TOY, "name": "a", "frames": 50, **values}), tmp_path).network

    assert network() == network(steps=4, seed=5, prompt="x")
    others = {"model": "toy-baseline"}, {"lora": "a.safetensors"}, {"dtype": "bfloat16"}
    assert len({network(), *(network(**values) for values in others)}) == 4
    line = {"name": "a", "command": "colour", "lineart": "pose.mp4", "reference": "reference.jpg", "frames": 81}
    colours = {}, {"sketch": "a.safetensors"}, {"memory_file": "a.safetensors"}
    assert len({network(), *(task_of(job(line | values), tmp_path).network for values in colours)}) == 4


def test_an_error_names_the_option_as_the_command_line_does(tmp_path):
    line = toy("a", 9, pose="none.mp4")
    ended = attempt(OwnCommands(tmp_path), job(line), tmp_path, "")
    assert (ended.ended, ended.said) == (
        Ended.FAILED,
        "--pose: must be a readable video; got none.mp4 (No such file or directory).",
    )


def test_a_coloured_animation_and_a_training_set(tmp_path, new_accelerator):
    engine = OwnCommands(tmp_path)
    lines = [
        {"name": "line art", "command": "colour", "lineart": "pose.mp4", "reference": "reference.jpg", "steps": 2}
        | {"fuse-from": 1, "frames": 9, "width": 32, "height": 32, "window_frames": 9, "overlap": 5},
        {"name": "films", "command": "train precompute", "data": "toy", "films": 2, "model": "toy"}
        | {"chunk_frames": 9, "candidates": 6, "width": 32, "height": 16},
    ]
    for line in lines:
        ended = attempt(engine, job(line), tmp_path, "")
        assert (ended.ended, ended.said) == (Ended.FINISHED, "")
    assert read_record(tmp_path, "line art").files == ("line art.mp4",)
    assert read_record(tmp_path, "films").files == ("films.set",)
    assert (tmp_path / "line art.run" / "takes" / "00001.json").exists()
    assert len(list((tmp_path / "films.set").glob("0*.safetensors"))) == 2
    assert (tmp_path / "films.set" / "set.json").is_file()


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_of_a_folder(command, tmp_path):
    write_list(tmp_path, read_jobs(write_jobs(tmp_path / "jobs.jsonl", toy("a", 9), toy("b", 9, pose="none.mp4"))))
    assert command(["batch", "status", str(tmp_path)]) == (
        0,
        "job  state  chunks  left\na    waits  -       -\nb    waits  -       -\n2 jobs: 2 waits\n",
        "",
    )
    for name, values in (("a", toy("a", 9)), ("b", toy("b", 9, pose="none.mp4"))):
        attempt(OwnCommands(tmp_path), job(values), tmp_path, "")
        assert read_record(tmp_path, name)
    code, said, complaints = command(["batch", "status", str(tmp_path)])
    assert (code, complaints) == (1, "1 of 2 jobs failed.\n")
    assert said.splitlines()[-1] == "2 jobs: 1 finished, 1 failed"


def test_status_of_no_batch(command, tmp_path):
    code, said, complaints = command(["batch", "status", str(tmp_path)])
    assert (code, said) == (2, "")
    assert complaints == f"ROOT: must be the --out of a batch; got {Path(tmp_path)}.\n"
