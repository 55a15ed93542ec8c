"""What is wrong, in words: inputs that cannot serve, packages that are missing, and what strangers wrote."""

import reprlib
from importlib import import_module
from math import isfinite
from types import ModuleType

from torch import Tensor

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 3, 80, 80
# What pip calls the packages whose modules have another name.
_INSTALLED_AS = {"cv2": "opencv-python"}


def one_line(text: object, longest: int | None = None) -> str:
    r"""`text` with control characters, line ends and characters that turn the line round as escapes (`\n`, `\x1b`).

    longest: characters that are kept; what is cut off is shown as three dots.
    """
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))
    return line if longest is None or len(line) <= longest else f"{line[:longest]}..."


def shown(value: object) -> str:
    """A value out of a file, as Python writes it, with the middle left out of what is long or deep."""
    return one_line(_REPR.repr(value))


def needed(module: str, who: str) -> ModuleType:
    """The package `module`; ImportError, in the name of `who`, that says how to install it when it is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        package = _INSTALLED_AS.get(module, module)
        raise ImportError(f"{who}: the package {package} is needed (pip install {package}); got {error}.") from error


def check_number(who: str, name: str, value: float, example: str) -> None:
    """Raise ValueError, in the name of `who`, unless the setting `name` is finite."""
    if not isfinite(value):
        raise ValueError(f"{who}: {name} must be a number, not NaN or infinity ({example}); got {value}.")


def check_finite(who: str, name: str, values: Tensor) -> None:
    """Raise ValueError, in the name of `who`, unless all of `values` (any shape, [n, ...]) are finite."""
    # Part by part: a whole video would need a quarter of its size once more.
    bad = next((i for i, part in enumerate(values) if not part.isfinite().all()), None) if values.ndim else None
    if bad is not None:
        raise ValueError(
            f"{who}: {name} must hold numbers only, not NaN or infinity (check what made it); got one in "
            f"{name}[{bad}] of {len(values)}."
        )
