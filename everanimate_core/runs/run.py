"""A long animation that survives: every chunk is kept as it finishes, and a second start goes on where the first ended.

Used by the ComfyUI node and by the command line alike; both supply `sample_chunk` and a codec.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import av
from torch import Tensor

from ..everanimate.flow import chunk_seed
from ..everanimate.memory import ContextMemory, channel_drift
from ..everanimate.propagation import ChunkRequest, ChunkResult, animate, check_latents, decode_chunk
from ..files import probe
from ..media.reader import VideoError
from ..media.writer import VideoWriter, concat_segments
from ..ports import Codec, SampleChunk
from .fingerprint import digest, file_digest
from .job import Job
from .manifest import ChunkRecord, Manifest
from .ownership import OwnershipLost
from .preflight import check_places, check_space
from .progress import Progress, RemainingTime
from .store import ANEW, ANOTHER_NAME, DamagedChunk, RunError, RunFailed, RunStore

# Whoever starts runs finds all of them here.
__all__ = ["Job", "Outcome", "Progress", "RemainingTime", "RunFailed", "run"]


@dataclass(frozen=True)
class Outcome:
    """A finished run: its last chunk (with frames), and a report of JSON values."""

    last: ChunkResult
    report: dict[str, Any]


class _Run:
    """One start of a run: what is kept from before, and what has been added."""

    def __init__(self, job: Job, store: RunStore, codec: Codec, manifest: Manifest, from_chunk: int):
        self.job, self.store, self.codec, self.manifest = job, store, codec, manifest
        # Chunks before from_chunk are taken as they are, whatever has changed since.
        self.pinned = from_chunk
        self.key = digest(dict(manifest.settings))
        # Of the chunk in work: its record from an earlier start, which stays, and whether it is made all the same.
        self.record: ChunkRecord | None = None
        self.made = False

    def recall(self, index: int, memory: ContextMemory) -> ChunkResult | None:
        """Chunk `index` as an earlier start made it, if it is still what it has to be."""
        self.started = time.perf_counter()
        self.record = self.record_of(index) if index < len(self.manifest.chunks) else None
        try:
            kept = self.record and self.store.load_chunk(index, self.record, memory)
        except DamagedChunk:
            # No from_chunk can be set before the first chunk. It is made again as it was, so that what follows fits.
            if index or self.chunk_key(index, self.record.noise_seed) != self.record.key:
                raise
            kept, self.made, self.key, self.noise_seed = None, True, self.record.key, self.record.noise_seed
            return None
        if kept is None:
            self.record, self.made = None, True
            self.noise_seed = chunk_seed(self.job.seed, index, self.job.seed_mode)
            self.key = self.chunk_key(index, self.noise_seed)
            return None
        self.made, self.key = False, self.record.key
        latents, after = kept
        frames = None if self.has_segment(index) else self.decode(index, latents, memory)
        return ChunkResult(index, latents, frames, after)

    def record_of(self, index: int) -> ChunkRecord | None:
        """The record of chunk `index`, if it is made from what this start would make it from."""
        record = self.manifest.chunks[index]
        if index < self.pinned or record.key == self.chunk_key(index, record.noise_seed):
            return record
        self.refuse_total_loss(index)
        return None

    def chunk_key(self, index: int, noise_seed: int) -> str:
        """Digest of what chunk `index` depends on: its slice of the drivers, its prompt, its noise, all before it."""
        job = self.job
        slices = {
            name: digest(source.read(job.drivers.source_indices(job.plan, index, source)))
            for name, source in vars(job.drivers).items()
            if source is not None
        }
        return digest(self.key, slices, job.prompts[min(index, len(job.prompts) - 1)], noise_seed)

    def refuse_total_loss(self, index: int) -> None:
        """Raise RunError when nothing of a finished run could be kept: that is another run."""
        if index == 0:
            raise RunError(
                "the first chunk's pose, face, background and prompt",
                "must be the run's own",
                f"{ANOTHER_NAME}, or {ANEW}",
                f"others, and {len(self.manifest.chunks)} finished chunks in {self.store.folder}",
            )

    def has_segment(self, index: int) -> bool:
        """Whether the video of a chunk with a record is as it was written, and as long as it has to be."""
        span, segment = self.job.plan.output_range(index), self.store.segment_path(index)
        complete = (self.record.start, self.record.stop) == (span.start, span.stop)
        return complete and segment.is_file() and file_digest(segment) == self.record.segment

    def decode(self, index: int, latents: Tensor, memory: ContextMemory) -> Tensor:
        """The frames of the animation that a kept chunk holds."""
        return decode_chunk(latents, memory, self.codec, self.job.latent_context)[self.job.plan.kept(index)]

    def sample_and_keep(self, sample_chunk: SampleChunk, request: ChunkRequest, _: int) -> Tensor:
        """Sample a chunk and keep its latents before anything is decoded; what was kept so is not sampled again."""
        index = request.index
        latents = kept = self.usable(index, self.store.sampled_latents(index, self.key))
        if kept is None:
            latents = sample_chunk(request, self.noise_seed)
            try:
                check_latents(latents, self.job.plan, self.job.memory, index)
            except ValueError as error:
                raise RunFailed(f"{error} Nothing of it was kept. {kept_chunks(self.store, self.manifest)}") from None
            # Laid out as they are read from a file, where a later start finds them: sums over another layout differ.
            latents = latents.contiguous()
        if self.record is None:
            # From here on the files of older records are replaced.
            self.manifest = replace(self.manifest, chunks=self.manifest.chunks[:index])
            self.store.write_manifest(self.manifest)
        if kept is None:
            self.store.save_latents(index, self.key, latents)
        return latents

    def usable(self, index: int, latents: Tensor | None) -> Tensor | None:
        """Latents from disk, None where they can be of no use: 0.1.0 kept them before it looked at them."""
        with suppress(ValueError):
            check_latents(latents, self.job.plan, self.job.memory, index)
            return latents
        return None

    def keep(self, result: ChunkResult, before: ContextMemory) -> Progress:
        """Write what is new of a chunk, its record last."""
        index, record = result.index, self.record
        if record and result.frames is None:
            return Progress(index, self.job.plan.chunk_count, record, kept=True)
        if self.made:
            self.store.save_chunk(index, self.key, result.latents, before, result.memory)
        video = {} if record and self.has_segment(index) else self.write_segment(index, result.frames)
        made = self.made_now(result) if self.made else {}
        if record is None:
            record = ChunkRecord(key=self.key, noise_seed=self.noise_seed, **made, **video)
        else:
            record = replace(record, **made, **video)
        chunks = self.manifest.chunks
        self.manifest = replace(self.manifest, chunks=(*chunks[:index], record, *chunks[index + 1 :]))
        self.store.write_manifest(self.manifest)
        return Progress(index, self.job.plan.chunk_count, record, kept=not self.made)

    def write_segment(self, index: int, frames: Tensor) -> dict[str, Any]:
        """Write the video of a chunk; what its record says of it."""
        job, segment, span = self.job, self.store.segment_path(index), self.job.plan.output_range(index)
        with self.store.part(segment) as part:
            with VideoWriter(part, job.fps, job.memory.width, job.memory.height) as video:
                video.write(frames)
            written = file_digest(part)
        return {"segment": written, "start": span.start, "stop": span.stop, "frames": digest(frames)}

    def made_now(self, result: ChunkResult) -> dict[str, Any]:
        """What the record says of a chunk that was made just now."""
        drift = channel_drift(result.latents, result.memory.statistics)
        return {
            "latents": file_digest(self.store.chunk_path(result.index)),
            "seconds": round(time.perf_counter() - self.started, 3),
            # Infinite for numbers so large that their squares are no numbers any more.
            "drift": round(drift, 6) if isfinite(drift) else None,
        }

    def join(self, path: Path) -> None:
        """Join the finished segments, if there are any, into `path`, with sound."""
        count = min(len(self.manifest.chunks), self.job.plan.chunk_count)
        if count:
            segments = [self.store.segment_path(i) for i in range(count)]
            with self.store.part(path) as part:
                concat_segments(segments, part, self.job.audio_from, self.job.audio_start, self.job.metadata)


def begin(job: Job, found: Manifest | None, from_chunk: int) -> tuple[Job, Manifest]:
    """The job and the manifest to go on with; RunError when the run that was `found` is made with something else.

    A run that an earlier version began goes on with settings and prompts as that version made them.
    """
    last = min(len(found.chunks), job.plan.chunk_count - 1) if found else 0
    if not 0 <= from_chunk <= last:
        raise RunError("from_chunk", "must be a finished chunk or the one after the last", f"0..{last}", from_chunk)
    new = job, Manifest(job.constants(), {"0": job.seed})
    if found is None:
        return new
    job = job.begun_as(found.format)
    constants = job.constants() | {"seed": job.seed}
    before = {**found.settings, "seed": found.seed}
    names = sorted((constants.keys() | before.keys()) - {"seed"}) + ([] if from_chunk else ["seed"])
    other = [name for name in names if constants.get(name) != before.get(name)]
    if other and not found.chunks:
        return new
    if other:
        differences = ", ".join(f"{name} {constants.get(name)} (was {before.get(name)})" for name in other)
        raise RunError(
            "this run",
            "was started with other settings",
            f"{ANOTHER_NAME}, or {ANEW}; with from_chunk the seed may change",
            differences,
        )
    if not from_chunk:
        return job, found
    seeds = {first: seed for first, seed in found.seeds.items() if int(first) < from_chunk}
    return job, replace(found, seeds=seeds | {str(from_chunk): job.seed}, chunks=found.chunks[:from_chunk])


def run(
    job: Job,
    store: RunStore,
    sample_chunk: SampleChunk,
    codec: Codec,
    path: Path,
    resume: bool = True,
    from_chunk: int = 0,
    on_chunk: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Make the animation, or what is missing of it, and join it into the video `path`.

    resume: go on with what the store holds; else it is set aside. from_chunk: make this chunk and all that follow again
    (0: none). on_chunk is called after each chunk. Whatever ends the run early, finished chunks stay in the store and
    are joined into `path`. Raises RunError for a run that cannot be continued so, ValueError for inputs that cannot
    serve, RunFailed when files cannot be written, what is sampled is no numbers or an input fails after chunks were
    finished, and what `sample_chunk` or a callback raises.
    """
    job.check()
    check_places(store.folder, path, getattr(job.audio_from, "source", job.audio_from))
    if from_chunk and not resume:
        raise RunError("from_chunk", "needs the chunks before it", "resume true", f"{from_chunk} and resume false")
    current = None
    try:
        with store.locked():
            store.clear(path)
            if not resume:
                store.set_aside()
            job, manifest = begin(job, store.read_manifest(), from_chunk)
            current = _Run(job, store, codec, manifest, from_chunk)
            try:
                store.prepare()
                path.parent.mkdir(parents=True, exist_ok=True)
                probe(path)
                check_space(job.plan, job.memory, len(manifest.chunks), store.folder, path)
                result, before = _make_chunks(job, current, sample_chunk, codec, on_chunk)
            except RunError:
                raise
            except BaseException:
                # What is finished can be watched; what ended the run is told, not a fault of this. A program that took
                # over, though, is why parts of files are missing.
                with suppress(OSError, av.FFmpegError, VideoError):
                    store.check_owner()
                    current.join(path)
                store.leave()
                raise
            current.join(path)
    except RunError:
        raise
    except OwnershipLost:
        raise RunFailed(
            f"a run is written by one program at a time; another one took over {store.folder} while this one "
            "was paused, and goes on there."
        ) from None
    except (OSError, av.FFmpegError, ValueError) as error:
        if store.deleted:
            raise RunFailed(
                "a run's folder must stay where it is while the run is going (the next start makes all chunks "
                f"anew, or puts it back first); {store.folder} was deleted or moved."
            ) from error
        kept = kept_chunks(store, current.manifest if current else None)
        if not isinstance(error, ValueError):
            raise RunFailed(f"the run's files must be writable and the disk not full; got {error}. {kept}") from error
        if current is None or not current.manifest.chunks:
            raise
        raise RunFailed(f"{error} {kept}") from error
    if result.frames is None:
        frames = decode_chunk(result.latents, before, codec, job.latent_context)
        result = replace(result, frames=frames[job.plan.kept(result.index)])
    chunks = [vars(record) for record in current.manifest.chunks]
    return Outcome(result, {"frames": job.plan.total_frames, "fps": str(job.fps), "chunks": chunks})


def kept_chunks(store: RunStore, manifest: Manifest | None) -> str:
    """How many chunks are there for the next start, for a message."""
    records = manifest.chunks if manifest else ()
    there = [store.chunk_path(index).is_file() for index in range(len(records))]
    finished = there.index(False) if False in there else len(there)
    return f"{finished} finished chunks are kept in {store.folder}; the same run goes on from there."


def _make_chunks(job, current, sample_chunk, codec, on_chunk) -> tuple[ChunkResult, ContextMemory]:
    """All chunks of the job; the last one, and the memory that it was made from."""
    memory = job.memory
    for result in animate(
        job.plan,
        memory,
        partial(current.sample_and_keep, sample_chunk),
        codec,
        job.drivers,
        current.manifest.first_seed,
        job.seed_mode,
        job.keyframes,
        job.clip_source,
        latent_context=job.latent_context,
        recall=current.recall,
        restoration=job.restoration,
    ):
        on_chunk(current.keep(result, memory))
        before, memory = memory, result.memory
    return result, before
