"""`everanimate takes`: the list, and pruning, which asks first."""

import os
import pty
import subprocess
import sys

import pytest
from run_parts import Place, small_job

from everanimate_core.cli import main as cli
from everanimate_core.runs.ownership import OwnershipLost
from everanimate_core.runs.store import RunStore


@pytest.fixture
def run(tmp_path):
    """A run of two takes, as the command line lays it out: three chunks, the last two of them made again."""
    place = Place(tmp_path, "dance.run")
    place.path = tmp_path / "dance.mp4"
    place.start(small_job(19))
    place.start(small_job(19, seed=7), from_chunk=1)
    return place


def test_the_list(run, capsys):
    for where in (run.path, run.store.folder):
        assert cli.main(["takes", str(where)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(",")[0] for line in lines] == [
            "take 1: finished",
            "take 2: finished",
            "    made again from chunk 1 of take 1",
            "    seed was 0 and is 7",
        ]


def test_pruning_asks_where_somebody_sits(run):
    """The whole command, at a terminal of its own."""

    def ask(answer):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "everanimate_core", "takes", str(run.path), "--prune", "2"]
        process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, text=True)
        os.write(ours, answer)
        out, _ = process.communicate(timeout=120)
        os.close(ours)
        os.close(theirs)
        return process.returncode, out

    before = run.everything()
    # Ctrl-D leaves the line of the question first.
    for answer, said in ((b"n\n", "Nothing was deleted.\n"), (b"\4", "\nNothing was deleted.\n")):
        code, out = ask(answer)
        assert (code, out.rpartition("] ")[2]) == (0, said)
        assert out.startswith("Delete take 1 and 2 chunks that no other take has, ")
        assert run.everything() == before
    code, out = ask(b"y\n")
    assert code == 0
    assert run.store.take_numbers() == [2]
    assert len(run.records()) == 3


def test_pruning_without_anybody_to_ask(run, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    before = run.everything()
    assert cli.main(["takes", str(run.path), "--prune", "1"]) == 2
    assert capsys.readouterr().err == (
        "--prune: asks before it deletes (--yes where nobody can answer); got no terminal.\n"
    )
    assert run.everything() == before
    assert cli.main(["takes", str(run.path), "--prune", "1", "--yes"]) == 0
    assert run.store.take_numbers() == [1]


def test_where_all_takes_are_kept_nothing_is_asked(run, capsys):
    before = run.everything()
    for more in ([], ["--yes"]):
        assert cli.main(["takes", str(run.path), "--prune", "1", "2", *more]) == 0
        assert capsys.readouterr().out == "There is nothing to delete.\n"
    assert run.everything() == before


def test_pruning_that_another_program_overtook(run, capsys, monkeypatch):
    def lost(store):
        raise OwnershipLost

    monkeypatch.setattr(RunStore, "check_owner", lost)
    before = run.everything()
    assert cli.main(["takes", str(run.path), "--prune", "1", "--yes"]) == 1
    assert capsys.readouterr().err == (
        f"a run is written by one program at a time; another one took over {run.store.folder} while this one was "
        "paused. Not everything was deleted.\n"
    )
    assert run.everything() == before


def test_what_is_no_run(tmp_path, capsys):
    assert cli.main(["takes", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("RUN: must be the folder of a run, or the video of one")
