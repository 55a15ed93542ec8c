"""The losses of a training: a row per step in a CSV file."""

from pathlib import Path

HEADER = "step,loss,rate"


class Journal:
    """losses.csv of a training that stands at `step`: rows from there on are dropped, and written once more."""

    def __init__(self, path: Path, step: int):
        self.path = path
        rows = path.read_text().splitlines()[1 : step + 1] if path.exists() else []
        path.write_text("\n".join([HEADER, *rows, ""]))

    def write(self, step: int, loss: float, rate: float) -> None:
        """Add the row of step 0, 1, ...; numbers as exact as they are."""
        with self.path.open("a") as file:
            file.write(f"{step},{loss!r},{rate!r}\n")
