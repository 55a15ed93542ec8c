"""Lists of films as people write them, in CSV or JSONL, and captions: read, or refused with the file and the line."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import InputError, one_line, shown
from ..json_files import Refuse, check_fields, parse_json, read_text

COLUMNS = ("video", "pose", "face", "reference", "prompt")
Rule = tuple[str, str]  # what a list must be, and an example
_TEXT = ("must be UTF-8 text", "save it as such")
_COLUMNS = (f"must have the columns video and any of {', '.join(COLUMNS[1:])}, each once", "video,pose,prompt")
_ROW = (
    f"must have a video in every row, and may have {', '.join(COLUMNS[1:])}, all texts",
    "dance.mp4,dance.pose.mp4",
)
_CAPTION = ("must have captions in UTF-8 text", "save them as such")
_CSV = ("must have commas between values, and quotes in pairs", '"she said ""no"""')
_JSON = ("must have a row in JSON on every line", '{"video": "dance.mp4", "pose": "dance.pose.mp4"}')


def is_list(path: Path) -> bool:
    """Whether `path` is a list of films."""
    return path.suffix.lower() in _READERS and path.is_file()


def read_films(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a list, in order: {one of COLUMNS: text}, with a video in each, and no empty texts.

    Raises ValueError, naming the line, for what is no such row.
    """
    text = read_text(path, _refuse(_TEXT, path))
    for line, row in _READERS[path.suffix.lower()](text, path):
        refuse = _refuse(_ROW, path, line)
        found = row if isinstance(row, dict) else {}
        optional = {name: (str, type(None)) for name in COLUMNS[1:] if name in found}
        fields = check_fields(row, {"video": str, **optional}, refuse)
        for name in ("video", "pose", "face", "reference"):
            if any(ord(sign) < ord(" ") or ord(sign) == 127 for sign in fields.get(name) or ""):
                raise refuse(f"a control character in {name} {shown(fields[name])}")
        if not fields["video"]:
            raise refuse("an empty video")
        yield {name: value for name, value in fields.items() if value}


def read_caption(path: Path) -> str:
    """The text of a file, without white space around it; ValueError unless it is UTF-8."""
    text = read_text(path, _refuse(_CAPTION, path))
    return "".join(io.StringIO(text, newline=None)).strip()


def _refuse(rule: Rule, path: Path, line: int | None = None) -> Refuse:
    where = one_line(path) if line is None else f"line {line} of {one_line(path)}"

    def refuse(got: str) -> InputError:
        return InputError("data", *rule, f"{got} in {where}")

    return refuse


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = reader.fieldnames or []
        if "video" not in header or not set(header) <= set(COLUMNS) or len(set(header)) < len(header):
            raise _refuse(_COLUMNS, path, 1)(one_line(",".join(header), 100) or "none")
        for row in reader:
            if None in row:  # where csv puts what stands behind the last column
                got = f"{len(header) + len(row[None])} values for {len(header)} columns"
                raise _refuse(_ROW, path, reader.line_num)(got)
            yield reader.line_num, row
    except csv.Error as error:
        # The inner reader's number: the outer one counts whole rows only.
        raise _refuse(_CSV, path, reader.reader.line_num)(str(error)) from error


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip():
            yield number, parse_json(line, _refuse(_JSON, path, number))


_READERS: dict[str, Callable[[str, Path], Iterator[tuple[int, object]]]] = {".csv": _csv_rows, ".jsonl": _json_rows}
