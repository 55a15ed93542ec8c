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
from typing import Any, cast

import av
from torch import Tensor

from ..everanimate.drivers import ChunkFrames
from ..everanimate.flow import chunk_seed
from ..everanimate.memory import ContextMemory, channel_drift
from ..everanimate.propagation import ChunkRequest, ChunkResult, check_latents, decode_chunk, each_chunk, make_chunk
from ..files import probe
from ..media.reader import VideoError
from ..media.writer import VideoWriter, concat_segments
from ..ports import Codec, SampleChunk
from .fingerprint import digest, file_digest
from .job import Job
from .manifest import ChunkRecord, Manifest
from .ownership import OwnershipLost
from .preflight import check_places, check_space
from .progress import Progress
from .store import ANEW, ANOTHER_NAME, DamagedChunk, RunError, RunFailed, RunStore


@dataclass(frozen=True)
class Outcome:
    """A finished run: its last chunk (with frames), and a report of JSON values."""

    last: ChunkResult
    report: dict[str, Any]


@dataclass(frozen=True)
class KeptChunk:
    """A chunk that is on disk now. result: its frames may be None. before: the memory that it was made from.

    record: of the manifest. found: it was there from an earlier start.
    """

    result: ChunkResult
    before: ContextMemory
    record: ChunkRecord
    found: bool

    @property
    def memory(self) -> ContextMemory:
        """What it leaves for the next."""
        return self.result.memory


@dataclass(frozen=True)
class _Work:
    """A chunk that is to be made. record: that of an earlier start which stays, for a chunk whose file is damaged."""

    chunk: ChunkFrames
    before: ContextMemory
    key: str
    noise_seed: int
    started: float
    record: ChunkRecord | None = None


class _Run:
    """One start of a run: what is kept from before, and what has been added."""

    def __init__(self, job: Job, store: RunStore, codec: Codec, manifest: Manifest, from_chunk: int):
        self.job, self.store, self.codec, self.manifest = job, store, codec, manifest
        # Chunks before from_chunk are taken as they are, whatever has changed since.
        self.pinned = from_chunk
        # Keyframes go by the seed that the run was begun with.
        self.settings = replace(job.settings, seed=manifest.first_seed)

    def find_or_make(
        self, sample_chunk: SampleChunk[ChunkRequest], chunk: ChunkFrames, before: ContextMemory
    ) -> KeptChunk:
        """A chunk as an earlier start made it, if it is still what it has to be; else made now, and kept."""
        started = time.perf_counter()
        record = self.record_of(chunk)
        if record is not None:
            try:
                found = self.store.load_chunk(chunk.index, record, before)
            except DamagedChunk:
                # No from_chunk can be set before the first chunk. It is made again as it was: what follows has to fit.
                if chunk.index or self.chunk_key(chunk, record.noise_seed) != record.key:
                    raise
                return self.make(sample_chunk, _Work(chunk, before, record.key, record.noise_seed, started, record))
            if found is not None:
                return self.keep_found(chunk.index, record, before, *found)
        seed = chunk_seed(self.job.settings.seed, chunk.index, self.job.settings.seed_mode)
        return self.make(sample_chunk, _Work(chunk, before, self.chunk_key(chunk, seed), seed, started))

    def record_of(self, chunk: ChunkFrames) -> ChunkRecord | None:
        """The record of a chunk, if there is one and the chunk is made from what this start would make it from."""
        index = chunk.index
        if index >= len(self.manifest.chunks):
            return None
        record = self.manifest.chunks[index]
        if index < self.pinned or record.key == self.chunk_key(chunk, record.noise_seed):
            return record
        self.refuse_total_loss(index)
        return None

    def chunk_key(self, chunk: ChunkFrames, noise_seed: int) -> str:
        """Digest of what a chunk depends on: its slice of the drivers, its prompt, its noise, all before it."""
        index, prompts = chunk.index, self.job.prompts
        before = self.manifest.chunks[index - 1].key if index else digest(dict(self.manifest.settings))
        slices = {name: digest(frames) for name, frames in chunk.all().items()}
        return digest(before, slices, prompts[min(index, len(prompts) - 1)], noise_seed)

    def refuse_total_loss(self, index: int) -> None:
        """Raise RunError when nothing of a finished run could be kept: that is another run."""
        if index == 0:
            raise RunError(
                "the first chunk's pose, face, background and prompt",
                "must be the run's own",
                f"{ANOTHER_NAME}, or {ANEW}",
                f"others, and {len(self.manifest.chunks)} finished chunks in {self.store.folder}",
            )

    def has_segment(self, index: int, record: ChunkRecord) -> bool:
        """Whether the video of a chunk is as it was written, and as long as it has to be."""
        span, segment = self.job.plan.output_range(index), self.store.segment_path(index)
        complete = (record.start, record.stop) == (span.start, span.stop)
        return complete and segment.is_file() and file_digest(segment) == record.segment

    def keep_found(
        self, index: int, record: ChunkRecord, before: ContextMemory, latents: Tensor, after: ContextMemory
    ) -> KeptChunk:
        """A chunk of an earlier start; its video is written anew where it is missing or was cut."""
        frames = None
        if not self.has_segment(index, record):
            frames = decode_chunk(latents, before, self.codec, self.settings.latent_context)
            frames = frames[self.job.plan.kept(index)]
            record = replace(record, **self.write_segment(index, frames))
            self.write_record(index, record)
        return KeptChunk(ChunkResult(index, latents, frames, after), before, record, found=True)

    def make(self, sample_chunk: SampleChunk[ChunkRequest], work: _Work) -> KeptChunk:
        """Make a chunk and keep it, its record last."""

        def sample(request: ChunkRequest, _: int) -> Tensor:
            return self.sample_and_keep(sample_chunk, request, work)

        index = work.chunk.index
        result = make_chunk(work.chunk, work.before, sample, self.codec, self.settings)
        self.store.save_chunk(index, work.key, result.latents, work.before, result.memory)
        video: dict[str, Any] = {}
        if work.record is None or not self.has_segment(index, work.record):
            video = self.write_segment(index, result.frames)
        made = self.made_now(result, work.started)
        if work.record is None:
            record = ChunkRecord(key=work.key, noise_seed=work.noise_seed, **made, **video)
        else:
            record = replace(work.record, **made, **video)
        self.write_record(index, record)
        return KeptChunk(result, work.before, record, found=False)

    def sample_and_keep(self, sample_chunk: SampleChunk[ChunkRequest], request: ChunkRequest, work: _Work) -> Tensor:
        """Sample a chunk and keep its latents before anything is decoded; what was kept so is not sampled again."""
        index = request.index
        kept = self.usable(index, self.store.sampled_latents(index, work.key))
        if kept is not None:
            latents = kept
        else:
            latents = sample_chunk(request, work.noise_seed)
            try:
                check_latents(latents, self.job.plan, self.job.memory, index)
            except ValueError as error:
                raise RunFailed(f"{error} Nothing of it was kept. {kept_chunks(self.store, self.manifest)}") from None
            # Laid out as they are read from a file, where a later start finds them: sums over another layout differ.
            latents = latents.contiguous()
        if work.record is None:
            # From here on the files of older records are replaced.
            self.manifest = replace(self.manifest, chunks=self.manifest.chunks[:index])
            self.store.write_manifest(self.manifest)
        if kept is None:
            self.store.save_latents(index, work.key, latents)
        return latents

    def usable(self, index: int, latents: Tensor | None) -> Tensor | None:
        """Latents from disk, None where they can be of no use: 0.1.0 kept them before it looked at them."""
        with suppress(ValueError):
            check_latents(latents, self.job.plan, self.job.memory, index)
            return latents
        return None

    def write_record(self, index: int, record: ChunkRecord) -> None:
        """Put a chunk's record into the manifest, in the place of an older one."""
        chunks = self.manifest.chunks
        self.manifest = replace(self.manifest, chunks=(*chunks[:index], record, *chunks[index + 1 :]))
        self.store.write_manifest(self.manifest)

    def write_segment(self, index: int, frames: Tensor) -> dict[str, Any]:
        """Write the video of a chunk; what its record says of it."""
        job, segment, span = self.job, self.store.segment_path(index), self.job.plan.output_range(index)
        size = job.memory.width, job.memory.height
        with VideoWriter(segment, job.output.fps, *size, check=self.store.check_owner) as video:
            video.write(frames)
        return {"segment": file_digest(segment), "start": span.start, "stop": span.stop, "frames": digest(frames)}

    def made_now(self, result: ChunkResult, started: float) -> dict[str, Any]:
        """What the record says of a chunk that was made just now."""
        # Every chunk leaves a memory with statistics.
        drift = channel_drift(result.latents, cast(Tensor, result.memory.statistics))
        return {
            "latents": file_digest(self.store.chunk_path(result.index)),
            "seconds": round(time.perf_counter() - started, 3),
            # Infinite for numbers so large that their squares are no numbers any more.
            "drift": round(drift, 6) if isfinite(drift) else None,
        }

    def join(self, path: Path) -> None:
        """Join the finished segments, if there are any, into `path`, with sound."""
        count, output = min(len(self.manifest.chunks), self.job.plan.chunk_count), self.job.output
        if count:
            segments = [self.store.segment_path(i) for i in range(count)]
            sound = output.sound, output.sound_start
            concat_segments(segments, path, *sound, output.metadata, self.store.check_owner)


