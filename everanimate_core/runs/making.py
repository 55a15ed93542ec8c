"""One chunk of a run: found as an earlier start made it, or made now and kept."""

import time
from collections.abc import Mapping, Sequence
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
from .stages import SAMPLING, stage
from .store import RunStore, file_is


@dataclass(frozen=True)
class KeptChunk:
    """A chunk that is on disk now.

    latents: [1, C, T, h, w]. frames: its frames of the video [n, H, W, 3], None where they need not be decoded again.
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


class UnusableSample(ValueError):
    """What was sampled is not what the method asks for, or no numbers."""


class Chunks:
    """The chunks of a job in its store."""

    def __init__(self, job: Job, store: RunStore, sample_chunk: Sample, codec: Codec):
        self.job, self.store, self.codec = job, store, codec
        self.sample_chunk = stage(SAMPLING)(sample_chunk)
        self.settings = digest(job.settings())

    def recipe(self, chunk: Chunk, anew: int) -> Recipe:
        """What decides a chunk that this start makes. anew: see Recipe."""
        index, method = chunk.index, self.job.method
        seen = {name: digest(frames) for name, frames in chunk.all().items()} | {"prompt": self.job.prompt(index)}
        return Recipe(self.settings, index, seen, method.noise_seed(index), anew)

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
        written = self.write_segment(kept.record, frames)
        record = replace(kept.record, segments={**kept.record.segments, **written})
        self.store.write_record(record)
        return replace(kept, frames=frames, record=record)

    def decoded(self, kept: KeptChunk) -> Tensor:
        """The frames of the animation that a chunk supplies, decoded again."""
        frames = self.job.method.decode(kept.before, kept.latents, self.codec)
        return frames[self.job.plan.kept(kept.index)]

    def make(
        self, chunk: Chunk, before: State, recipe: Recipe, key: str, between: Between | None, sampled: Sampled | None
    ) -> KeptChunk:
        """Make a chunk and keep it, its record last. between: what holds its end. sampled: it was sampled before."""
        started, index = time.perf_counter(), chunk.index
        # The first chunk chooses keyframes by its own seed, whatever seed this start has.
        method = self.job.method if index else self.job.method.begun_with(recipe.noise_seed)
        if sampled is None:
            sampled = self.sampled(chunk, before, recipe, key, between)
        frames = method.decode(before, sampled.latents, self.codec)
        check_frames(frames, index)
        after = method.hand_over(before, chunk, sampled, frames, self.codec) if between is None else between.after
        self.store.save_chunk(key, sampled, method.keep(before, after))
        drift = channel_drift(sampled.latents, after["statistics"])
        score = method.score(before, chunk, sampled, frames)
        record = ChunkRecord(
            key,
            recipe,
            file_digest(self.store.latents_path(key)),
            round(time.perf_counter() - started, 3),
            _rounded(drift),
            _rounded(score),
        )
        frames = frames[self.job.plan.kept(index)]
        record = replace(record, segments=self.write_segment(record, frames))
        self.store.write_record(record)
        return KeptChunk(index, sampled.latents, frames, before, after, record, found=False)

    def sampled(self, chunk: Chunk, before: State, recipe: Recipe, key: str, between: Between | None) -> Sampled:
        """Sample a chunk and keep it before anything is decoded; what was kept so is not sampled again."""
        kept = self.usable(chunk.index, self.store.read_sampled(key, self.job.method.extras))
        if kept is not None:
            return kept
        end = None if between is None else between.latents
        request = self.job.method.request(before, chunk, self.codec, end)
        made = self.sample_chunk(request, recipe.noise_seed)
        sampled = made if isinstance(made, Sampled) else Sampled(made)
        try:
            self.check_sampled(chunk.index, sampled)
        except ValueError as error:
            raise UnusableSample(str(error)) from None
        # Laid out as they are read from a file, where a later start finds them: sums over another layout differ.
        extras = {name: value.contiguous() for name, value in sampled.extras.items()}
        latents = sampled.latents.contiguous()
        if between is not None:
            latents = with_end(latents, between.latents)
            extras = dict(between.extras)
        sampled = Sampled(latents, extras)
        self.store.save_sampled(key, sampled)
        return sampled

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
