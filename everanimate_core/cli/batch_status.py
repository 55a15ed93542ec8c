"""`everanimate batch status`: how far a batch is, from its folder alone."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from ..batch.status import FAILED, statuses, table
from ..runs.store import RunFailed
from .command import Command
from .options import option


@dataclass(frozen=True)
class Options:
    """List the jobs of a batch: what they are, their chunks, the time left and errors. Needs no Ray and no GPU."""

    root: tyro.conf.Positional[option(Path, "The --out of the batch.", "ROOT")]


def main(options: Options, command: Command) -> None:
    """Print a table. Raises InputError for a folder in which no batch began, RunFailed when a job failed."""
    rows = statuses(options.root)
    for line in table(rows):
        command.say(line)
    failed = sum(row.state == FAILED for row in rows)
    if failed:
        raise RunFailed(f"{failed} of {len(rows)} jobs failed.")
