"""One chunk of a run: found as an earlier start made it, or made now and kept.

A chunk is made in three steps. What it sees is read (`ready`); it is sampled, and what it hands on is known (`sample`,
`begin`); what is left is kept (`keep`). The first and the last may be done beside the sampling of another chunk.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, cast

import torch
from torch import Tensor

from ..digests import digest, file_digest
from ..errors import InputError
from ..latents import channel_drift, check_frames, check_latents, with_end
from ..media.writer import VideoWriter
from ..method import Chunk, Sample, Sampled, State
from ..ports import Codec
from .chunks import ChunkRecord, Recipe, Segment, segment_name
from .job import Job
from .stages import SAMPLING, in_chunk, stage
from .store import RunStore, file_is


@dataclass(frozen=True)
class ReadyChunk:
    """A chunk whose driving frames are read. seen: digests of these and of its prompt, by name."""

    chunk: Chunk
    seen: Mapping[str, str]


@dataclass(frozen=True)
class BegunChunk:
    """A chunk whose latents are on disk, and of which the next one can be made. Its driving frames are not held.

    before, after: what it was handed, and what it hands on. frames: all F of it [F, H, W, 3]; None where they are still
    to be decoded. seconds: what it took so far.
    """

    recipe: Recipe
    key: str
    before: State
    after: State
    sampled: Sampled
    frames: Tensor | None
    seconds: float


@dataclass(frozen=True)
class KeptChunk:
    """A chunk that is on disk now.

    latents: [1, C, T, h, w]. frames: all F of it [F, H, W, 3], None where they need not be decoded again.
    before, after: what it was handed, and what it hands on. found: it was there from an earlier start.
    """

    index: int
    latents: Tensor
    frames: Tensor | None
    before: State
    after: State
    record: ChunkRecord
    found: bool


@dataclass(frozen=True)
class Between:
    """What a chunk that is made again alone has to leave behind it, because the next one stays.

    latents: the end [1, C, m, h, w] from which the next chunk was made. extras: what else its host handed over. after:
    all that it hands on.
    """

    latents: Tensor
    extras: State
    after: State

    @property
    def digest(self) -> str:
        """Stands for what holds the chunk."""
        return digest(self.latents, *(part for name in sorted(self.extras) for part in (name, self.extras[name])))


@dataclass(frozen=True)
class ToMake:
    """A chunk that is made now. before: what it is handed. between: what holds its end, None where nothing does."""

    chunk: Chunk
    before: State
    recipe: Recipe
    key: str
    between: Between | None

    @property
    def index(self) -> int:
        """Of the chunk."""
        return self.chunk.index


class UnusableSample(ValueError):
    """What was sampled is not what the method asks for, or no numbers."""


class Chunks:
    """The chunks of a job in its store. codec_beside: chunks may be decoded beside the sampling of others."""

    def __init__(self, job: Job, store: RunStore, sample_chunk: Sample, codec: Codec, codec_beside: bool):
        self.job, self.store, self.codec, self.codec_beside = job, store, codec, codec_beside
        self.sample_chunk = stage(SAMPLING)(sample_chunk)
        self.settings = digest(job.settings())

    def ready(self, index: int) -> ReadyChunk:
        """Read what a chunk sees."""
        chunk = self.job.method.chunk(index)
        seen = {name: digest(frames) for name, frames in chunk.all().items()} | {"prompt": self.job.prompt(index)}
        return ReadyChunk(chunk, seen)

    def recipe(self, ready: ReadyChunk, anew: int) -> Recipe:
        """What decides a chunk that this start makes. anew: see Recipe."""
        index = ready.chunk.index
        return Recipe(self.settings, index, ready.seen, self.job.method.noise_seed(index), anew)

    def find(self, record: ChunkRecord | None, before: State) -> KeptChunk | None:
        """The finished chunk with that record, as far as its file is as it was written."""
        tensors = None if record is None else self.store.load(record, self.job.method)
        if record is None or tensors is None:
            return None
        after = self.job.method.recall(before, tensors)
        return KeptChunk(record.recipe.index, tensors["latents"], None, before, after, record, found=True)

    def between(self, found: KeptChunk) -> Between:
        """What holds a chunk that takes the place of this one."""
        method = self.job.method
        tensors = self.store.load(found.record, method)
        extras = {} if tensors is None else {name: tensors[name] for name in method.extras}
        end = found.latents[:, :, found.latents.shape[2] - method.end_latents :]
        return Between(end.clone(memory_format=torch.contiguous_format), extras, found.after)

    def with_video(self, kept: KeptChunk) -> KeptChunk:
        """A chunk with its video, which is written anew where it is missing, was cut or was of another length."""
        span = self.job.plan.output_range(kept.index)
        name = segment_name(len(span), self.job.output.fps)
        segment = kept.record.segments.get(name)
        if segment is not None and file_is(self.store.segment_path(kept.record, name), segment.file):
            return kept
        frames = self.decoded(kept)
        written = self.write_segment(kept.record, self.own(kept.index, frames))
        record = replace(kept.record, segments={**kept.record.segments, **written})
        self.store.write_record(record)
        return replace(kept, frames=frames, record=record)

    def decoded(self, kept: KeptChunk) -> Tensor:
        """All F frames of a chunk, decoded again where that is needed."""
        if kept.frames is not None:
            return kept.frames
        with in_chunk(kept.index):
            return self.job.method.decode(kept.before, kept.latents, self.codec)

    def own(self, index: int, frames: Tensor) -> Tensor:
        """The frames of the animation that a chunk supplies, of all F of it."""
        return frames[self.job.plan.kept(index)]

    def sample(self, asked: ToMake, on_sampling: Callable[[], None]) -> Sampled:
        """Sample a chunk and keep it before anything is decoded; what was kept so is not sampled again.

        on_sampling: called when all that the host has to know is gathered.
        """
        kept = self.usable(asked.index, self.store.read_sampled(asked.key, self.job.method.extras))
        if kept is not None:
            return kept
        between = asked.between
        end = None if between is None else between.latents
        request = self.job.method.request(asked.before, asked.chunk, self.codec, end)
        on_sampling()
        made = self.sample_chunk(request, asked.recipe.noise_seed)
        sampled = made if isinstance(made, Sampled) else Sampled(made)
        try:
            self.check_sampled(asked.index, sampled)
        except ValueError as error:
            raise UnusableSample(str(error)) from None
        # Laid out as they are read from a file, where a later start finds them: sums over another layout differ.
        extras = {name: value.contiguous() for name, value in sampled.extras.items()}
        latents = sampled.latents.contiguous()
        if between is not None:
            latents = with_end(latents, between.latents)
            extras = dict(between.extras)
        sampled = Sampled(latents, extras)
        self.store.save_sampled(asked.key, sampled)
        return sampled

    def begin(self, asked: ToMake, sampled: Sampled, seconds: float) -> BegunChunk:
        """What a chunk hands on; it is decoded now where that is seen in its frames alone, or where nobody may do so
        beside. seconds: that it took to be sampled."""
        started, method, before = time.perf_counter(), self.job.method, asked.before
        if not asked.index:
            # The first chunk chooses keyframes by its own seed, whatever seed this start has.
            method = method.begun_with(asked.recipe.noise_seed)
        after, frames = None if asked.between is None else asked.between.after, None
        if after is None and self.codec_beside:
            after = method.handed_early(before, asked.chunk, sampled)
        if after is None or not self.codec_beside:
            frames = self.decode(asked.index, before, sampled)
        if after is None:
            after = method.hand_over(before, asked.chunk, sampled, cast(Tensor, frames), self.codec)
        seconds += time.perf_counter() - started
        return BegunChunk(asked.recipe, asked.key, before, after, sampled, frames, seconds)

    def keep(self, begun: BegunChunk) -> KeptChunk:
        """Keep what is left of a chunk, its record last."""
        with in_chunk(begun.recipe.index):
            return self._keep(begun)

    def _keep(self, begun: BegunChunk) -> KeptChunk:
        started, index, key, sampled = time.perf_counter(), begun.recipe.index, begun.key, begun.sampled
        method = self.job.method
        frames = self.decode(index, begun.before, sampled) if begun.frames is None else begun.frames
        self.store.save_chunk(key, sampled, method.keep(begun.before, begun.after))
        drift = channel_drift(sampled.latents, begun.after["statistics"])
        score = method.score(begun.before, method.chunk(index), sampled, frames)
        record = ChunkRecord(
            key,
            begun.recipe,
            file_digest(self.store.latents_path(key)),
            round(begun.seconds + time.perf_counter() - started, 3),
            _rounded(drift),
            _rounded(score),
        )
        record = replace(record, segments=self.write_segment(record, self.own(index, frames)))
        self.store.write_record(record)
        return KeptChunk(index, sampled.latents, frames, begun.before, begun.after, record, found=False)

    def decode(self, index: int, before: State, sampled: Sampled) -> Tensor:
        """All F frames of a chunk that is made now; InputError where they are no numbers."""
        frames = self.job.method.decode(before, sampled.latents, self.codec)
        check_frames(frames, index)
        return frames

    def check_sampled(self, index: int, sampled: Sampled) -> None:
        """Raise InputError unless what was sampled of a chunk is what its method asks for, in finite numbers."""
        shapes = self.job.method.shapes()
        for name, tensor in {"latents": sampled.latents, **sampled.extras}.items():
            # None of them is of any length.
            check_latents(tensor, cast(tuple[int, ...], shapes[name]), index)

    def usable(self, index: int, sampled: Sampled | None) -> Sampled | None:
        """What was sampled before, None where it can be of no use: 0.1.0 kept latents before it looked at them."""
        if sampled is None:
            return None
        with suppress(InputError):
            self.check_sampled(index, sampled)
            return sampled
        return None

    def write_segment(self, record: ChunkRecord, frames: Tensor) -> Mapping[str, Segment]:
        """Write frames [n, H, W, 3] as a video of a chunk; what its record says of it."""
        job, name = self.job, segment_name(len(frames), self.job.output.fps)
        path = self.store.segment_path(record, name)
        size = job.method.width, job.method.height
        with VideoWriter(path, job.output.fps, *size, check=self.store.check_owner) as video:
            video.write(frames)
        return {name: Segment(file_digest(path), digest(frames))}


def _rounded(measured: float | None) -> float | None:
    """For a record; None where it is infinite, as for numbers so large that their squares are no numbers any more."""
    return None if measured is None or not isfinite(measured) else round(measured, 6)


def different_names(one: Mapping[str, Any], other: Mapping[str, Any]) -> Sequence[str]:
    """The names whose values differ, in order."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
