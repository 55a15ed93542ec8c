"""What strangers wrote, as it may stand in a message: on one line, every character visible, not too long."""

import reprlib

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 3, 80, 80


def one_line(text: object, longest: int | None = None) -> str:
    r"""`text` with control characters, line ends and characters that turn the line round as escapes (`\n`, `\x1b`).

    longest: characters that are kept; what is cut off is shown as three dots.
    """
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))
    return line if longest is None or len(line) <= longest else f"{line[:longest]}..."


def shown(value: object) -> str:
    """A value out of a file, as Python writes it, with the middle left out of what is long or deep."""
    return one_line(_REPR.repr(value))
