"""`everanimate train` as its users start it: one process, two processes, killed and started again; and what it says."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from cli_parts import ROOT, unboxed
from run_parts import posix_only
from safetensors.torch import load_file, save_file

from everanimate_core.cli import main as cli
from everanimate_core.cli.train import Options, chosen_recipe
from everanimate_core.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("new_accelerator")
SIZES = ["--width", "32", "--height", "32", "--chunk-frames", "9", "--candidates", "6"]
RECIPE = ["--model", "toy", "--rank", "4", "--rate", "1e-3", "--precision", "no"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A training set of the toy's world, made by the command."""
    out = tmp_path_factory.mktemp("data") / "set"
    command = ["train", "precompute", "--data", "toy", "--films", "4", "--model", "toy", "--out", str(out), *SIZES]
    assert cli.main(command) == cli.DONE
    return out


def train(data, out, *more):
    return ["train", "--data", str(data), "--out", str(out), *RECIPE, *more]


def environment():
    return {**os.environ, "ACCELERATE_USE_CPU": "true"}


def result(out):
    return (out / "losses.csv").read_text(), load_file(out / "state.safetensors")


def furthest(one, other):
    """The largest difference between two states' tensors."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@posix_only
def test_a_training_that_was_killed_goes_on_bit_for_bit(data, tmp_path):
    arguments = ["--stage", "2", "--from-scratch", "--batch", "2", "--save-every", "4"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "everanimate_core", *train(data, killed, *arguments, "--steps", "100000")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    journal = killed / "losses.csv"
    while not journal.exists() or journal.read_text().count("\n") < 8:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    rows = journal.read_text().count("\n") - 1
    assert 7 <= rows < 40 and (killed / "state.safetensors").exists()

    assert cli.main(train(data, killed, *arguments, "--steps", "41", "--resume")) == cli.DONE
    assert cli.main(train(data, whole, *arguments, "--steps", "41")) == cli.DONE
    losses, state = result(whole)
    again, resumed = result(killed)
    assert again == losses
    assert furthest(resumed, state) == 0


def test_two_processes_train_as_one_with_the_same_batch(data, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "everanimate_core"]
    command = launch + train(data, two, "--stage", "2", "--from-scratch", "--batch", "2", "--steps", "5")
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 5 of 5") == 1

    assert cli.main(train(data, one, "--stage", "2", "--from-scratch", "--batch", "2", "--steps", "5")) == cli.DONE
    losses, state = result(one)
    _, shared = result(two)
    assert furthest(shared, state) < 1e-4
    assert (
        max(float(value.abs().max()) for name, value in state.items() if ".lora_B." in name and "weight." in name)
        > 1e-3
    )
    for row, other in zip(losses.splitlines()[1:], result(two)[0].splitlines()[1:], strict=True):
        assert float(row.split(",")[1]) == pytest.approx(float(other.split(",")[1]), abs=1e-4)


def test_two_processes_stop_together_and_keep_the_state(data, tmp_path):
    """The bad record comes to one of them; neither waits for the other, and both would say the same.

    The launcher ends the other one as soon as the first has stopped, so that it does not always get to say it.
    """
    own, out = tmp_path / "set", tmp_path / "out"
    shutil.copytree(data, own)
    assert cli.main(train(own, out, "--stage", "1", "--batch", "2", "--steps", "1")) == cli.DONE
    state = (out / "state.safetensors").read_bytes()
    record = own / "000002.safetensors"
    save_file({**load_file(record), "target": torch.full((1, 16, 3, 4, 4), 1e30)}, record, {"stamp": "s"})
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "everanimate_core"]
    command = launch + train(own, out, "--stage", "1", "--batch", "2", "--steps", "9", "--resume")
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("stopped after ")]
    assert said and set(said) == {said[0]} and "a set without 000002.safetensors" in said[0]
    assert (out / "state.safetensors").read_bytes() == state


KILLED = """
import os, signal, sys
# The state is written every time under one name, a LoRA once under its own.
replace, left = os.replace, [1 if sys.argv[1].startswith("lora") else 2]

def stop(source, destination):
    if str(destination).endswith(sys.argv[1]):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, destination)

