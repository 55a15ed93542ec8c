"""Run folders of 0.1.0, which are read as take 1 and never changed.

    <run>/manifest.json                what the run is made with, and a record of every finished chunk
    <run>/chunk_0000.safetensors       what was sampled, and what it hands on
    <run>/segment_0000.mp4             its frames of the animation

A chunk's key stood for all before it, by the key of the chunk before. A chunk that this job would make from the same
gets a key of today, under which other takes find it; its files stay where they are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any

from ..digests import digest
from ..method import Sampled
from .chunks import ChunkRecord, Recipe, Segment, segment_name
from .job import Job
from .sealed import Altered, check_kinds, is_count, is_number, is_rate, is_score, is_seed, is_text, opened
from .store import ANEW, RunError, RunStore, sampled_in
from .takes import Take, TakeChunk

MANIFEST = "manifest.json"
FIRST_FORMAT = "everanimate-run-1"
# The second one was never in a release; what it adds are other digests.
_DIGESTS = {FIRST_FORMAT: digest, "everanimate-run-2": lambda body: digest("everanimate-run-2", body)}


@dataclass(frozen=True)
class EarlierChunk:
    """A finished chunk in the manifest.

    key: digest of all that it depends on. latents: digest of its file. segment: digest of its video. start, stop: the
    frames of the animation that the segment holds. frames: digest of those frames before video encoding.
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

    @property
    def score(self) -> float | None:
        """What tells it from other candidates: its drift, which is measured against the first chunk."""
        return self.drift if self.start else None


@dataclass(frozen=True)
class Manifest:
    """settings: what is constant for the run. seeds: {first chunk: seed}, more than one after a redo with another."""

    settings: Mapping[str, Any]
    seeds: Mapping[str, int]
    chunks: tuple[EarlierChunk, ...]
    format: str

    @property
    def seed(self) -> int:
        """The seed of the chunks to come."""
        return self.seeds[max(self.seeds, key=int)]

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        """Read a manifest; Altered when it is not as it was written, or comes from a version to come."""
        version, body = opened(content, "run", _DIGESTS)
        return cls(*_checked(body), version)


class Earlier:
    """A run of 0.1.0 as a job of today sees it."""

    def __init__(self, manifest: Manifest, job: Job, store: RunStore):
        self.manifest, self.store = manifest, store
        self.job = job.begun_as(manifest.format)
        self.fps = manifest.settings["fps"]
        constants = self.job.settings() | {"fps": self.fps, "seed": self.job.method.seed}
        # Whether the job makes chunks with the same settings and seed. The rate alone shows in what they see.
        self.same = constants == {**manifest.settings, "seed": manifest.seed}

    def as_then(self, take: Take) -> Take:
        """A take of the job, described with the digests of that version and with what it knew of its video."""
        output = {"fps": str(self.job.output.fps), "total_frames": None}
        return replace(take, settings=self.job.settings(), output=output)

    def goes_on(self) -> bool:
        """Whether the job makes a video of the same rate and length, as far as finished chunks tell the length."""
        chunks, plan = self.manifest.chunks, self.job.plan
        if len(chunks) > plan.chunk_count or self.fps != str(self.job.output.fps):
            return False
        spans = [(old.start, old.stop) for old in chunks]
        return spans == [(span.start, span.stop) for span in map(plan.output_range, range(len(chunks)))]

    @property
    def count(self) -> int:
        """How many chunks are finished."""
        return len(self.manifest.chunks)

    def there(self) -> int:
        """How many of them, from the first on, have their files."""
        paths = [self.store.folder / f"chunk_{index:04d}.safetensors" for index in range(self.count)]
        return next((index for index, path in enumerate(paths) if not path.is_file()), self.count)

    def record(self, recipe: Recipe, handed: str, any_inputs: bool = False) -> ChunkRecord | None:
        """The chunk with a key of today; None when there is none that the job would make from the same.

        recipe: as the job makes the chunk. handed: digest of what it is handed. any_inputs: take the chunk as it is,
        whatever it was made from.
        """
        index = recipe.index
        if index >= self.count:
            return None
        old = self.manifest.chunks[index]
        recipe = replace(recipe, noise_seed=old.noise_seed)
        if old.key != self._key(recipe, old.noise_seed):
            if not any_inputs:
                return None
            # What it was made from is not known. It must not be found by who makes it from these inputs.
            recipe = replace(recipe, seen={"earlier": old.key})
        segments = {segment_name(old.stop - old.start, Fraction(self.fps)): Segment(old.segment, old.frames)}
        key, measured = recipe.key(handed), (old.seconds, old.drift, old.score)
        return ChunkRecord(key, recipe, old.latents, *measured, segments, index)

    def sampled(self, recipe: Recipe, extras: tuple[str, ...]) -> Sampled | None:
        """What was sampled of the chunk after the last finished one, None when there is nothing."""
        if recipe.index != len(self.manifest.chunks):
            return None
        path = self.store.folder / f"chunk_{recipe.index:04d}.safetensors"
        return sampled_in(path, self._key(recipe, recipe.noise_seed), extras)

    def _key(self, recipe: Recipe, noise_seed: int) -> str:
        index, prompts = recipe.index, self.job.prompts
        before = self.manifest.chunks[index - 1].key if index else digest(dict(self.manifest.settings))
        slices = {name: seen for name, seen in recipe.seen.items() if name != "prompt"}
        return digest(before, slices, prompts[min(index, len(prompts) - 1)], noise_seed)


