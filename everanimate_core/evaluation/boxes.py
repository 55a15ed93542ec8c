"""Boxes of faces and persons from files: `everanimate evaluate --face-boxes FILE`."""

import json
import reprlib
from pathlib import Path

from ..errors import one_line
from .frame_metrics import Box

# No picture has a side that long.
_FAR = 2**31


def read_boxes(option: str, path: Path, gaps: bool = False) -> list[Box | None]:
    """[[left, top, right, bottom], ...] as JSON, one a frame; gaps: null may stand for a frame without one.

    Raises ValueError, naming the `option`, for anything else; what it quotes of the file is short and printable.
    """
    try:
        # As bytes: JSON says how it finds out which UTF they are, and a text editor's mark at the start is fine.
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(_refusal(option, path, gaps, _no_json(error))) from error
    if not isinstance(found, list):
        raise ValueError(_refusal(option, path, gaps, reprlib.repr(found)))
    for number, box in enumerate(found):
        if not (_is_box(box) or (gaps and box is None)):
            raise ValueError(_refusal(option, path, gaps, reprlib.repr(box), f", frame {number}"))
    return found


def _is_box(box: object) -> bool:
    # Not isinstance: true is an int.
    return isinstance(box, list) and len(box) == 4 and all(type(side) is int and abs(side) < _FAR for side in box)


def _no_json(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "lists within too many lists"
    if isinstance(error, UnicodeDecodeError):
        return "no text"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON (line {error.lineno}, column {error.colno})"
    return "a number of too many digits"


def _refusal(option: str, path: Path, gaps: bool, got: str, where: str = "") -> str:
    return (
        f"{option}: must be a JSON list of boxes{' or null' if gaps else ''}, one a frame, in whole pixels "
        f"([[10, 5, 30, 25], ...]); got {got} in {one_line(path)}{where}."
    )
