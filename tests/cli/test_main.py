"""The command line as a whole: its commands, their help, its exit codes, and what is said when it is stopped."""

import shlex
import subprocess
import sys

import pytest
from cli_parts import ROOT, finish, start, unboxed

from everanimate_core.cli import main as cli

OVERVIEW = "usage: everanimate COMMAND [OPTIONS]\n"


# --- commands and help -----------------------------------------------------------------------------------------------


def test_help_of_the_module():
    code, said, complaints = finish(start(["--help"]))
    assert (code, complaints) == (0, "")
    assert said.startswith(OVERVIEW)
    for name, what in cli.COMMANDS.items():
        assert f"  {name} " in said and what in said


@pytest.mark.parametrize("name", cli.COMMANDS)
@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_help_of_every_command(command, name, asked):
    code, said, complaints = command([*name.split(), asked])
    assert (code, complaints) == (0, "")
    assert said.startswith(f"usage: everanimate {name} ")


def test_help_of_lora_is_that_of_its_commands(command):
    code, said, complaints = command(["lora", "--help"])
    assert (code, complaints) == (0, "")
    assert said.startswith(OVERVIEW)
    assert [line.split()[:2] for line in said.splitlines() if line.startswith("  ")] == [
        ["lora", "inspect"],
        ["lora", "convert"],
    ]


@pytest.mark.parametrize(
    ("arguments", "offered", "got"),
    [
        ([], 16, "(animate); got none."),
        (["dance"], 16, "(animate); got dance."),
        (["dance", "--help"], 16, "(animate); got dance --help."),
        (["--bogus"], 16, "(animate); got --bogus."),
        (["\x1b[2J"], 16, r"(animate); got \x1b[2J."),
        (["lora"], 2, "(lora inspect); got lora."),
        (["lora", "dance"], 16, "(animate); got lora dance."),
    ],
)
def test_what_is_no_command(command, arguments, offered, got):
    code, said, complaints = command(arguments)
    assert (code, said) == (2, "")
    assert complaints.startswith(OVERVIEW)
    assert len([line for line in complaints.splitlines() if line.startswith("  ")]) == offered
    assert complaints.endswith(f"\nCOMMAND must be one of these {got}\n")


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("animate", ["--reference", "--out"]),
        ("train", ["--stage", "--data", "--model", "--out"]),
        ("train precompute", ["--data", "--model", "--out"]),
        ("train-toy", ["--out"]),
        ("post", ["GRAPH"]),
        ("batch", ["JOBS.jsonl", "--out"]),
        ("batch status", ["ROOT"]),
        ("lora inspect", ["FILE"]),
        ("lora convert", ["SOURCE", "DESTINATION"]),
        ("colour", ["--reference", "--out"]),
        ("longanimation convert", ["SOURCE", "DESTINATION"]),
    ],
)
def test_what_is_missing_is_named(command, name, missing):
    code, said, complaints = command(name.split())
    assert (code, said) == (2, "")
    for option in missing:
        assert f" {option}" in unboxed(complaints)
    assert f"everanimate {name} --help" in unboxed(complaints)


# --- exit codes and what is said ------------------------------------------------------------------------------------


def test_without_tyro_the_extra_is_named():
    code = (
        "import sys; sys.modules['tyro'] = None; from everanimate_core.cli.main import main; "
        "sys.exit(main(['demo', '--seed', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("the command line needs tyro (pip install 'everanimate[cli]'); got ")


@pytest.fixture
def ending(command, monkeypatch):
    """ending(error) -> what the command line makes of a command (demo) that ends so."""

    def end(error):
        def make_demo(*_):
            raise error

        monkeypatch.setattr("everanimate_core.cli.demo.make_demo", make_demo)
        return command(["demo", "--out", "my demo"])

    return end


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (cli.InputError("seconds", "must be 1", "60", 2), 2, "--seconds: must be 1 (60); got 2.\n"),
        (cli.InputError("this film", "must be long", "", 2), 2, "this film must be long; got 2.\n"),
        (cli.InputError("", "a film is long", "", 2), 2, "a film is long; got 2.\n"),
        (ValueError("wrong"), 2, "wrong\n"),
        (ImportError("a package is needed"), 2, "a package is needed\n"),
        (FileNotFoundError(2, "No such file", "a.mp4"), 2, "[Errno 2] No such file: 'a.mp4'\n"),
        (IsADirectoryError(21, "Is a directory", "a.mp4"), 2, "[Errno 21] Is a directory: 'a.mp4'\n"),
        (PermissionError(13, "Permission denied", "a.mp4"), 1, "[Errno 13] Permission denied: 'a.mp4'\n"),
        (cli.RunFailed("the disk is full"), 1, "the disk is full\n"),
        (cli.SafetensorError("broken"), 1, "broken\n"),
        (ValueError("one\ntwo \x1b[2J"), 2, "one\ntwo \\x1b[2J\n"),
    ],
)
def test_exit_codes(ending, error, code, said):
    assert ending(error) == (code, "", said)


def test_a_command_that_is_stopped_says_how_to_go_on(ending):
    code, said, complaints = ending(KeyboardInterrupt())
    assert (code, said) == (1, "")
    words, _, again = complaints.partition(": everanimate ")
    assert words == "Stopped; finished chunks are kept. Go on with"
    assert shlex.split(again) == ["demo", "--out", "my demo"]


@pytest.mark.parametrize(
    ("arguments", "stops_in", "kept", "in_addition"),
    [
        ("train --stage 1 --data d --model toy --out o", "train.FilmSet.open", "what was saved is kept", ["--resume"]),
        ("train --stage 1 --data d --model toy --out o --resume", "train.FilmSet.open", "what was saved is kept", []),
        (
            "train precompute --data d --model toy --out o",
            "train_precompute.list_films",
            "finished records are kept",
            [],
        ),
        ("evaluate a.mp4", "evaluate.evaluate_files", "nothing was written", []),
        ("prepare a.mp4", "prepare.opened", "nothing was written", []),
        ("post a.json", "post.read_graph", "nothing was written", []),
        ("train-toy --out o", "train_toy.train_toy", "what was saved is kept", []),
        ("ablate", "ablate.ablate", "finished roll-outs are kept", []),
        ("lora convert a b", "lora_convert.convert", "nothing was written", []),
        ("longanimation convert a b", "longanimation_convert.convert", "nothing was written", []),
    ],
)
def test_what_is_kept_and_what_goes_on(command, monkeypatch, arguments, stops_in, kept, in_addition):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"everanimate_core.cli.{stops_in}", stop)
    code, said, complaints = command(arguments.split())
    assert (code, said) == (1, "")
    again = shlex.join([*arguments.split(), *in_addition])
    assert complaints == f"Stopped; {kept}. Go on with: everanimate {again}\n"
