"""What is kept of a batch beside its runs: the list of its jobs, and how the last attempt at each ended.

ROOT/batch.json           the jobs of the newest start, with their lines
ROOT/NAME.job.json        how the last attempt ended, what it was made of, which files it wrote
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..digests import digest
from ..errors import InputError, one_line
from ..json_files import check_fields, read_json, write_json
from .jobs import Job

LIST = "batch.json"
_ENDING = ".job.json"


@dataclass(frozen=True)
class Record:
    """How the last attempt at a job ended. line: of the list. inputs: stands for what the line said and the files it
    named. error: "" for a job that is finished. files: that it wrote, as seen from ROOT."""

    line: int
    inputs: str
    error: str
    files: tuple[str, ...] = ()


def record_path(root: Path, name: str) -> Path:
    """The file of a job's record."""
    return root / f"{name}{_ENDING}"


def write_record(root: Path, name: str, record: Record) -> None:
    """Keep it, in the place of the one before."""
    write_json(record_path(root, name), vars(record))


def read_record(root: Path, name: str) -> Record | None:
    """What is kept of a job; None where there is nothing that can be read."""
    kinds = {"line": int, "inputs": str, "error": str, "files": list}
    with suppress(ValueError):
        path = record_path(root, name)
        found = check_fields(read_json(path, ValueError), kinds, ValueError)
        return Record(**{**found, "files": tuple(map(str, found["files"]))})
    return None


def forget_record(root: Path, name: str) -> None:
    """Delete the record of an earlier attempt, if there is one: what it says is true no longer."""
    record_path(root, name).unlink(missing_ok=True)


def recorded(root: Path) -> list[str]:
    """The names of all jobs of which something is kept."""
    return sorted(path.name.removesuffix(_ENDING) for path in root.glob(f"*{_ENDING}"))


def is_done(root: Path, name: str, inputs: str) -> bool:
    """Whether a job is finished, of just these inputs, and the files that it wrote are there."""
    record = read_record(root, name)
    if record is None or record.error or record.inputs != inputs:
        return False
    return bool(record.files) and all((root / file).exists() for file in record.files)


def inputs_of(job: Job, *more: Any) -> str:
    """Stands for what a line says, and for size and time of the files that it names. more: JSON values beside it."""
    return digest(dict(job.values), [_facts(job.folder, value) for value in _texts(job.values)], *more)


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def _facts(folder: Path, text: str) -> list[int] | None:
    """Size and time of a file; None for what is none, and for a folder."""
    with suppress(OSError, ValueError):  # ValueError: text with a NUL in it
        if (folder / text).is_file():
            status = os.stat(folder / text)
            return [status.st_size, status.st_mtime_ns]
    return None


def write_list(root: Path, jobs: Sequence[Job]) -> None:
    """Keep which jobs there are."""
    write_json(root / LIST, [{"name": job.name, "line": job.line} for job in jobs])


def read_list(root: Path) -> dict[str, int]:
    """{name: line} of the jobs of the newest start; empty where none began here. InputError for another file."""
    if not (root / LIST).exists():
        return {}

    def refuse(got: str) -> InputError:
        return InputError(LIST, "must be as `everanimate batch` wrote it", "", f"{got} in {one_line(root)}")

    found = read_json(root / LIST, refuse)
    if not isinstance(found, list):
        raise refuse("no list")
    jobs = [check_fields(job, {"name": str, "line": int}, refuse) for job in found]
    return {job["name"]: job["line"] for job in jobs}
