"""`everanimate ablate`: what it hands to the study, and options that cannot serve."""

from pathlib import Path

import pytest

from everanimate_core.studies.ablation import ROWS
from everanimate_core.toy.network.state import STAGE_1, STAGE_2


@pytest.fixture
def handed(monkeypatch, tmp_path):
    """What the study is called with, without making it."""
    calls = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no weights of LPIPS
    monkeypatch.setattr("everanimate_core.cli.ablate.ablate", lambda *inputs: calls.append(inputs))
    return calls


def test_without_options(command, handed):
    assert command(["ablate"]) == (0, "", "")
    ((folder, seconds, seeds, rows, networks, say),) = handed
    assert (folder, seconds, seeds) == (Path("ablation"), 60.0, (100, 101, 102, 103))
    assert rows is ROWS
    assert networks.lpips is None
    assert callable(say)


def test_with_options_and_loras_as_the_only_rows(command, handed):
    loras = [str(STAGE_1), str(STAGE_2)]
    arguments = ["ablate", "--out", "there", "--seconds", "2.5", "--seeds", "3", "4", "5", "--lora", *loras]
    assert command(arguments) == (0, "", "")
    ((folder, seconds, seeds, rows, *_),) = handed
    assert (folder, seconds, seeds) == (Path("there"), 2.5, (3, 4, 5))
    assert [row.name for row in rows] == loras
    assert [row.lora for row in rows] == [STAGE_1, STAGE_2]


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_seconds_are_finite(command, handed, value):
    code, said, complaints = command(["ablate", "--seconds", value])
    assert (code, said) == (2, "")
    assert complaints == f"--seconds: must be a number, not NaN or infinity (60); got {value}.\n"
    assert not handed


@pytest.mark.parametrize("more", [["--seconds", "0"], ["--seeds", "1"], ["--seeds", "1", "1"], ["--lora", "none"]])
def test_what_cannot_serve_is_refused_and_nothing_is_written(command, tmp_path, more):
    code, said, complaints = command(["ablate", "--out", str(tmp_path / "out"), *more])
    assert (code, said) == (2, "")
    assert complaints.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--seeds", "--lora"])
def test_an_option_without_its_values_is_refused(command, handed, option):
    code, _, complaints = command(["ablate", option])
    assert code == 2
    assert f"{option}: must have 1 or more; got none." in complaints
    assert not handed
