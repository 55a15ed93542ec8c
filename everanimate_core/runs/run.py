"""A long animation that survives: every chunk is kept as it finishes, and a second start goes on where the first ended.

Used by the ComfyUI nodes and by the command line alike; they supply the method, `sample_chunk` and a codec.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, cast

import av
from torch import Tensor

from ..digests import digest, file_digest
from ..errors import InputError
from ..files import probe
from ..latents import channel_drift, check_frames, check_latents
from ..media.reader import VideoError
from ..media.writer import VideoWriter, concat_segments
from ..method import Chunk, Sample, Sampled, State
from ..ports import Codec
from .job import Job
from .manifest import FIRST_METHOD, ChunkRecord, Manifest
from .ownership import OwnershipLost
from .preflight import check_places, check_space
from .progress import Progress
from .store import ANEW, ANOTHER_NAME, DamagedChunk, RunError, RunFailed, RunStore


@dataclass(frozen=True)
class KeptChunk:
    """A chunk that is on disk now.

    latents: [1, C, T, h, w]. frames: its frames of the video [n, H, W, 3], None where they need not be decoded again.
    before, after: what it was handed, and what it hands on. record: of the manifest. found: it was there from an
    earlier start.
    """

    index: int
    latents: Tensor
    frames: Tensor | None
    before: State
    after: State
    record: ChunkRecord
    found: bool


@dataclass(frozen=True)
class Outcome:
    """A finished run. frames: of the video, those of the last chunk [n, H, W, 3]. state: what that hands on. report:
    JSON values."""

    frames: Tensor
    state: State
    report: dict[str, Any]


@dataclass(frozen=True)
class _Work:
    """A chunk that is to be made. record: that of an earlier start which stays, for a chunk whose file is damaged."""

    chunk: Chunk
    before: State
    key: str
    noise_seed: int
    started: float
    record: ChunkRecord | None = None


class _Run:
    """One start of a run: what is kept from before, and what has been added."""

    def __init__(
        self, job: Job, store: RunStore, sample_chunk: Sample, codec: Codec, manifest: Manifest, from_chunk: int
    ):
        self.job, self.store, self.codec, self.manifest = job, store, codec, manifest
        self.sample_chunk = sample_chunk
        # Chunks before from_chunk are taken as they are, whatever has changed since.
        self.pinned = from_chunk
        self.method = job.method.begun_with(manifest.first_seed)

    def find_or_make(self, index: int, before: State) -> KeptChunk:
        """A chunk as an earlier start made it, if it is still what it has to be; else made now, and kept."""
        started = time.perf_counter()
        chunk = self.method.chunk(index)
        record = self.record_of(chunk)
        if record is not None:
            try:
                found = self.store.load_chunk(index, record, self.method)
            except DamagedChunk:
                # No from_chunk can be set before the first chunk. It is made again as it was: what follows has to fit.
                if index or self.chunk_key(chunk, record.noise_seed) != record.key:
                    raise
                return self.make(_Work(chunk, before, record.key, record.noise_seed, started, record))
            if found is not None:
                return self.keep_found(index, record, before, found)
        # The seed of this start, also where the run was begun with another one.
        seed = self.job.method.noise_seed(index)
        return self.make(_Work(chunk, before, self.chunk_key(chunk, seed), seed, started))

    def record_of(self, chunk: Chunk) -> ChunkRecord | None:
        """The record of a chunk, if there is one and the chunk is made from what this start would make it from."""
        index = chunk.index
        if index >= len(self.manifest.chunks):
            return None
        record = self.manifest.chunks[index]
        if index < self.pinned or record.key == self.chunk_key(chunk, record.noise_seed):
            return record
        self.refuse_total_loss(index)
        return None

    def chunk_key(self, chunk: Chunk, noise_seed: int) -> str:
        """Digest of what a chunk depends on: its slice of the drivers, its prompt, its noise, all before it."""
        index, prompts = chunk.index, self.job.prompts
        before = self.manifest.chunks[index - 1].key if index else digest(dict(self.manifest.settings))
        slices = {name: digest(frames) for name, frames in chunk.all().items()}
        return digest(before, slices, prompts[min(index, len(prompts) - 1)], noise_seed)

    def refuse_total_loss(self, index: int) -> None:
        """Raise RunError when nothing of a finished run could be kept: that is another run."""
        if index == 0:
            raise RunError(
                "the driving videos and the prompt of the first chunk",
                "must be the run's own",
                f"{ANOTHER_NAME}, or {ANEW}",
                f"others, and {len(self.manifest.chunks)} finished chunks in {self.store.folder}",
            )

    def has_segment(self, index: int, record: ChunkRecord) -> bool:
        """Whether the video of a chunk is as it was written, and as long as it has to be."""
        span, segment = self.job.plan.output_range(index), self.store.segment_path(index)
        complete = (record.start, record.stop) == (span.start, span.stop)
        return complete and segment.is_file() and file_digest(segment) == record.segment

    def keep_found(self, index: int, record: ChunkRecord, before: State, kept: State) -> KeptChunk:
        """A chunk of an earlier start; its video is written anew where it is missing or was cut."""
        frames, latents = None, kept["latents"]
        if not self.has_segment(index, record):
            frames = self.method.decode(before, latents, self.codec)[self.job.plan.kept(index)]
            record = replace(record, **self.write_segment(index, frames))
            self.write_record(index, record)
        return KeptChunk(index, latents, frames, before, self.method.recall(before, kept), record, found=True)

    def make(self, work: _Work) -> KeptChunk:
        """Make a chunk and keep it, its record last."""
        method, before, index = self.method, work.before, work.chunk.index
        sampled = self.sample_and_keep(method.request(before, work.chunk, self.codec), work)
        frames = method.decode(before, sampled.latents, self.codec)
        check_frames(frames, index)
        after = method.hand_over(before, work.chunk, sampled, frames, self.codec)
        frames = frames[self.job.plan.kept(index)]
        self.store.save_chunk(index, work.key, sampled, method.keep(before, after))
        video: dict[str, Any] = {}
        if work.record is None or not self.has_segment(index, work.record):
            video = self.write_segment(index, frames)
        made = self.made_now(index, sampled.latents, after, work.started)
        if work.record is None:
            record = ChunkRecord(key=work.key, noise_seed=work.noise_seed, **made, **video)
        else:
            record = replace(work.record, **made, **video)
        self.write_record(index, record)
        return KeptChunk(index, sampled.latents, frames, before, after, record, found=False)

    def sample_and_keep(self, request: Any, work: _Work) -> Sampled:
        """Sample a chunk and keep it before anything is decoded; what was kept so is not sampled again."""
        index = work.chunk.index
        kept = self.usable(index, self.store.read_sampled(index, work.key, self.method.extras))
        if kept is not None:
            sampled = kept
        else:
            made = self.sample_chunk(request, work.noise_seed)
            sampled = made if isinstance(made, Sampled) else Sampled(made)
            try:
                self.check_sampled(index, sampled)
            except ValueError as error:
                raise RunFailed(f"{error} Nothing of it was kept. {kept_chunks(self.store, self.manifest)}") from None
            # Laid out as they are read from a file, where a later start finds them: sums over another layout differ.
            extras = {name: value.contiguous() for name, value in sampled.extras.items()}
            sampled = Sampled(sampled.latents.contiguous(), extras)
        if work.record is None:
            # From here on the files of older records are replaced.
            self.manifest = replace(self.manifest, chunks=self.manifest.chunks[:index])
            self.store.write_manifest(self.manifest)
        if kept is None:
            self.store.save_sampled(index, work.key, sampled)
        return sampled

    def check_sampled(self, index: int, sampled: Sampled) -> None:
        """Raise InputError unless what was sampled of a chunk is what its method asks for, in finite numbers."""
        shapes = self.method.shapes()
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

    def write_record(self, index: int, record: ChunkRecord) -> None:
        """Put a chunk's record into the manifest, in the place of an older one."""
        chunks = self.manifest.chunks
        self.manifest = replace(self.manifest, chunks=(*chunks[:index], record, *chunks[index + 1 :]))
        self.store.write_manifest(self.manifest)

    def write_segment(self, index: int, frames: Tensor) -> dict[str, Any]:
        """Write the video of a chunk; what its record says of it."""
        job, segment, span = self.job, self.store.segment_path(index), self.job.plan.output_range(index)
        size = job.method.width, job.method.height
        with VideoWriter(segment, job.output.fps, *size, check=self.store.check_owner) as video:
            video.write(frames)
        return {"segment": file_digest(segment), "start": span.start, "stop": span.stop, "frames": digest(frames)}

    def made_now(self, index: int, latents: Tensor, after: State, started: float) -> dict[str, Any]:
        """What the record says of a chunk that was made just now."""
        drift = channel_drift(latents, after["statistics"])
        return {
            "latents": file_digest(self.store.chunk_path(index)),
            "seconds": round(time.perf_counter() - started, 3),
            # Infinite for numbers so large that their squares are no numbers any more.
            "drift": round(drift, 6) if isfinite(drift) else None,
        }

    def progress(self, kept: KeptChunk) -> Progress:
        """A chunk for whoever watches."""
        return Progress(kept.index, self.job.plan.chunk_count, kept.record, kept.found)

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
    seed = job.method.seed
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
    if "method" in other:
        methods = (settings.get("method", FIRST_METHOD) for settings in (constants, before))
        raise RunError("this run", "is one of another method", ANOTHER_NAME, "{} (was {})".format(*methods))
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
    sample_chunk: Sample,
    codec: Codec,
    path: Path,
    resume: bool = True,
    from_chunk: int = 0,
    on_chunk: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Make the job's video, or what is missing of it, and join it into `path`.

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
            current = _Run(job, store, sample_chunk, codec, manifest, from_chunk)
            try:
                store.prepare()
                path.parent.mkdir(parents=True, exist_ok=True)
                probe(path)
                check_space(job.method, len(manifest.chunks), store.folder, path)
                last = current.find_or_make(0, current.method.start())
                on_chunk(current.progress(last))
                for index in range(1, job.plan.chunk_count):
                    last = current.find_or_make(index, last.after)
                    on_chunk(current.progress(last))
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
    frames = last.frames
    if frames is None:
        frames = current.method.decode(last.before, last.latents, codec)[job.plan.kept(last.index)]
    records = [vars(record) for record in current.manifest.chunks]
    report = {"frames": job.plan.total_frames, "fps": str(job.output.fps), "chunks": records}
    return Outcome(frames, last.after, report)


def kept_chunks(store: RunStore, manifest: Manifest | None) -> str:
    """How many chunks are there for the next start, for a message."""
    records = manifest.chunks if manifest else ()
    there = [store.chunk_path(index).is_file() for index in range(len(records))]
    finished = there.index(False) if False in there else len(there)
    return f"{finished} finished chunks are kept in {store.folder}; the same run goes on from there."
