"""The command line as a whole: its commands, their help, and what is said of what is no command."""

import re

import pytest
from cli_parts import finish, start


@pytest.mark.parametrize(
    "arguments",
    [
        "demo --seconds inf",
        "demo --seconds nan",
        "ablate --seconds nan",
        "train-toy --out none --minutes nan",
        "train --stage 1 --data none --model toy --out none --rate inf",
        "train --stage 1 --data none --model toy --out none --rate -1",
        "train --stage 2 --data none --model toy --out none --augmented nan",
    ],
)
def test_numbers_of_every_command_are_finite(arguments, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, complaints = command(arguments.split())
    *_, option, value = arguments.split()
    assert code == 2
    assert re.search(rf"error: argument {option}: must be a finite number .*; got {value}\.$", complaints)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [[], ["animate"], ["dance"], ["lora"], ["lora", "inspect"], ["demo", "--seconds", "x"]]
)
def test_incomplete_commands(command, arguments):
    code, said, complaints = command(arguments)
    assert (code, said) == (2, "")
    assert complaints.startswith("usage: everanimate")


def test_help_of_the_module():
    code, said, _ = finish(start(["--help"]))
    assert code == 0
    assert said.startswith("usage: everanimate")
    for name in ("animate", "demo", "lora"):
        assert name in said


@pytest.mark.parametrize("name", [["animate"], ["demo"], ["lora"], ["lora", "inspect"], ["lora", "convert"]])
def test_help_of_every_command(command, name):
    code, said, _ = command([*name, "--help"])
    assert code == 0
    assert said.startswith(f"usage: everanimate {' '.join(name)}")
