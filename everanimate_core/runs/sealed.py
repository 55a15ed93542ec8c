"""JSON files of a run that say whether they are as they were written: a digest of the content stands beside it."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

import torch

from .. import __version__
from ..digests import digest
from ..errors import shown


class Altered(ValueError):
    """What is wrong with a file, in a few words."""


def seal(kind: str, body: Mapping[str, Any]) -> bytes:
    """The content of a file. kind: names what it is and the version of its layout, "everanimate-take-1"."""
    versions = {"everanimate": __version__, "torch": torch.__version__}
    content = {"format": kind, "versions": versions, "digest": digest(kind, body), "content": body}
    return json.dumps(content, indent=1, allow_nan=False).encode()


def unseal(kind: str, content: bytes) -> dict[str, Any]:
    """The body again; Altered when it is not what `seal` wrote, or is of a version to come."""
    _, body = opened(content, "content", {kind: lambda body: digest(kind, body)})
    if not isinstance(body, dict):
        raise Altered("an altered one")
    return body


def opened(content: bytes, part: str, digests: Mapping[str, Callable[[Any], str]]) -> tuple[str, Any]:
    """The format of a file and its `part`, which its digest covers; Altered when it is not as it was written.

    digests: how each format that is known makes its digest, by its name; those of versions to come begin alike.
    """
    family = next(iter(digests)).rpartition("-")[0]
    try:
        # Python's own reader: 0.1.0 wrote NaN where there was no value, and its digest covers that.
        told = json.loads(content)
        found, body = told["format"], told[part]
        other = isinstance(found, str) and found not in digests and found.startswith(f"{family}-")
        intact = found in digests and told["digest"] == digests[found](body)
    # No text, no JSON, a number of thousands of digits; other fields, or none; nested too deep.
    except (ValueError, KeyError, TypeError, RecursionError):
        other = intact = False
    if other:
        raise Altered(f"one of another version of EverAnimate (format {shown(found)})")
    if not intact:
        raise Altered("an altered one")
    return found, body


def check_kinds(body: Mapping[str, Any], kinds: Mapping[str, Any], what: str) -> None:
    """Raise Altered unless `body` has just these fields, each of which its test accepts.

    A digest can be made by anybody: what relies on the types of a file's values has them checked first.
    """
    if not isinstance(body, dict) or body.keys() != kinds.keys():
        raise Altered(f"one whose {what} has other fields")
    for name, value in body.items():
        if not kinds[name](value):
            raise Altered(f"one whose {what} has another kind of {name}")


def is_text(value: Any) -> bool:
    """For check_kinds."""
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """For check_kinds: a number of frames or chunks."""
    return type(value) is int and 0 <= value < 2**31


def is_seed(value: Any) -> bool:
    """For check_kinds."""
    return type(value) is int and 0 <= value < 2**64


def is_number(value: Any) -> bool:
    """For check_kinds."""
    return type(value) in (int, float) and abs(value) < 1e300


def is_rate(value: Any) -> bool:
    """For check_kinds: frames a second, as the text of a fraction."""
    with suppress(ValueError, ZeroDivisionError):
        return is_text(value) and Fraction(value) > 0
    return False


def is_score(value: Any) -> bool:
    """For check_kinds: None where there is no value."""
    return value is None or is_number(value)


def is_texts(value: Any) -> bool:
    """For check_kinds: texts by name."""
    return isinstance(value, dict) and all(map(is_text, value.values()))