def earlier_take(manifest: Manifest) -> Take:
    """The run as take 1. Its chunks have the keys of that time."""
    settings = {name: value for name, value in manifest.settings.items() if name != "fps"}
    output = {"fps": manifest.settings["fps"], "total_frames": None}
    chunks = [
        TakeChunk(old.key, old.start, old.stop, old.noise_seed, old.seconds, old.drift, old.score)
        for old in manifest.chunks
    ]
    return Take(1, settings, output, {}, manifest.seed, chunks=tuple(chunks))


def clear_earlier_parts(folder: Path) -> None:
    """Delete what a killed 0.1.0 left of files that it never finished; for the owner of the run alone."""
    for pattern in (".manifest.json.part", ".chunk_*.safetensors.part", "segment_*.part.mp4"):
        for part in list(folder.glob(pattern)):
            part.unlink()


def read_earlier(store: RunStore) -> Manifest | None:
    """The manifest of a run of 0.1.0, None when there is none; RunError when it is damaged or was altered."""
    path = store.folder / MANIFEST
    if not path.exists():
        return None
    try:
        if not path.is_file():  # a pipe would be waited for
            raise Altered("no file")
        return Manifest.from_json(path.read_bytes())
    except Altered as error:
        raise RunError(
            f"the run's {MANIFEST}",
            "must be as it was written",
            f"restore it, or {ANEW}: that opens the next take, and the chunks in {store.folder} are untouched",
            error,
        ) from None


def _checked(body: Any) -> tuple[dict[str, Any], dict[str, int], tuple[EarlierChunk, ...]]:
    """Settings, seeds and records of a manifest, with every type checked: a digest can be made by anybody."""
    if not isinstance(body, dict):
        raise Altered("one without a run")
    settings, seeds, chunks = (body.get(name) for name in ("settings", "seeds", "chunks"))
    if not isinstance(settings, dict) or not isinstance(chunks, list) or not isinstance(seeds, dict):
        raise Altered("one without settings, seeds and chunks")
    if not is_rate(settings.get("fps")):
        raise Altered("one without a rate")
    if "0" not in seeds or not all(re.fullmatch("[0-9]{1,9}", first) and is_seed(seeds[first]) for first in seeds):
        raise Altered("one without whole numbers as seeds")
    return settings, seeds, tuple(_chunk(number, chunk) for number, chunk in enumerate(chunks))


def _chunk(number: int, chunk: Any) -> EarlierChunk:
    # 0.1.0 wrote NaN where there was no value.
    if isinstance(chunk, dict) and isinstance(chunk.get("drift"), float) and not isfinite(chunk["drift"]):
        chunk = chunk | {"drift": None}
    check_kinds(chunk, _KINDS, f"record of chunk {number}")
    return EarlierChunk(**chunk)


_KINDS = {
    "key": is_text,
    "latents": is_text,
    "segment": is_text,
    "start": is_count,
    "stop": is_count,
    "frames": is_text,
    "noise_seed": is_seed,
    "seconds": is_number,
    "drift": is_score,
}
