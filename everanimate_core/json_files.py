"""JSON files: written whole, and read, as texts are, from strangers, checked before anything relies on them.

Every function that reads takes `refuse`, which makes the error from what was got ("a list instead of an object"), in
the words and of the class of whoever reads: `lambda got: InputError("model", "must have a config.json", "", f"{got} in
{path}")`.
"""

import json
from collections.abc import Callable, Mapping
from math import isfinite
from os import PathLike
from typing import Any

from .errors import one_line, shown
from .files import write_whole

Refuse = Callable[[str], Exception]
# Far beyond what honest files have, and within what Python reads without an error of its own.
MOST_BYTES, MOST_DIGITS, MOST_NESTED = 64_000_000, 40, 100
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def write_json(path: str | PathLike, value: Any) -> None:
    """Write a value as JSON, for people too: indented, UTF-8. At once or not at all, see write_whole.

    ValueError, and an older file stays, where a number is NaN or infinite.
    """
    with write_whole(path) as part:
        part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n")


def read_text(path: str | PathLike, refuse: Refuse, most: int = MOST_BYTES) -> str:
    """The text of a UTF-8 file, without the byte order mark that editors on Windows put in front.

    Refuses what cannot be opened, other encodings, NUL bytes and more than `most` bytes.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise refuse(f"a file that cannot be read ({error.strerror})") from error
    if len(content) > most:
        raise refuse(f"more than {most // 1_000_000} MB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(f"no UTF-8 text (byte {error.start} is {content[error.start]:#x})") from error
    if "\0" in text:
        raise refuse("no UTF-8 text (NUL bytes)")
    return text


def read_json(path: str | PathLike, refuse: Refuse, most: int = MOST_BYTES) -> Any:
    """The value in a JSON file of up to `most` bytes; refuses what read_text and parse_json refuse."""
    return parse_json(read_text(path, refuse, most), refuse)


def parse_json(text: str, refuse: Refuse) -> Any:
    """The value of a JSON text: dicts, lists, strings, finite numbers, bools, None.

    Refuses text that is no JSON, NaN and infinities, numbers of more than MOST_DIGITS digits, more than MOST_NESTED
    levels, and strings that no UTF-8 file can hold.
    """

    def whole(digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            raise refuse(f"a number of {len(digits)} digits")
        return int(digits)

    def real(digits: str) -> float:
        if not isfinite(number := float(digits)):
            raise refuse(f"a number that is not finite ({one_line(digits, 20)})")
        return number

    try:
        value = json.loads(text, parse_int=whole, parse_float=real, parse_constant=real)
    except json.JSONDecodeError as error:
        raise refuse(f"no JSON ({one_line(error)})") from error
    except RecursionError as error:
        raise refuse(f"JSON of more than {MOST_NESTED} levels") from error
    _check_inside(value, refuse)
    return value


def _check_inside(value: Any, refuse: Refuse) -> None:
    level, depth = [value], 0
    while level:
        texts = [part for part in level if isinstance(part, str)]
        texts += [name for part in level if isinstance(part, dict) for name in part]
        try:
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            raise refuse(f"text with half a character ({shown(error.object[error.start])})") from error
        inside = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        if inside and depth == MOST_NESTED:
            raise refuse(f"JSON of more than {MOST_NESTED} levels")
        level, depth = [part for parts in inside for part in parts], depth + 1


def check_fields(
    value: Any, kinds: Mapping[str, type | tuple[type, ...]], refuse: Refuse, others: bool = False
) -> dict[str, Any]:
    """`value`, if it is an object with all the fields of `kinds`, each of its type or of one of its types.

    float takes whole numbers, int takes no bool. others: whether fields of other names are allowed beside them.
    """
    if not isinstance(value, dict):
        raise refuse(f"{_kind(value)} instead of an object")
    for name, allowed in kinds.items():
        if name not in value:
            raise refuse(f"no {name!r}")
        allowed = allowed if isinstance(allowed, tuple) else (allowed,)
        if not is_kind(value[name], *allowed):
            right = " or ".join(_KINDS[kind] for kind in allowed)
            raise refuse(f"{name!r} {shown(value[name])}, which is not {right}")
    unknown = [name for name in value if name not in kinds]
    if unknown and not others:
        raise refuse(f"the unknown {shown(unknown[0])}")
    return value


def is_kind(value: Any, *kinds: type) -> bool:
    """Whether a JSON value is of one of the types; float takes whole numbers, int takes no bool."""
    return type(value) in kinds or (float in kinds and type(value) is int)


def _kind(value: Any) -> str:
    return next(name for kind, name in _KINDS.items() if is_kind(value, kind))
