"""A list of jobs in a file: a JSON object a line, with a name that no other job has."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line, shown
from ..json_files import check_fields, parse_json, read_text
from ..runs.names import alike, wrong_with

EXAMPLE = '{"name": "dance", "reference": "me.png", "pose": "dance.pose.mp4"}'


@dataclass(frozen=True)
class Job:
    """A line of the list. line: its number, from 1. values: what the line says besides the name. folder: of the list,
    from which paths in it are seen."""

    line: int
    name: str
    values: Mapping[str, Any]
    folder: Path

    def refuse(self, rule: str, example: object, got: object) -> InputError:
        """What is wrong with the line."""
        return InputError(f"line {self.line}", rule, example, got)


def read_jobs(path: str | os.PathLike) -> list[Job]:
    """The jobs in a JSONL file; lines without anything are passed over.

    Raises InputError, with the number of the line, for what is no JSON object, a name that is missing or cannot be that
    of a file, and one that an earlier line has, on a system that ignores case.
    """
    text = read_text(path, lambda got: InputError("jobs", "must be a file of jobs, one a line", EXAMPLE, got))
    folder = Path(os.path.abspath(path)).parent
    jobs: list[Job] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        job = _job(number, line, folder)
        first = lines.setdefault(alike(job.name), number)
        if first != number:
            raise job.refuse("must have a name of its own", "", f"{job.name!r}, which line {first} has")
        jobs.append(job)
    if not jobs:
        raise InputError("jobs", "must be a file of jobs, one a line", EXAMPLE, f"none in {one_line(path)}")
    return jobs


def _job(number: int, line: str, folder: Path) -> Job:
    def refuse(got: str) -> InputError:
        return InputError(f"line {number}", "must be a JSON object with a name", EXAMPLE, got)

    values = check_fields(parse_json(line, refuse), {"name": str}, refuse, others=True)
    job = Job(number, values["name"], {name: value for name, value in values.items() if name != "name"}, folder)
    wrong = "the sign '/'" if "/" in job.name else wrong_with(job.name)
    if wrong:
        rule = "must have a name that every system can keep"
        raise job.refuse(rule, "Tänzerin, dance (2)", f"{shown(job.name)}: {wrong}")
    return job
