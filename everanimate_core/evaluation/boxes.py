"""Boxes of faces and persons from files: `everanimate evaluate --face-boxes FILE`."""

from pathlib import Path

from ..errors import InputError, one_line, shown
from ..json_files import read_json
from .frame_metrics import Box

# No picture has a side that long.
_FAR = 2**31


def read_boxes(field: str, path: Path, gaps: bool = False) -> list[Box | None]:
    """[[left, top, right, bottom], ...] as JSON, one a frame; gaps: null may stand for a frame without one.

    field: what errors call the file. Raises InputError for anything else; what it quotes of the file is short and
    printable.
    """

    def refuse(got: str) -> InputError:
        boxes = "boxes or null" if gaps else "boxes"
        rule = f"must be a JSON list of {boxes}, one a frame, in whole pixels"
        return InputError(field, rule, "[[10, 5, 30, 25], ...]", f"{got} in {one_line(path)}")

    found = read_json(path, refuse)
    if not isinstance(found, list):
        raise refuse(shown(found))
    for number, box in enumerate(found):
        if not (_is_box(box) or (gaps and box is None)):
            raise refuse(f"{shown(box)} for frame {number}")
    return found


def _is_box(box: object) -> bool:
    # Not isinstance: true is an int.
    return isinstance(box, list) and len(box) == 4 and all(type(side) is int and abs(side) < _FAR for side in box)