def begin(job: Job, found: Manifest | None, from_chunk: int) -> tuple[Job, Manifest]:
    """The job and the manifest to go on with; RunError when the run that was `found` is made with something else.

    A run that an earlier version began goes on with settings and prompts as that version made them.
    """
    last = min(len(found.chunks), job.plan.chunk_count - 1) if found else 0
    if not 0 <= from_chunk <= last:
        raise RunError("from_chunk", "must be a finished chunk or the one after the last", f"0..{last}", from_chunk)
    seed = job.settings.seed
    new = job, Manifest(job.constants(), {"0": seed})
    if found is None:
        return new
    job = job.begun_as(found.format)
    constants = job.constants() | {"seed": seed}
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
    return job, replace(found, seeds=seeds | {str(from_chunk): seed}, chunks=found.chunks[:from_chunk])


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
    check_places(store.folder, path, getattr(job.output.sound, "source", None))
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
                chunks = each_chunk(job.plan, job.memory, job.drivers, partial(current.find_or_make, sample_chunk))
                for last in chunks:
                    on_chunk(Progress(last.result.index, job.plan.chunk_count, last.record, last.found))
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
    result = last.result
    if result.frames is None:
        frames = decode_chunk(result.latents, last.before, codec, job.settings.latent_context)
        result = replace(result, frames=frames[job.plan.kept(result.index)])
    records = [vars(record) for record in current.manifest.chunks]
    return Outcome(result, {"frames": job.plan.total_frames, "fps": str(job.output.fps), "chunks": records})


def kept_chunks(store: RunStore, manifest: Manifest | None) -> str:
    """How many chunks are there for the next start, for a message."""
    records = manifest.chunks if manifest else ()
    there = [store.chunk_path(index).is_file() for index in range(len(records))]
    finished = there.index(False) if False in there else len(there)
    return f"{finished} finished chunks are kept in {store.folder}; the same run goes on from there."
