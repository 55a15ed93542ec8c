"""A long animation that survives: every chunk is kept as it finishes, and a second start goes on where the first ended.

Used by the ComfyUI node and by the command line alike; both supply `sample_chunk` and a codec.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
from torch import Tensor

from .fingerprint import digest, file_digest
from .flow import chunk_seed
from .memory import Codec, ContextMemory, channel_drift
from .plan import ChunkPlan
from .propagation import ChunkRequest, ChunkResult, Drivers, animate, decode_chunk
from .restoration import OFF, Restoration
from .run_store import ChunkRecord, Manifest, RunError, RunStore
from .video import VideoError
from .video_writer import VideoWriter, concat_segments

SampleChunk = Callable[[ChunkRequest, int], Tensor]


class RunFailed(RuntimeError):
    """A run that could not go on; what it finished is kept, and the message says where."""


@dataclass(frozen=True)
class Job:
    """Everything that a run is made from, apart from the network itself.

    settings: JSON values that stand for all else that is constant (network, LoRA, sampler, noise levels); a run is only
    continued with the same. prompts: digest of each chunk's prompt, the last serves all that follow. fps: of the
    result. audio_from: the video whose sound goes with it, from audio_start seconds on. earlier: by the format of older
    manifests, what the versions that wrote them had as settings and prompts for the same run.
    """

    plan: ChunkPlan
    memory: ContextMemory
    drivers: Drivers
    settings: Mapping[str, Any]
    prompts: Sequence[str]
    fps: Fraction
    seed: int = 0
    seed_mode: str = "released"
    keyframes: str = "random"
    clip_source: str = "last_frame"
    latent_context: bool = False
    restoration: Restoration = OFF
    audio_from: Any = None
    audio_start: float = 0
    earlier: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] = field(default_factory=dict)

    def constants(self) -> dict[str, Any]:
        """What a run must share with an earlier part of it, as JSON values."""
        memory, restoration = self.memory, self.restoration
        # Left out where it is off: runs that were begun before there was restoration go on.
        restored = {f"restore_{name}": value for name, value in vars(restoration).items() if restoration.strength}
        return {
            **self.settings,
            "chunk_frames": self.plan.chunk_frames,
            "overlap": self.plan.overlap,
            "width": memory.width,
            "height": memory.height,
            "fps": str(self.fps),
            "references": digest(memory.references, memory.identity),
            "identity_latents": memory.identity_count,
            "motion_latents": memory.motion_count,
            "seed_mode": self.seed_mode,
            "keyframes": self.keyframes,
            "clip_source": self.clip_source,
            "latent_context": self.latent_context,
            **restored,
        }


@dataclass(frozen=True)
class Progress:
    """One finished chunk, for whoever watches; kept: it was there from an earlier start."""

    index: int
    chunks: int
    record: ChunkRecord
    kept: bool

    def __str__(self) -> str:
        frames = f"frames {self.record.start}-{self.record.stop - 1}"
        state = "kept" if self.kept else f"{self.record.seconds:.1f} s"
        return f"chunk {self.index + 1}/{self.chunks}: {frames}, {state}, drift {self.record.drift:.3f}"


class RemainingTime:
    """What is left of a run, by the median of the chunks made in it."""

    def __init__(self):
        self.seconds: list[float] = []

    def after(self, done: Progress) -> str:
        """ ", about 12 min left" behind the line of a chunk; empty where nothing can be said."""
        if not done.kept:
            self.seconds.append(done.record.seconds)
        left = done.chunks - done.index - 1
        if not left or not self.seconds:
            return ""
        minutes, seconds = divmod(round(left * median(self.seconds)), 60)
        return f", about {minutes} min {seconds} s left"


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
        self.keeping = True
        self.key = digest(dict(manifest.settings))

    def recall(self, index: int, memory: ContextMemory) -> ChunkResult | None:
        """Chunk `index` as an earlier start made it, if it is still what it has to be."""
        self.started = time.perf_counter()
        record = self.manifest.chunks[index] if self.keeping and index < len(self.manifest.chunks) else None
        self.noise_seed = chunk_seed(self.job.seed, index, self.job.seed_mode) if record is None else record.noise_seed
        expected = record.key if record and index < self.pinned else self.chunk_key(index)
        if record and record.key != expected:
            self.refuse_total_loss(index)
            record, self.noise_seed = None, chunk_seed(self.job.seed, index, self.job.seed_mode)
            expected = self.chunk_key(index)
        self.key, self.keeping = expected, record is not None
        if record is None:
            return None
        latents, after = self.store.load_chunk(index, record, memory)
        return ChunkResult(index, latents, self.missing_frames(index, record, latents, memory), after)

    def chunk_key(self, index: int) -> str:
        """Digest of what chunk `index` depends on: its slice of the drivers, its prompt, its noise, all before it."""
        job = self.job
        slices = {
            name: digest(source.read(job.plan.source_indices(index, source.frame_count)))
            for name, source in vars(job.drivers).items()
            if source is not None
        }
        return digest(self.key, slices, job.prompts[min(index, len(job.prompts) - 1)], self.noise_seed)

    def refuse_total_loss(self, index: int) -> None:
        """Raise RunError when nothing of a finished run could be kept: that is another run."""
        if index == 0:
            raise RunError(
                "Animate Long Video: the first chunk's pose, face, background and prompt must be the run's own (choose "
                f"another run name, or set resume to false); got others, and {len(self.manifest.chunks)} finished "
                f"chunks in {self.store.folder}."
            )

    def missing_frames(self, index: int, record: ChunkRecord, latents: Tensor, memory: ContextMemory) -> Tensor | None:
        """The frames of a kept chunk where its video has to be written again, None where it is there."""
        span, segment = self.job.plan.output_range(index), self.store.segment_path(index)
        complete = (record.start, record.stop) == (span.start, span.stop)
        if complete and segment.exists() and file_digest(segment) == record.segment:
            return None
        return decode_chunk(latents, memory, self.codec, self.job.latent_context)[self.job.plan.kept(index)]

    def sample_and_keep(self, sample_chunk: SampleChunk, request: ChunkRequest, noise_seed: int) -> Tensor:
        """Sample a chunk and keep its latents before anything is decoded; what was kept so is not sampled again."""
        index = request.index
        latents = kept = self.store.sampled_latents(index, self.key)
        if kept is None:
            # Laid out as they are read from a file, where a later start finds them: sums over another layout differ.
            latents = sample_chunk(request, noise_seed).contiguous()
        # From here on the files of older records are replaced.
        self.manifest = replace(self.manifest, chunks=self.manifest.chunks[:index])
        self.store.write_manifest(self.manifest)
        if kept is None:
            self.store.save_latents(index, self.key, latents)
        return latents

    def keep(self, result: ChunkResult, before: ContextMemory) -> Progress:
        """Write what is new of a chunk, its record last."""
        index, job, store = result.index, self.job, self.store
        if self.keeping and result.frames is None:
            return Progress(index, job.plan.chunk_count, self.manifest.chunks[index], kept=True)
        if not self.keeping:
            store.save_chunk(index, self.key, result.latents, before, result.memory)
        segment, span = store.segment_path(index), job.plan.output_range(index)
        with VideoWriter(segment, job.fps, job.memory.width, job.memory.height) as video:
            video.write(result.frames)
        written = {
            "segment": file_digest(segment),
            "start": span.start,
            "stop": span.stop,
            "frames": digest(result.frames),
        }
        if self.keeping:
            record, later = replace(self.manifest.chunks[index], **written), self.manifest.chunks[index + 1 :]
        else:
            record, later = self.new_record(result, written), ()
        self.manifest = replace(self.manifest, chunks=(*self.manifest.chunks[:index], record, *later))
        store.write_manifest(self.manifest)
        return Progress(index, job.plan.chunk_count, record, kept=self.keeping)

    def new_record(self, result: ChunkResult, written: dict[str, Any]) -> ChunkRecord:
        """The record of a chunk that was made just now."""
        return ChunkRecord(
            key=self.key,
            latents=file_digest(self.store.chunk_path(result.index)),
            noise_seed=self.noise_seed,
            seconds=round(time.perf_counter() - self.started, 3),
            drift=round(channel_drift(result.latents, result.memory.statistics), 6),
            **written,
        )

    def join(self, path: Path) -> None:
        """Join the finished segments, if there are any, into `path`, with sound."""
        count = min(len(self.manifest.chunks), self.job.plan.chunk_count)
        if count:
            segments = [self.store.segment_path(i) for i in range(count)]
            concat_segments(segments, path, self.job.audio_from, self.job.audio_start)


def begin(job: Job, store: RunStore, from_chunk: int) -> Manifest:
    """The manifest to go on with; RunError when the run on disk was made with something else."""
    constants = job.constants()
    found = store.read_manifest()
    last = min(len(found.chunks), job.plan.chunk_count - 1) if found else 0
    if not 0 <= from_chunk <= last:
        raise RunError(
            "Animate Long Video: from_chunk must be a finished chunk or the one after the last "
            f"(0..{last}); got {from_chunk}."
        )
    if found is None or not found.chunks:
        return Manifest(constants, {"0": job.seed})
    names = sorted(constants.keys() | found.settings.keys())
    other = [name for name in names if constants.get(name) != found.settings.get(name)]
    if found.seed != job.seed and not from_chunk:
        other.append("seed")
    if other:
        was, now = found.settings | {"seed": found.seed}, constants | {"seed": job.seed}
        differences = "; ".join(f"{name} {now.get(name)} instead of {was.get(name)}" for name in other)
        raise RunError(
            "Animate Long Video: a run is continued with what it was started with (choose another run name, or set "
            f"resume to false; with from_chunk the seed may change); got {differences}."
        )
    if not from_chunk:
        return found
    seeds = {first: seed for first, seed in found.seeds.items() if int(first) < from_chunk}
    return Manifest(found.settings, seeds | {str(from_chunk): job.seed}, found.chunks[:from_chunk])


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
    serve, RunFailed when files cannot be written or an input fails after chunks were finished, and what `sample_chunk`
    or a callback raises.
    """
    job.drivers.check(job.plan)
    job.plan.geometry(job.memory.identity_count, job.memory.motion_count)
    if from_chunk and not resume:
        raise RunError(
            f"Animate Long Video: from_chunk needs the chunks before it (resume true); got {from_chunk} and resume "
            "false."
        )
    current = None
    try:
        with store.locked():
            path.parent.mkdir(parents=True, exist_ok=True)
            if not resume:
                store.set_aside()
            current = _Run(job, store, codec, begin(job, store, from_chunk), from_chunk)
            try:
                result, before = _make_chunks(job, current, sample_chunk, codec, on_chunk)
            except RunError:
                raise
            except BaseException:
                # What is finished can be watched; what ended the run is told, not a fault of this.
                with suppress(OSError, av.FFmpegError, VideoError):
                    current.join(path)
                raise
            current.join(path)
    except RunError:
        raise
    except (OSError, av.FFmpegError) as error:
        raise RunFailed(
            f"Animate Long Video: the run's files must be writable and the disk not full; got {error}. "
            f"{_kept(store, current)}"
        ) from error
    except ValueError as error:
        if current is None or not current.manifest.chunks:
            raise
        raise RunFailed(f"{error} {_kept(store, current)}") from error
    if result.frames is None:
        frames = decode_chunk(result.latents, before, codec, job.latent_context)
        result = replace(result, frames=frames[job.plan.kept(result.index)])
    chunks = [vars(record) for record in current.manifest.chunks]
    return Outcome(result, {"frames": job.plan.total_frames, "fps": str(job.fps), "chunks": chunks})


def _kept(store: RunStore, current: _Run | None) -> str:
    finished = len(current.manifest.chunks) if current else 0
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
        job.seed,
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
