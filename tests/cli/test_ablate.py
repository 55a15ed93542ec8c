"""`everanimate ablate`: what it hands to the study, and options that cannot serve."""

from pathlib import Path

import pytest

from everanimate_core.studies.ablation import Plan
from everanimate_core.studies.rows import MAIN, ROWS
from everanimate_core.toy.network.state import FULL_LORA, MEMORY_LORA
from everanimate_core.toy.world.scene import Scene


@pytest.fixture
def handed(monkeypatch, tmp_path):
    """What the study is called with, without making it."""
    calls = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no weights of LPIPS
    monkeypatch.setattr("everanimate_core.cli.ablate.ablate", lambda *inputs: calls.append(inputs))
    return calls


def test_without_options(command, handed):
    assert command(["ablate"]) == (0, "", "")
    ((folder, plan, rows, weights, networks, say),) = handed
    assert (folder, plan) == (Path("ablation"), Plan(60.0, tuple(range(100, 108)), (0, 1)))
    assert rows == list(MAIN)
    assert weights is None and networks.lpips is None
    assert callable(say)


def test_with_options(command, handed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    arguments = "--out there --seconds 2.5 --worlds 3 --first-world 40 --noises 1 --planted --weights own "
    arguments += "--scene light=wandering pan --set steps=20 restore_strength=2 restore_target=low_frequency"
    assert command(["ablate", *arguments.split(), "--rows", "memory", "baseline+restore"]) == (0, "", "")
    ((folder, plan, rows, weights, *_),) = handed
    assert (folder, weights) == (Path("there"), Path("own"))
    changes = {"steps": 20, "restore_strength": 2.0, "restore_target": "low_frequency"}
    assert plan == Plan(2.5, (40, 41, 42), (0,), Scene("wandering", pan=True), changes, planted=True)
    assert type(plan.changes["restore_strength"]) is float
    assert rows == [ROWS["memory"], ROWS["baseline+restore"]]


def test_loras_are_the_only_rows(command, handed):
    loras = [str(MEMORY_LORA), str(FULL_LORA)]
    assert command(["ablate", "--lora", *loras]) == (0, "", "")
    ((_, _, rows, *_),) = handed
    assert [row.name for row in rows] == loras
    assert [(row.network, row.lora) for row in rows] == [("baseline", MEMORY_LORA), ("baseline", FULL_LORA)]


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_seconds_are_finite(command, handed, value):
    code, said, complaints = command(["ablate", "--seconds", value])
    assert (code, said) == (2, "")
    assert complaints == f"--seconds: must be a number, not NaN or infinity (60); got {value}.\n"
    assert not handed


@pytest.mark.parametrize(
    "more",
    [
        ["--seconds", "0"],
        ["--worlds", "1"],
        ["--worlds", "-1"],
        ["--first-world", "-1"],
        ["--noises", "0"],
        ["--set", "steps=0"],
        ["--set", "steps"],
        ["--set", "stpes=4"],
        ["--scene", "light=disco"],
        ["--scene", "pan=maybe"],
        ["--rows", "bse"],
        ["--lora", "none"],
        ["--weights", "none"],
    ],
)
def test_what_cannot_serve_is_refused_and_nothing_is_written(command, tmp_path, more):
    code, said, complaints = command(["ablate", "--out", str(tmp_path / "out"), *more])
    assert (code, said) == (2, "")
    assert complaints.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--rows", "--lora", "--set", "--scene"])
def test_an_option_without_its_values_is_refused(command, handed, option):
    code, _, complaints = command(["ablate", option])
    assert code == 2
    assert f"{option}: must have 1 or more; got none." in complaints
    assert not handed


def test_the_command_refuses_what_the_method_does_not_have(command):
    for more, given in ((["--planted"], "--planted"), (["--lora", "a.safetensors"], "--lora")):
        code, _, complaints = command(["ablate", "--method", "colour", *more])
        assert code == 2
        rule = "--method: must be animate where --lora or --planted is given"
        assert complaints.strip() == f"{rule}; got colour and {given}."


def test_the_memory_of_the_colouring(command, handed, monkeypatch):
    monkeypatch.setattr("everanimate_core.cli.ablate.ablate_memory", lambda *inputs: handed.append(inputs))
    arguments = ["ablate", "--method", "colour", "--memory", "--worlds", "4", "--set", "strength=0.4"]
    assert command([*arguments, "--rows", "none", "both"]) == (0, "", "")
    ((_, plan, rows, weights, *_),) = handed
    # 500 frames, in the worlds that it is about.
    assert plan == Plan(20.0, (100, 101, 102, 103), (0, 1), Scene(two_sided=True), {"strength": 0.4})
    assert plan.frames == 500
    assert [row.name for row in rows] == ["none", "both"]
    assert weights is None
    handed.clear()
    assert command([*arguments, "--seconds", "13", "--scene", "pan"]) == (0, "", "")
    ((_, plan, rows, *_),) = handed
    assert (plan.seconds, plan.scene) == (13.0, Scene(pan=True, two_sided=True))
    assert [row.name for row in rows] == ["none", "local", "global", "both", "global, told", "both, told"]


def test_memory_is_one_of_the_colouring(command, handed):
    code, _, complaints = command(["ablate", "--memory"])
    assert (code, complaints) == (2, "--method: must be colour where --memory is given; got animate.\n")
    code, _, complaints = command(["ablate", "--method", "colour", "--memory", "--rows", "skip-layer"])
    assert code == 2 and complaints.startswith("--rows: must be of none; local; ")
    assert not handed
