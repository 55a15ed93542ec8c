"""Batches of the toy as tests start them, and what is seen of them."""

import json
import re

from cli_parts import DATA, HEIGHT, WIDTH

TOY = {
    "reference": str(DATA / "reference.jpg"),
    "pose": str(DATA / "pose.mp4"),
    "model": "toy",
    "width": WIDTH,
    "height": HEIGHT,
    "fit": "crop",
    "chunk_frames": 9,
    "overlap": 4,
    "steps": 2,
}


def toy(name, frames, **more):
    """A line of a list: an animation of the toy, in chunks that add 5 frames, the first 9."""
    return {"name": name, **TOY, "frames": frames, **more}


def write_jobs(path, *lines):
    """A list of jobs, as its path."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def single(line, out):
    """The arguments of `everanimate animate` that make the job of a line by itself."""
    options = {f"--{name.replace('_', '-')}": str(value) for name, value in line.items() if name != "name"}
    return ["animate", *(text for option in options.items() for text in option), "--out", str(out)]


def attempts(root, name):
    """The attempts at a job that its log tells of: (process, numbers of the chunks made, of those that were kept)."""
    path, found = root / f"{name}.log", []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if begun := re.match(r"Begun by process (\d+) on ", line):
            found.append((int(begun[1]), [], []))
        elif chunk := re.match(r"chunk (\d+)/\d+: frames \S+, (kept)?", line):
            found[-1][2 if chunk[2] else 1].append(int(chunk[1]) - 1)
    return found


def rows(said):
    """{name: (state, chunks, what else)} of the table in what was said."""
    lines = said.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("job "))
    cells = [re.split(r"  +", line, maxsplit=4) for line in lines[first + 1 : -1]]
    return {row[0]: (row[1], row[2], row[4] if len(row) > 4 else "") for row in cells}
