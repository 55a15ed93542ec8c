"""The results of the benchmark at real size, row by row as they come, and how long the next row will take."""

import json
import time
from contextlib import suppress
from dataclasses import asdict

from real_size_chains import Case

HEAD = ("chain", "weights", "size", "steps", "face", "tiled", "card", "s/step", "s/chunk", "s outside")
HEAD += ("share outside", "peak GiB (torch)", "peak GiB (card)")
# Which columns of a row are figures, and how they are written.
FIGURES = {"step_s": "{:.2f}", "chunk_s": "{:.2f}", "outside_s": "{:.2f}", "outside_share": "{:.0%}"}
FIGURES |= {"peak_gib": "{:.1f}", "card_gib": "{:.1f}"}
_HOLDS = {True: "yes", False: "NO", None: "-"}


class Report:
    """Rows as they come: on stdout, in `rows.jsonl`, and all so far in `table.md`.

    What an earlier start with the same heading has measured is there already; with another one it is put aside.
    """

    def __init__(self, folder, heading):
        self.folder, self.heading = folder, heading
        self.cases, self.checks, self.notes, self.checked = {}, {}, [], set()
        self.file = folder / "rows.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        earlier = _rows(self.file)
        if earlier and earlier[0] != {"heading": heading}:
            self.file.replace(folder / f"rows_before_{time.strftime('%Y%m%d_%H%M%S')}.jsonl")
            earlier = []
        # Written anew: what follows must not stand behind a part of a line.
        anew = folder / "rows.part"
        anew.write_text("".join(json.dumps(row) + "\n" for row in earlier or [{"heading": heading}]), "utf-8")
        anew.replace(self.file)
        print(f"{heading}\n\n{_row(HEAD)}\n{_rule(HEAD)}", flush=True)
        for row in earlier:
            if "case" in row:
                self.cases[Case(**row["case"])] = row
                print(self.told(row), flush=True)
            if "check" in row:
                self.checks[row["check"]] = row
            if "checked" in row:
                self.checked.add(row["checked"])

    def case(self, case, figures):
        """A case was measured."""
        row = self.cases[case] = {"case": asdict(case), **figures}
        self.write(row)
        print(self.told(row), flush=True)

    def told(self, row):
        """A case as a row of the table."""
        case = Case(**row["case"])
        told = [case.chain, case.weights, f"{case.width}x{case.height}", str(case.steps)]
        told += ["yes" if case.face else "no", "yes" if case.tiled else "no"]
        told += [f"{case.card} GB" if case.card else "whole"]
        return _row(told + ["-" if row[name] is None else form.format(row[name]) for name, form in FIGURES.items()])

    def check(self, what, found, holds):
        """A check was made. holds: None where it could not be."""
        row = self.checks[what] = {"check": what, "found": found, "holds": holds}
        self.write(row)
        print(f"- {what}: {found} ({_HOLDS[holds]})", flush=True)

    def all_checked(self, group):
        """All checks of a group were made."""
        self.checked.add(group)
        self.write({"checked": group})

    def note(self, text):
        """What is to be known of this start, and what it did not measure."""
        self.notes.append(f"- {text}")
        self.write({"note": text})
        print(self.notes[-1], flush=True)

    def write(self, row):
        """Put a row into the files."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        parts = [self.heading, "\n".join([_row(HEAD), _rule(HEAD), *map(self.told, self.cases.values())])]
        if self.checks:
            head = ("check", "found", "holds")
            rows = [_row([row["check"], row["found"], _HOLDS[row["holds"]]]) for row in self.checks.values()]
            parts.append("\n".join([_row(head), _rule(head), *rows]))
        if self.notes:
            parts.append("\n".join(self.notes))
        (self.folder / "table.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _rows(file):
    """What earlier starts have written, as far as it is whole: a killed one may have left a part of a line."""
    rows = []
    with suppress(ValueError, FileNotFoundError):
        for line in file.read_text("utf-8").splitlines():
            rows.append(json.loads(line))
    return rows


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def _rule(cells):
    return "|" + "---|" * len(cells)


class Budget:
    """Seconds that are left, and about how long a case takes, by those that were measured."""

    def __init__(self, seconds):
        self.end, self.measured = None if seconds is None else time.monotonic() + seconds, {}

    @property
    def left(self):
        """Seconds."""
        return float("inf") if self.end is None else self.end - time.monotonic()

    def learn(self, case, figures):
        """What a case took."""
        if not case.card and not case.face:
            self.measured[case.pixels] = figures["step_s"], figures["outside_s"]

    def expected(self, case):
        """Seconds of a case: one step of the first chunk and all of the second, twice what is outside. A step takes
        more than in proportion to the pixels, for attention takes their square. A simulated card is a process of its
        own, which takes a minute to start, and moves weights at every step."""
        if not self.measured:
            return 0.0
        pixels = min(self.measured, key=lambda known: abs(known - case.pixels))
        step, outside = self.measured[pixels]
        ratio = case.pixels / pixels
        seconds = (case.steps + 1) * step * ratio**1.6 + 2 * outside * ratio
        return 60 + 2 * seconds if case.card else seconds


def named(case):
    """A case in a line."""
    parts = [case.chain, case.weights, f"{case.width}x{case.height}", f"{case.steps} steps"]
    parts += [word for word, there in (("face", case.face), ("tiled", case.tiled)) if there]
    return ", ".join(parts + ([f"a card of {case.card} GB"] if case.card else []))
