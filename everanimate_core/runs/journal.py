"""The losses of a training: a row per step in a CSV file."""

from contextlib import suppress
from pathlib import Path

from ..files import sync_file, write_whole


class Journal:
    """The CSV file of a training: columns from `header`, and those of its rows whose first number is below `stop`.

    Rows from there on are written once more. A row that a kill or a failing disk left damaged goes too: a log is never
    a reason to stop a training.
    """

    def __init__(self, path: Path, header: str, stop: int):
        self.path = path
        self._waiting: list[str] = []
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        rows = [row for row in text.splitlines()[1:] if row.count(",") == header.count(",") and _number(row) < stop]
        with write_whole(path) as part:
            part.write_text("\n".join([header, *rows, ""]), encoding="utf-8", newline="\n")

    def write(self, *values: float | str) -> None:
        """Add a row, numbers as exact as they are. FileNotFoundError when the folder is gone."""
        self._waiting.append(",".join(map(str, values)) + "\n")
        # On Windows, a spreadsheet keeps others out of the file that it shows: its rows come later.
        with suppress(PermissionError), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write("".join(self._waiting))
            self._waiting = []

    def sync(self) -> None:
        """Wait until the rows are on the disk."""
        with suppress(PermissionError):
            sync_file(self.path)


def _number(row: str) -> float:
    """What the row begins with; infinity where that is no plain number."""
    first = row.split(",")[0]
    return int(first) if first.isascii() and first.isdecimal() and len(first) < 20 else float("inf")
