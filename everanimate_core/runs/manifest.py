"""What a run says of itself: with what it is made, and a record of every finished chunk, as one JSON file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch

from .. import __version__
from ..digests import digest
from ..errors import shown

# The format says how digests are made, too: a run goes on with those that it was begun with.
FORMAT = "everanimate-run-2"
FIRST_FORMAT = "everanimate-run-1"
FORMATS = (FIRST_FORMAT, FORMAT)
# A run that names no method is of the one that there was first.
FIRST_METHOD = "everanimate"


class ManifestError(ValueError):
    """What is wrong with a manifest, in a few words."""


@dataclass(frozen=True)
class ChunkRecord:
    """A finished chunk in the manifest.

    key: digest of all that it depends on. latents: digest of its file. segment: digest of its video. start, stop: the
    frames of the animation that the segment holds. frames: digest of those frames before video encoding. noise_seed,
    seconds, drift (None: it has no value): for the report.
    """

    key: str
    latents: str
    segment: str
    start: int
    stop: int
    frames: str
    noise_seed: int
    seconds: float
    drift: float | None


@dataclass(frozen=True)
class Manifest:
    """settings: what is constant for the run. seeds: {first chunk: seed}, more than one after a redo with another.

    format: one of FORMATS, that of the version which began the run.
    """

    settings: Mapping[str, Any]
    seeds: Mapping[str, int]
    chunks: tuple[ChunkRecord, ...] = ()
    format: str = FORMAT

    @property
    def seed(self) -> int:
        """The seed of the chunks to come."""
        return self.seeds[max(self.seeds, key=int)]

    @property
    def first_seed(self) -> int:
        """The seed of the first chunk, and so of the keyframes."""
        return self.seeds["0"]

    def to_json(self) -> str:
        """The text of the file."""
        chunks = [vars(chunk) for chunk in self.chunks]
        body = {"settings": dict(self.settings), "seeds": dict(self.seeds), "chunks": chunks}
        versions = {"everanimate": __version__, "torch": torch.__version__}
        content = {"format": self.format, "versions": versions, "digest": _digest(self.format, body), "run": body}
        return json.dumps(content, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        """Read what to_json wrote; ManifestError when it was altered or comes from a version to come."""
        try:
            # Python's own reader: 0.1.0 wrote NaN where there was no value, and its digest covers that.
            told = json.loads(content)
            version, body = told["format"], told["run"]
            other = isinstance(version, str) and version.startswith("everanimate-run-") and version not in FORMATS
            intact = version in FORMATS and told["digest"] == _digest(version, body)
        # No text, no JSON, a number of thousands of digits; other fields, or none; nested too deep.
        except (ValueError, KeyError, TypeError, RecursionError):
            other = intact = False
        if other:
            raise ManifestError(f"one of another version of EverAnimate (format {shown(version)})")
        if not intact:
            raise ManifestError("an altered one")
        return cls(*_checked(body), version)


def _digest(version: str, body: Mapping[str, Any]) -> str:
    return digest(body) if version == FIRST_FORMAT else digest(version, body)


def _checked(body: Any) -> tuple[dict[str, Any], dict[str, int], tuple[ChunkRecord, ...]]:
    """Settings, seeds and records of a manifest, with every type checked: a digest can be made by anybody."""
    if not isinstance(body, dict):
        raise ManifestError("one without a run")
    settings, seeds, chunks = (body.get(name) for name in ("settings", "seeds", "chunks"))
    if not isinstance(settings, dict) or not isinstance(chunks, list) or not isinstance(seeds, dict):
        raise ManifestError("one without settings, seeds and chunks")
    if "0" not in seeds or not all(re.fullmatch("[0-9]{1,9}", first) and _is_seed(seeds[first]) for first in seeds):
        raise ManifestError("one without whole numbers as seeds")
    return settings, seeds, tuple(_record(number, chunk) for number, chunk in enumerate(chunks))


def _record(number: int, chunk: Any) -> ChunkRecord:
    if not isinstance(chunk, dict) or chunk.keys() != _KINDS.keys():
        raise ManifestError(f"one whose record of chunk {number} has other fields")
    # 0.1.0 wrote NaN where there was no value.
    if isinstance(chunk["drift"], float) and not isfinite(chunk["drift"]):
        chunk = chunk | {"drift": None}
    for name, value in chunk.items():
        if not _KINDS[name](value):
            raise ManifestError(f"one whose record of chunk {number} has another kind of {name}")
    return ChunkRecord(**chunk)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_frame(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**64


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


_KINDS = {
    "key": _is_text,
    "latents": _is_text,
    "segment": _is_text,
    "start": _is_frame,
    "stop": _is_frame,
    "frames": _is_text,
    "noise_seed": _is_seed,
    "seconds": _is_number,
    "drift": lambda value: value is None or _is_number(value),
}
