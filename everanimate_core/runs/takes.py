"""A take: one way in which a run was made, as a list of chunks that it may share with other takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .chunks import KEY, ChunkRecord, is_key
from .sealed import check_kinds, is_count, is_number, is_rate, is_score, is_seed, is_text, seal, unseal

KIND = "everanimate-take-1"
# A take that names no method is of the one that there was first.
FIRST_METHOD = "everanimate"
FINISHED, UNFINISHED = "finished", "unfinished"


@dataclass(frozen=True)
class Candidate:
    """One of several chunks made for one place, of which the take has the best."""

    key: str
    noise_seed: int
    drift: float | None
    score: float | None


@dataclass(frozen=True)
class TakeChunk:
    """A chunk in the list of a take. start, stop: the frames of the animation that it supplies.

    noise_seed, seconds, drift, score: as in its record. candidates: all that were made for its place, itself among
    them; none where it was the only one.
    """

    key: str
    start: int
    stop: int
    noise_seed: int
    seconds: float
    drift: float | None
    score: float | None
    candidates: tuple[Candidate, ...] = ()

    @classmethod
    def of(cls, record: ChunkRecord, span: range, candidates: Sequence[Candidate] = ()) -> "TakeChunk":
        """The chunk with that record, at these frames of the animation."""
        measured = record.seconds, record.drift, record.score
        return cls(record.key, span.start, span.stop, record.recipe.noise_seed, *measured, tuple(candidates))


@dataclass(frozen=True)
class Take:
    """settings: what is the same for all chunks that it makes, as JSON values. output: what its video is made with,
    frames, rate and sound. widgets: what the user set, by the names of the settings, to tell takes apart.

    seed: of the chunks that it makes. first: the chunk from which it was made again, 0 for none. only: the chunk that
    alone was made again, -1 for none. of: the take that all other chunks were taken from then, else 0. anew: its own
    number if it was to reuse no chunk, or that of the take whose chunks it goes on with, else 0. state: FINISHED when
    all chunks and the video are there. video: digest of the video as it was joined last, "" for none.
    """

    number: int
    settings: Mapping[str, Any]
    output: Mapping[str, Any]
    widgets: Mapping[str, Any]
    seed: int
    first: int = 0
    only: int = -1
    of: int = 0
    anew: int = 0
    chunks: tuple[TakeChunk, ...] = ()
    state: str = UNFINISHED
    video: str = ""

    @property
    def method(self) -> str:
        """The method that it is made with."""
        return str(self.settings.get("method", FIRST_METHOD))

    def with_chunk(self, index: int, chunk: TakeChunk) -> "Take":
        """The take with this chunk at that place, instead of another one or behind the last."""
        return replace(self, chunks=(*self.chunks[:index], chunk, *self.chunks[index + 1 :]))

    def to_json(self) -> bytes:
        """The content of its file."""
        chunks = [
            {**vars(chunk), "candidates": [dict(vars(other)) for other in chunk.candidates]} for chunk in self.chunks
        ]
        plain = {name: dict(getattr(self, name)) for name in ("settings", "output", "widgets")}
        return seal(KIND, {**vars(self), **plain, "chunks": chunks})

    @classmethod
    def from_json(cls, content: bytes) -> "Take":
        """Read what to_json wrote; Altered when it is something else."""
        body = unseal(KIND, content)
        check_kinds(body, _KINDS, "take")
        return cls(**{**body, "chunks": tuple(map(_chunk, body["chunks"]))})


@dataclass(frozen=True)
class Difference:
    """What is not as it was: the name of a widget or an input, and its two values, in words."""

    name: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.name} was {self.was} and is {self.now}" if self.was else f"{self.name} is another one"


def differences(was: Take, now: Take) -> list[Difference]:
    """What the user has changed between two takes, and what has changed behind the widgets.

    A digest shows that an input is another one; what a widget explains is not told twice.
    """
    changed = [
        Difference(name, _shown(was.widgets.get(name)), _shown(value))
        for name, value in now.widgets.items()
        if name in was.widgets and was.widgets[name] != value
    ]
    explained = {difference.name for difference in changed}
    # Restoration that is switched on brings the settings that were there before.
    explained |= (was.settings.keys() ^ now.settings.keys()) & was.widgets.keys() & now.widgets.keys()
    if "steps" in explained or "shift" in explained:
        explained.add("sigmas")
    if was.seed != now.seed and "seed" not in explained:
        changed.append(Difference("seed", str(was.seed), str(now.seed)))
    for name in sorted(was.settings.keys() | now.settings.keys() | was.output.keys() | now.output.keys()):
        old, new = ({**take.settings, **take.output}.get(name) for take in (was, now))
        if None in (old, new) and name in was.widgets and name in now.widgets:
            # A setting that counts only together with another one.
            continue
        if old != new and name not in explained:
            digests = any(isinstance(value, str) and KEY.fullmatch(value) for value in (old, new))
            values = ("", "") if digests else (_shown(old), _shown(new))
            changed.append(Difference(called(name), *values))
    return changed


# What stands for an input in the files of a run, and what people call it.
_CALLED = {
    "network": "the model",
    "lora": "the LoRA on the model",
    "dglm": "the DGLM",
    "video_model": "the video model",
    "references": "the reference",
    "negative": "the negative prompt",
    "sound": "the sound",
    "prompt": "the prompt",
    "pose": "the pose",
    "face": "the face video",
    "background": "the background video",
    "mask": "the mask",
    "lineart": "the line art",
}


def called(name: str) -> str:
    """What people call an input of a run."""
    return _CALLED.get(name, name)


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _chunk(body: Any) -> TakeChunk:
    check_kinds(body, _CHUNK, "chunk")
    for candidate in body["candidates"]:
        check_kinds(candidate, _CANDIDATE, "candidate")
    return TakeChunk(**{**body, "candidates": tuple(Candidate(**candidate) for candidate in body["candidates"])})


_CANDIDATE = {"key": is_key, "noise_seed": is_seed, "drift": is_score, "score": is_score}
_CHUNK = {
    "key": is_key,
    "start": is_count,
    "stop": is_count,
    "noise_seed": is_seed,
    "seconds": is_number,
    "drift": is_score,
    "score": is_score,
    "candidates": lambda value: isinstance(value, list),
}
_KINDS = {
    "number": is_count,
    "settings": _is_object,
    "output": lambda value: _is_object(value) and is_rate(value.get("fps")),
    "widgets": _is_object,
    "seed": is_seed,
    "first": is_count,
    "only": lambda value: value == -1 or is_count(value),
    "of": is_count,
    "anew": is_count,
    "chunks": lambda value: isinstance(value, list),
    "state": lambda value: value in (FINISHED, UNFINISHED),
    "video": is_text,
}
