"""One attempt at a job: how it ended, and what of that is kept."""

from pathlib import Path

import pytest

from everanimate_core.batch.attempt import Attempt, Lost, attempt, log_path
from everanimate_core.batch.dispatch import Ended
from everanimate_core.batch.jobs import Job
from everanimate_core.batch.records import Record, read_record
from everanimate_core.errors import InputError
from everanimate_core.runs.store import RunFailed, RunTaken

JOB = Job(4, "dance", {}, Path("/jobs"))


class Engine:
    """Writes a file, or raises."""

    def __init__(self, root, error=None):
        self.root, self.error = root, error

    def make(self, job, say):
        say("chunk 1/1")
        if self.error is not None:
            raise self.error
        (self.root / "dance.mp4").touch()
        return [self.root / "dance.mp4"]


def log(root):
    return log_path(root, "dance").read_text(encoding="utf-8").splitlines()[1:]


def test_a_job_that_is_finished(tmp_path):
    assert attempt(Engine(tmp_path), JOB, tmp_path, "inputs") == Attempt(Ended.FINISHED)
    assert read_record(tmp_path, "dance") == Record(4, "inputs", "", ("dance.mp4",))
    assert log(tmp_path) == ["chunk 1/1"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("--pose:", "must be there", "", "no\nthing"), r"--pose: must be there; got no\nthing."),
        (RunFailed("the disk is full"), "the disk is full"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
    ],
)
def test_what_is_wrong_with_a_job_is_kept(tmp_path, error, said):
    assert attempt(Engine(tmp_path, error), JOB, tmp_path, "inputs") == Attempt(Ended.FAILED, said)
    assert read_record(tmp_path, "dance") == Record(4, "inputs", said)
    assert log(tmp_path)[:2] == ["chunk 1/1", said]
    # What nobody foresaw is told in full.
    foreseen = isinstance(error, InputError | RunFailed)
    assert ("Traceback (most recent call last):" in log(tmp_path)) is not foreseen


@pytest.mark.parametrize(
    ("error", "ended"),
    [(RunTaken("a run", "is taken", "", "a second one"), Ended.TAKEN), (Lost("it died"), Ended.LOST)],
)
def test_a_job_that_goes_on_later_has_no_record(tmp_path, error, ended):
    assert attempt(Engine(tmp_path, error), JOB, tmp_path, "inputs") == Attempt(ended, str(error))
    assert read_record(tmp_path, "dance") is None


def test_a_gpu_that_fails_until_the_process_ends_is_no_error_of_the_job(tmp_path):
    with pytest.raises(RuntimeError, match="CUDA error"):
        attempt(Engine(tmp_path, RuntimeError("CUDA error: an illegal memory access")), JOB, tmp_path, "inputs")
    assert read_record(tmp_path, "dance") is None
    assert log(tmp_path)[1] == "RuntimeError: CUDA error: an illegal memory access"


def test_the_log_keeps_all_attempts(tmp_path):
    for _ in range(2):
        attempt(Engine(tmp_path), JOB, tmp_path, "inputs")
    lines = log_path(tmp_path, "dance").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["Begun", "chunk"] * 2


def test_ctrl_c_is_no_error_of_the_job(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        attempt(Engine(tmp_path, KeyboardInterrupt()), JOB, tmp_path, "inputs")
    assert read_record(tmp_path, "dance") is None