os.replace = stop
from everanimate_core.cli.main import main
main(sys.argv[2:])
"""


@posix_only
@pytest.mark.parametrize("file", ["state.safetensors", "lora-000004.safetensors"])
def test_a_kill_in_the_middle_of_saving_leaves_the_last_good_state(data, tmp_path, file):
    out, whole = tmp_path / "out", tmp_path / "whole"
    arguments = ["--stage", "1", "--batch", "2", "--save-every", "2"]
    command = [sys.executable, "-c", KILLED, file, *train(data, out, *arguments, "--steps", "6")]
    assert subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True).returncode == -signal.SIGKILL
    assert list(out.glob(".everanimate-*.part.safetensors"))
    assert cli.main(train(data, out, *arguments, "--steps", "6", "--resume")) == cli.DONE
    assert cli.main(train(data, whole, *arguments, "--steps", "6")) == cli.DONE
    assert result(out)[0] == result(whole)[0] and furthest(result(out)[1], result(whole)[1]) == 0
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}


def test_both_stages_and_a_lora_for_comfyui(data, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    assert cli.main(train(data, one, "--stage", "1", "--steps", "2", "--sample-every", "2")) == cli.DONE
    lora = one / "lora-000002.safetensors"
    assert (one / "sample-000002.mp4").stat().st_size > 0
    more = ["--stage", "2", "--steps", "2", "--lora", str(lora), "--accumulate", "4", "--checkpointing"]
    assert cli.main(train(data, two, *more)) == cli.DONE
    assert capsys.readouterr().out.count("step 2 of 2: loss ") == 2
    converted = tmp_path / "comfyui.safetensors"
    assert cli.main(["lora", "convert", str(two / "lora-000002.safetensors"), str(converted)]) == cli.DONE
    assert "diffusion_model.blocks.4.ffn.2.lora_B.weight" in load_file(converted)
    assert cli.main(["lora", "inspect", str(converted)]) == cli.DONE
    assert '"layers": 50' in capsys.readouterr().out


GIVEN = ["--data", "DATA", "--model", "toy", "--out", "OUT"]
REFUSED = [
    (["--stage", "1", *GIVEN, "--model", "nowhere"], "--model: must be a folder or file that is there; got nowhere."),
    (["--stage", "1", *GIVEN, "--data", "OUT"], "--data: must be a folder that `everanimate train precompute` made; "),
    (["--stage", "1", *GIVEN, "--batch", "0"], "--batch: must be between 1 and 1000000 (8); got 0."),
    (["--stage", "1", *GIVEN, "--steps", "0"], "--steps: must be between 1 and 100000000 (4000); got 0."),
    (["--stage", "1", *GIVEN, "--lora", "OUT"], "a LoRA is read from a .safetensors file"),
    (
        ["--stage", "2", *GIVEN],
        "--lora: must be stage 1's for stage 2, which goes on from there (one/lora-004000.safetensors, or --from-scr",
    ),
    (["--stage", "2", *GIVEN, "--resume"], "--lora: must be stage 1's for stage 2, which goes on from there ("),
    (["--stage", "2", *GIVEN, "--augmented", "1.5"], "--augmented: must be between 0.0 and 1.0 (0.5); got 1.5."),
    (["--stage", "2", *GIVEN, "--augmented", "nan"], "--augmented: must be a number, not NaN or infinity (0.5); got"),
    (["--stage", "1", *GIVEN, "--rate", "nan"], "--rate: must be a number, not NaN or infinity (0.0001); got nan."),
    (["--stage", "1", *GIVEN, "--rate", "inf"], "--rate: must be a number, not NaN or infinity (0.0001); got inf."),
    (["--stage", "1", *GIVEN, "--rate=-inf"], "--rate: must be a number, not NaN or infinity (0.0001); got -inf."),
    (["--stage", "1", *GIVEN, "--rate", "0"], "--rate: must be above 0 (0.0001); got 0.0."),
    (["--stage", "1", *GIVEN, "--rate", "1e-400"], "--rate: must be above 0 (0.0001); got 0.0."),
    (["--stage", "1", *GIVEN, "--rate=-0.001"], "--rate: must be at least 0.0 (0.0001); got -0.001."),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_serve_is_refused_and_nothing_is_written(data, tmp_path, arguments, message, capsys):
    out = tmp_path / "out"
    places = {"DATA": str(data), "OUT": str(out)}
    assert cli.main(["train", *(places.get(argument, argument) for argument in arguments)]) == cli.REFUSED
    complaint = capsys.readouterr().err
    assert complaint.startswith(message) and complaint.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "rank", "perturbation"),
    [
        ([], 32, "released"),
        (["--recipe", "paper"], 128, "paper"),
        (["--recipe", "paper", "--rank", "16"], 16, "paper"),
        (["--perturbation", "light"], 32, "light"),
    ],
)
def test_a_recipe_has_a_name_and_what_is_given_goes_before_it(given, rank, perturbation):
    options = cli.parse(Options, "train", ["--stage", "1", *GIVEN, *given])
    assert chosen_recipe(options) == Recipe(1, rank=rank, perturbation=perturbation)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--rate", "x"], "--rate: must be a number; got x."),
        (["--steps", "1.5"], "--steps: must be a whole number; got 1.5."),
        (["--stage", "3"], "'3'"),
        (["--schedule", "never"], "'never'"),
        (["--precision", "fp16"], "fp16"),
    ],
)
def test_options_that_do_not_parse(command, tmp_path, option, message):
    code, said, complaints = command(train(tmp_path, tmp_path / "out", "--stage", "1", *option))
    assert (code, said) == (2, "")
    assert option[0] in unboxed(complaints) and message in unboxed(complaints)
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_missing_is_named(command):
    code, said, complaints = command(["train", "--stage", "1", "--out", "out"])
    assert (code, said) == (2, "")
    assert "--data DIR" in complaints and "--model PATH" in complaints
    assert "--stage" not in complaints and "--out" not in complaints


@pytest.mark.parametrize("package", ["accelerate", "tensorboard"])
def test_a_missing_package_names_the_extra(data, tmp_path, monkeypatch, capsys, package):
    for module in ("cli.train", "training.loop"):
        monkeypatch.delitem(sys.modules, f"everanimate_core.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(train(data, tmp_path / "out", "--stage", "1")) == cli.REFUSED
    assert "training needs accelerate and tensorboard (pip install 'everanimate[train]')" in capsys.readouterr().err
