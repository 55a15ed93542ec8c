"""What has become of the jobs of a batch, from the folders alone: while it runs, and years later."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ..errors import InputError, one_line
from ..plan import ChunkPlan
from ..runs.listing import all_takes
from ..runs.ownership import is_owned
from ..runs.progress import in_words
from ..runs.store import TAKES, RunStore
from ..runs.takes import FINISHED, Take
from .records import LIST, Record, read_list, read_record, recorded

# How the names of what a job makes end: a run, and a training set.
RUNS, SETS = ".run", ".set"
# Where the runs of a ComfyUI lie in its folder of outputs.
COMFYUI = "everanimate"
# What a job can be, as a table says it.
WAITS, RUNS_NOW, STOPPED, DONE, FAILED = "waits", "runs", "stopped", "finished", "failed"


@dataclass(frozen=True)
class Status:
    """A job. done, chunks: of its runs, those that are there and all of them (0: not known before the first is there).
    left: seconds that one worker needs for the others, None where nobody knows. error: of the last attempt, with the
    line of the list."""

    name: str
    state: str
    done: int = 0
    chunks: int = 0
    left: float | None = None
    error: str = ""


def run_folders(root: Path, name: str) -> list[Path]:
    """The folders of the runs of a job: its own, and those that its graph made in a ComfyUI."""
    inside = sorted((root / COMFYUI / name).rglob(TAKES))
    return [root / f"{name}{RUNS}", *(found.parent for found in inside if found.is_dir())]


def progress(root: Path, name: str) -> int:
    """How many chunks of a job are there, or films of its training set; it grows with each that is finished."""
    # What begins with a dot is not finished.
    chunks = [path for folder in run_folders(root, name) for path in folder.glob("chunks/[!.]*.json")]
    return len(chunks) + len(list((root / f"{name}{SETS}").glob("[!.]*.safetensors")))


def share_left(root: Path, name: str) -> float:
    """How much of a job is still to be made, from 1 (all) to 0."""
    takes = list(_newest_takes(root, name))
    frames = sum(take.output["total_frames"] for take in takes)
    return 1.0 if not frames else 1 - sum(take.chunks[-1].stop for take in takes if take.chunks) / frames


def statuses(root: Path) -> list[Status]:
    """All jobs that began here, those of the newest list first and in its order.

    Raises InputError for a folder in which no batch began.
    """
    if not (root / LIST).exists() and not recorded(root):
        raise InputError("root", "must be the --out of a batch", "", one_line(root))
    listed = read_list(root)
    names = [*listed, *(name for name in recorded(root) if name not in listed)]
    names += [name for name in sorted(_with_runs(root)) if name not in names]
    return [_status(root, name) for name in names]


def _with_runs(root: Path) -> set[str]:
    """The jobs that have a folder of a run, whatever is kept of them besides."""
    return {path.name.removesuffix(RUNS) for path in root.glob(f"*{RUNS}") if (path / TAKES).is_dir()}


def _status(root: Path, name: str) -> Status:
    record = read_record(root, name)
    takes = list(_newest_takes(root, name))
    done = sum(len(take.chunks) for take in takes)
    each = [seconds for take in takes for chunk in take.chunks if (seconds := chunk.seconds)]
    chunks = sum(map(_chunks, takes))
    state = _state(root, name, record, takes)
    left = 0.0 if state == DONE else (chunks - done) * median(each) if each else None
    error = f"line {record.line}: {record.error}" if record is not None and state == FAILED else ""
    return Status(name, state, done, chunks, left, error)


def _state(root: Path, name: str, record: Record | None, takes: Sequence[Take]) -> str:
    folders = run_folders(root, name)
    if any(is_owned(folder) for folder in folders):
        return RUNS_NOW
    if record is not None:
        there = all((root / file).exists() for file in record.files)
        return FAILED if record.error else DONE if there else STOPPED
    if takes:
        # Its worker was killed between the end of the run and its record, or the record was deleted.
        own = root / f"{name}{RUNS}"
        finished = len(takes) == 1 and (own / TAKES).is_dir() and takes[0].state == FINISHED
        return DONE if finished else STOPPED
    begun = [*folders, root / f"{name}{SETS}"]
    return STOPPED if any(folder.is_dir() for folder in begun) else WAITS


def _newest_takes(root: Path, name: str) -> Iterator[Take]:
    """The newest take of each run of a job that has one."""
    for folder in run_folders(root, name):
        if (folder / TAKES).is_dir():
            takes = all_takes(RunStore(folder), readable=True)
            yield from takes[-1:]


def _chunks(take: Take) -> int:
    """How many chunks a take has at its end; as many as it has where its settings do not say."""
    frames = take.settings.get("chunk_frames", take.settings.get("window_frames"))
    with suppress(ValueError, KeyError, TypeError):
        return ChunkPlan(take.output["total_frames"], frames, take.settings["overlap"]).chunk_count
    return len(take.chunks)


def table(rows: Sequence[Status]) -> list[str]:
    """The lines of a table for people, and below it how many jobs are what."""
    cells = [("job", "state", "chunks", "left", "")]
    for row in rows:
        chunks = f"{row.done}/{row.chunks}" if row.chunks else "-"
        left = "-" if row.left is None or row.state == DONE else in_words(row.left)
        cells.append((one_line(row.name), row.state, chunks, left, one_line(row.error)))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[4]]).rstrip()
        for line in cells
    ]
    counts = {state: sum(row.state == state for row in rows) for state in (DONE, RUNS_NOW, WAITS, STOPPED, FAILED)}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    known = [row.left for row in rows if row.left]
    about = f"; about {in_words(sum(known))} of work left in jobs that began" if known else ""
    return [*lines, f"{len(rows)} jobs: {told}{about}"]
