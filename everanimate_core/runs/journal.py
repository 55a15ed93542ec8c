"""The losses of a training: a row per step in a CSV file."""

from contextlib import suppress
from pathlib import Path

from ..files import sync_file, write_whole

HEADER = "step,loss,rate"


def begin_rows(path: Path, header: str, stop: int) -> None:
    """Write a CSV file anew: the header, and those of its rows that begin with a whole number below `stop`.

    A row that a kill or a failing disk left damaged goes too: a log is never a reason to stop a training.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    rows = [row for row in text.splitlines()[1:] if row.count(",") == header.count(",") and _number(row) < stop]
    with write_whole(path) as part:
        part.write_text("\n".join([header, *rows, ""]), encoding="utf-8", newline="\n")


def _number(row: str) -> float:
    """What the row begins with; infinity where that is no plain number."""
    first = row.split(",")[0]
    return int(first) if first.isascii() and first.isdecimal() and len(first) < 20 else float("inf")


class Journal:
    """losses.csv of a training that stands at `step`: rows from there on are dropped, and written once more."""

    def __init__(self, path: Path, step: int):
        self.path = path
        self._waiting: list[str] = []
        begin_rows(path, HEADER, step)

    def write(self, step: int, loss: float, rate: float) -> None:
        """Add the row of step 0, 1, ...; numbers as exact as they are. FileNotFoundError when the folder is gone."""
        self._waiting.append(f"{step},{loss!r},{rate!r}\n")
        # On Windows, a spreadsheet keeps others out of the file that it shows: its rows come later.
        with suppress(PermissionError), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write("".join(self._waiting))
            self._waiting = []

    def sync(self) -> None:
        """Wait until the rows are on the disk."""
        with suppress(PermissionError):
            sync_file(self.path)
