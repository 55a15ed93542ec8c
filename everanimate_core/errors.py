"""What is wrong, in words: inputs that cannot serve, packages that are missing, and what strangers wrote."""

import reprlib
from collections.abc import Collection
from importlib import import_module
from math import isfinite
from types import ModuleType

from torch import Tensor

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 3, 80, 80
# What pip calls the packages whose modules have another name.
_INSTALLED_AS = {"cv2": "opencv-python"}


class InputError(ValueError):
    """An input that cannot serve. Whoever shows it knows where it came in: at a node, or as an option.

    field: the input, by its name in the settings, or in words what is no setting ("this run"); "" where the rule says
    it all. rule: what it must be. example: a right value, or a way on; "" for none. got: what came instead.
    """

    def __init__(self, field: str, rule: str, example: object, got: object):
        self.field, self.rule, self.example, self.got = field, rule, example, got
        super().__init__(f"{field} {self.said}".strip())

    @property
    def said(self) -> str:
        """The message without the name of the field."""
        example = "" if self.example == "" else f" ({self.example})"
        return f"{self.rule}{example}; got {self.got}."

    def __reduce__(self) -> tuple:
        return type(self), (self.field, self.rule, self.example, self.got)


def one_line(text: object, longest: int | None = None) -> str:
    r"""`text` with control characters, line ends and characters that turn the line round as escapes (`\n`, `\x1b`).

    longest: characters that are kept; what is cut off is shown as three dots.
    """
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))
    return line if longest is None or len(line) <= longest else f"{line[:longest]}..."


def shown(value: object) -> str:
    """A value out of a file, as Python writes it, with the middle left out of what is long or deep."""
    return one_line(_REPR.repr(value))


def needed(module: str, work: str) -> ModuleType:
    """The package `module`; ImportError that says how to install it, and for what `work`, when it is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        package = _INSTALLED_AS.get(module, module)
        raise ImportError(f"{work}: the package {package} is needed (pip install {package}); got {error}.") from error


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise InputError unless the setting `name` is one of `choices`."""
    if value not in choices:
        raise InputError(name, f"must be one of {', '.join(choices)}", "", shown(value))


def check_number(name: str, value: float, example: object) -> None:
    """Raise InputError unless the setting `name` is finite."""
    if not isfinite(value):
        raise InputError(name, "must be a number, not NaN or infinity", example, value)


def check_finite(name: str, values: Tensor) -> None:
    """Raise InputError unless all of `values` (any shape, [n, ...]) are finite."""
    # Part by part: a whole video would need a quarter of its size once more.
    bad = next((i for i, part in enumerate(values) if not part.isfinite().all()), None) if values.ndim else None
    if bad is not None:
        raise InputError(
            name,
            "must hold numbers only, not NaN or infinity",
            "check what made it",
            f"one in {name}[{bad}] of {len(values)}",
        )
