"""A finished chunk on disk: what decided it, under a key of just that, and what its files are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ..digests import digest
from ..method import State
from .sealed import Altered, check_kinds, is_count, is_number, is_score, is_seed, is_text, is_texts, seal, unseal

KIND = "everanimate-chunk-1"
KEY = re.compile("[0-9a-f]{32}")
_SEGMENT = re.compile(r"[0-9]+x[0-9]+(-[0-9]+)?")


@dataclass(frozen=True)
class Recipe:
    """What decides a chunk, besides what it is handed.

    settings: digest of what is the same for all chunks of a take (network, LoRA, size, ...). index: its number. seen:
    digests of its driving frames and its prompt, by name. noise_seed: of its noise. anew: number of the take that was
    to reuse no chunk, 0 for the others. end: digest of the latents that it has to end with, "" where it is free.
    """

    settings: str
    index: int
    seen: Mapping[str, str]
    noise_seed: int
    anew: int = 0
    end: str = ""

    def key(self, handed: str) -> str:
        """The chunk's key. handed: `state_digest` of what the chunk before hands on, however that was made."""
        return digest(KIND, {**vars(self), "seen": dict(self.seen)}, handed)

    def as_made(self, made: "Recipe") -> "Recipe":
        """This recipe with the settings and the noise with which a chunk was made: its drivers and prompt alone may
        differ."""
        return replace(made, index=self.index, seen=self.seen)


def state_digest(state: State) -> str:
    """Stands for what a chunk hands on."""
    return digest(*(part for name in sorted(state) for part in (name, state[name])))


@dataclass(frozen=True)
class Segment:
    """The video of a chunk, or of its first frames. file: digest of the file. frames: of what was encoded."""

    file: str
    frames: str


@dataclass(frozen=True)
class ChunkRecord:
    """What is known of a finished chunk.

    latents: digest of its file. seconds: it took. drift: see `latents.channel_drift`, score: see `Method.score`, both
    None where they have no value. segments: its videos by name, see `segment_name`. earlier: its number in the layout
    of 0.1.0 where its files lie in that, else None.
    """

    key: str
    recipe: Recipe
    latents: str
    seconds: float
    drift: float | None
    score: float | None
    segments: Mapping[str, Segment] = field(default_factory=dict)
    earlier: int | None = None

    def to_json(self) -> bytes:
        """The content of its file."""
        recipe = {**vars(self.recipe), "seen": dict(self.recipe.seen)}
        segments = {name: dict(vars(segment)) for name, segment in self.segments.items()}
        return seal(KIND, {**vars(self), "recipe": recipe, "segments": segments})

    @classmethod
    def from_json(cls, content: bytes) -> "ChunkRecord":
        """Read what to_json wrote; Altered when it is something else."""
        body = unseal(KIND, content)
        check_kinds(body, _KINDS, "record")
        check_kinds(body["recipe"], _RECIPE, "recipe")
        for name, segment in body["segments"].items():
            check_kinds(segment, {"file": is_text, "frames": is_text}, "segment")
            if not _SEGMENT.fullmatch(name):
                raise Altered("one whose segment has another name")
        segments = {name: Segment(**segment) for name, segment in body["segments"].items()}
        return cls(**{**body, "recipe": Recipe(**body["recipe"]), "segments": segments})


def segment_name(frames: int, fps: Fraction) -> str:
    """What tells the videos of one chunk apart: how many frames are shown, and how fast. "77x25", "5x24000-1001"."""
    return f"{frames}x{str(fps).replace('/', '-')}"


def is_key(value: Any) -> bool:
    """For check_kinds: the key of a chunk."""
    return is_text(value) and bool(KEY.fullmatch(value))


_RECIPE = {
    "settings": is_text,
    "index": is_count,
    "seen": is_texts,
    "noise_seed": is_seed,
    "anew": is_count,
    "end": is_text,
}
_KINDS = {
    "key": is_key,
    "recipe": lambda value: True,
    "latents": is_text,
    "seconds": is_number,
    "drift": is_score,
    "score": is_score,
    "segments": lambda value: isinstance(value, dict),
    "earlier": lambda value: value is None or is_count(value),
}
