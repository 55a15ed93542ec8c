"""What is kept of a batch beside its runs."""

import os
from pathlib import Path

import pytest

from everanimate_core.batch.jobs import Job
from everanimate_core.batch.records import (
    Record,
    forget_record,
    inputs_of,
    is_done,
    read_list,
    read_record,
    record_path,
    recorded,
    write_list,
    write_record,
)
from everanimate_core.errors import InputError

DONE = Record(3, "inputs", "", ("dance.mp4",))


def test_a_record_is_read_as_it_was_written(tmp_path):
    assert read_record(tmp_path, "dance") is None
    for record in (DONE, Record(3, "inputs", "--pose: nothing\x1b"), Record(4, "", "ä", ("a/b.mp4", "c.png"))):
        write_record(tmp_path, "dance", record)
        assert read_record(tmp_path, "dance") == record
    write_record(tmp_path, "a.b", DONE)
    assert recorded(tmp_path) == ["a.b", "dance"]
    for _ in range(2):
        forget_record(tmp_path, "a.b")
        assert recorded(tmp_path) == ["dance"]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"line": "3"}', b"\xff"])
def test_a_damaged_record_is_none(tmp_path, content):
    record_path(tmp_path, "dance").write_bytes(content)
    assert read_record(tmp_path, "dance") is None


def test_a_job_is_done_when_its_files_are_there_and_its_inputs_are_the_same(tmp_path):
    write_record(tmp_path, "dance", DONE)
    assert not is_done(tmp_path, "dance", "inputs")
    (tmp_path / "dance.mp4").touch()
    assert is_done(tmp_path, "dance", "inputs")
    assert not is_done(tmp_path, "dance", "other inputs")
    write_record(tmp_path, "dance", Record(3, "inputs", "an error", ("dance.mp4",)))
    assert not is_done(tmp_path, "dance", "inputs")


def test_inputs_are_what_a_line_says_and_the_files_that_it_names(tmp_path):
    pose = tmp_path / "pose.mp4"
    pose.write_bytes(b"1")

    def inputs(*more, line=1, **values):
        return inputs_of(Job(line, "dance", values, tmp_path), *more)

    first = inputs(pose="pose.mp4", seed=1)
    assert inputs(pose="pose.mp4", seed=1, line=9) == first
    assert inputs(pose="pose.mp4", seed=2) != first
    assert inputs("a graph", pose="pose.mp4", seed=1) != first
    assert inputs(pose=["pose.mp4"]) != inputs(pose=["none.mp4"])
    os.utime(pose, (0, 0))
    touched = inputs(pose="pose.mp4", seed=1)
    pose.write_bytes(b"22")
    os.utime(pose, (0, 0))
    assert len({first, touched, inputs(pose="pose.mp4", seed=1)}) == 3


def test_the_list(tmp_path):
    assert read_list(tmp_path) == {}
    write_list(tmp_path, [Job(2, "b", {}, Path("/")), Job(5, "a", {}, Path("/"))])
    assert list(read_list(tmp_path).items()) == [("b", 2), ("a", 5)]


@pytest.mark.parametrize("content", [b"", b"{}", b'[{"name": "a"}]', b'["a"]'])
def test_a_damaged_list_is_refused(tmp_path, content):
    (tmp_path / "batch.json").write_bytes(content)
    with pytest.raises(InputError, match=r"^batch\.json must be as `everanimate batch` wrote it; got "):
        read_list(tmp_path)
