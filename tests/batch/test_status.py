"""What has become of the jobs, from the folders alone."""

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from run_parts import Place, small_job

from everanimate_core.batch.jobs import Job
from everanimate_core.batch.records import Record, write_list, write_record
from everanimate_core.batch.status import Status, progress, share_left, statuses, table
from everanimate_core.errors import InputError
from everanimate_core.runs.ownership import owned
from everanimate_core.runs.store import RunStore


class Stop(BaseException):
    """Ends a run in its middle."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a finished run `whole`, and one `part` that has two of its six chunks."""
    root = tmp_path_factory.mktemp("made")
    for name in ("whole", "part"):
        place = Place(root, f"{name}.run")
        place.path = root / f"{name}.mp4"

        def watch(done, name=name):
            if name == "part" and done.index == 1:
                raise Stop

        try:
            place.start(small_job(fps=Fraction(25)), on_chunk=watch)
        except Stop:
            continue
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy of it that a batch began: these two, one that failed, and one that waits."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    names = ["part", "waits", "whole", "bad"]
    write_list(tmp_path, [Job(number, name, {}, Path("/")) for number, name in enumerate(names, 1)])
    write_record(tmp_path, "whole", Record(3, "", "", ("whole.mp4",)))
    write_record(tmp_path, "bad", Record(4, "", "--pose: must be there; got none."))
    return tmp_path


def states(root):
    return {row.name: row.state for row in statuses(root)}


def test_every_state(root):
    found = statuses(root)
    left = found[0].left
    assert [replace(row, left=None) for row in found] == [
        Status("part", "stopped", 2, 6),
        Status("waits", "waits"),
        Status("whole", "finished", 6, 6),
        Status("bad", "failed", error="line 4: --pose: must be there; got none."),
    ]
    take = RunStore(root / "part.run").read_take(1)
    seconds = [chunk.seconds for chunk in take.chunks]
    assert left == pytest.approx(4 * sum(seconds) / 2)
    assert (found[2].left, found[1].left) == (0.0, None)


def test_what_somebody_writes_runs(root):
    for name in ("part", "waits", "bad"):
        with owned(root / f"{name}.run"):
            assert states(root)[name] == "runs"
    assert states(root) == {"part": "stopped", "waits": "waits", "whole": "finished", "bad": "failed"}


def test_an_error_of_before_is_not_shown_while_the_job_runs(root):
    with owned(root / "bad.run"):
        assert [row.error for row in statuses(root)] == [""] * 4


def test_years_later_without_the_list_and_the_records(root):
    for path in [root / "batch.json", *root.glob("*.job.json")]:
        path.unlink()
    write_record(root, "bad", Record(4, "", "an error"))
    assert states(root) == {"bad": "failed", "part": "stopped", "whole": "finished"}


def test_a_video_that_was_deleted_is_not_finished(root):
    (root / "whole.mp4").unlink()
    assert states(root)["whole"] == "stopped"


def test_a_folder_of_a_run_in_which_nothing_is_yet(root):
    (root / "waits.run").mkdir()
    assert states(root)["waits"] == "stopped"


def test_runs_inside_a_comfyui_count_together(root):
    inside = root / "everanimate" / "waits"
    inside.mkdir(parents=True)
    (root / "part.run").rename(inside / "one")
    (root / "whole.run").rename(inside / "two")
    row = next(row for row in statuses(root) if row.name == "waits")
    assert (row.state, row.done, row.chunks) == ("stopped", 8, 12)
    assert progress(root, "waits") == 8
    with owned(inside / "two"):
        assert states(root)["waits"] == "runs"
    write_record(root, "waits", Record(2, "", "", ("everanimate/waits/one",)))
    assert states(root)["waits"] == "finished"


def test_progress_and_what_is_left(root):
    assert [progress(root, name) for name in ("whole", "part", "waits")] == [6, 2, 0]
    # 14 of 32 frames.
    assert [share_left(root, name) for name in ("whole", "part", "waits")] == [0, pytest.approx(18 / 32), 1]
    (root / "films.set").mkdir()
    (root / "films.set" / "000000.safetensors").touch()
    assert progress(root, "films") == 1
    # What a killed worker left of a file is nothing.
    (root / "films.set" / ".everanimate-0-1.part.safetensors").touch()
    (root / "part.run" / "chunks" / ".everanimate-0-1.part.json").touch()
    assert [progress(root, name) for name in ("films", "part")] == [1, 2]


def test_a_damaged_take_ends_no_list(root):
    (root / "part.run" / "takes" / "00001.json").write_bytes(b"{")
    assert states(root)["part"] == "stopped"


def test_what_is_no_batch_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^root must be the --out of a batch; got "):
        statuses(tmp_path)


def test_the_table():
    rows = [
        Status("a", "finished", 6, 6, 0.0),
        Status("long name\x1b", "runs", 2, 60, 7300.0),
        Status("b", "failed", error="line 3: no"),
        Status("c", "waits"),
        Status("d", "stopped", 1, 2, 30.0),
    ]
    assert table(rows) == [
        "job            state     chunks  left",
        "a              finished  6/6     -",
        "long name\\x1b  runs      2/60    2 h 2 min",
        "b              failed    -       -          line 3: no",
        "c              waits     -       -",
        "d              stopped   1/2     30 s",
        "5 jobs: 1 finished, 1 runs, 1 waits, 1 stopped, 1 failed; about 2 h 2 min of work left in jobs that began",
    ]
