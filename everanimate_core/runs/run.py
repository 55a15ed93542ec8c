"""A long animation that survives: every chunk is kept as it finishes, and a second start goes on where the first ended.

Used by the ComfyUI nodes and by the command line alike; they supply the method, `sample_chunk` and a codec.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
from torch import Tensor

from ..files import clear_parts, probe
from ..media.reader import VideoError
from ..method import Chunk, Sample, State
from ..noise import MAX_SEED
from ..ports import Codec
from .choosing import Choice, next_number
from .chunks import Recipe, state_digest
from .earlier import clear_earlier_parts
from .film import Film
from .job import Job
from .listing import list_takes
from .making import Between, Chunks, KeptChunk, UnusableSample, different_names
from .ownership import OwnershipLost
from .preflight import check_places, check_space
from .progress import Making, Progress
from .settings import RunSettings
from .stages import MAKING, OutOfMemory, stage
from .store import RunError, RunFailed, RunStore
from .takes import FINISHED, UNFINISHED, Candidate, TakeChunk, called
from .videos import Videos

# Between the seeds of the candidates for one chunk: far beyond what lies between those of neighbouring chunks. 64
# candidates stay within 32 bits: torch's generators on the CPU look at no more of a seed.
CANDIDATE_STEP = 67_108_859
AS_IT_IS = RunSettings()


@dataclass(frozen=True)
class Outcome:
    """A finished run. frames: of the video, those of the last chunk [n, H, W, 3]. state: what that hands on. path: of
    the take's video. report: JSON values."""

    frames: Tensor
    state: State
    path: Path
    report: dict[str, Any]


class _Run:
    """One start of a run: what is there from before, and what has been added."""

    def __init__(self, chunks: Chunks, choice: Choice, asked: RunSettings, on_making: Callable[[Making], None]):
        self.chunks, self.choice, self.asked, self.on_making = chunks, choice, asked, on_making
        self.job, self.store = chunks.job, chunks.store
        self.film = Film(self.job, self.store, choice)
        self.earlier = choice.earlier if choice.alike and asked.candidates == 1 else None

    def find_or_make(self, index: int, before: State) -> KeptChunk:
        """The chunk of the take at that place, as an earlier start made it or made now."""
        left = self.choice.as_it_is(index)
        if left is not None:
            return self.as_it_is(index, left, before)
        chunk = self.job.method.chunk(index)
        handed, own = state_digest(before), self.chunks.recipe(chunk, self.choice.take.anew)
        if not self.choice.made_again(index):
            kept = self.found_earlier(own, handed, before)
            if kept is None:
                kept, own = self.found_in_newest(own, handed, before)
            if kept is not None:
                return kept
        return self.best_candidate(chunk, own, handed, before)

    def as_it_is(self, index: int, left: TakeChunk, before: State) -> KeptChunk:
        """A chunk that stays, whatever has changed since it was made."""
        record = self.store.read_record(left.key)
        if record is None and self.choice.source_earlier is not None:
            chunk = self.job.method.chunk(index)
            record = self.choice.source_earlier.record(
                self.chunks.recipe(chunk, 0), state_digest(before), any_inputs=True
            )
        kept = self.chunks.find(record, before)
        self.know(kept)
        if kept is None:
            raise RunError(
                f"chunk {index} of the take before",
                "must be as it was written",
                "leave out from_chunk and only_chunk: it is made again then",
                "a file that was altered or deleted",
            )
        return self.listed(kept, left.candidates)

    def found_earlier(self, own: Recipe, handed: str, before: State) -> KeptChunk | None:
        """A chunk that 0.1.0 made."""
        record = None if self.earlier is None else self.earlier.record(own, handed)
        kept = self.chunks.find(record, before)
        if kept is None:
            # What follows was handed something that is not there any more.
            self.earlier = self.earlier if self.earlier and own.index == self.earlier.count else None
            return None
        self.choice.renamed(own.index, kept.record.key)
        self.know(kept)
        return self.listed(kept)

    def know(self, kept: KeptChunk | None) -> None:
        """Keep the record of a chunk of 0.1.0, under which it is found from now on."""
        if kept is not None and self.store.read_record(kept.record.key) is None:
            self.store.write_record(kept.record)

    def found_in_newest(self, own: Recipe, handed: str, before: State) -> tuple[KeptChunk | None, Recipe]:
        """The chunk of the newest take, if it sees the same; and what decides one that is made in its place.

        Chunks of a take may have been made with other seeds, or settings, before it was redone from a chunk on.
        """
        listed = self.choice.listed(own.index)
        if listed is None or max(1, len(listed.candidates)) < self.wanted(own.index):
            return None, own
        record = self.store.read_record(listed.key)
        made = replace(own, noise_seed=listed.noise_seed) if record is None else record.recipe
        if own.as_made(made).key(handed) != listed.key:
            return None, own
        kept = self.chunks.find(record, before)
        if kept is not None:
            return self.listed(kept, listed.candidates), own
        # Its file is damaged. It is made again as it was.
        again = made.settings == own.settings and not made.end
        return None, replace(own, noise_seed=made.noise_seed) if again else own

    def wanted(self, index: int) -> int:
        """How many candidates a chunk has."""
        only = self.choice.take.only
        return self.asked.candidates if only < 0 or index == only else 1

    def best_candidate(self, chunk: Chunk, own: Recipe, handed: str, before: State) -> KeptChunk:
        """The chunk with the lowest score among its candidates, of which those are made that are not there."""
        index, between = chunk.index, self.between(chunk.index, before)
        own = replace(own, end="" if between is None else between.digest)
        count = self.wanted(index)
        recipes = [
            replace(own, noise_seed=(own.noise_seed + n * CANDIDATE_STEP) % (MAX_SEED + 1)) for n in range(count)
        ]
        keys = [recipe.key(handed) for recipe in recipes]
        if count == 1 and self.choice.made_again(index):
            self.refuse_same(own, keys[0])
        best, candidates = None, []
        for number, (recipe, key) in enumerate(zip(recipes, keys, strict=True)):
            kept = self.chunks.find(self.store.read_record(key), before)
            if kept is None:
                kept = self.made(chunk, before, recipe, key, between, number)
            candidates.append(Candidate(key, recipe.noise_seed, kept.record.drift, kept.record.score))
            if best is None or _score(kept) < _score(best):
                best = kept
        assert best is not None
        return self.listed(best, candidates if count > 1 else ())

    def made(
        self, chunk: Chunk, before: State, recipe: Recipe, key: str, between: Between | None, number: int
    ) -> KeptChunk:
        """A chunk that is made now, in the take to which it belongs. number: among its candidates."""
        self.choice.before_making(chunk.index, key, self.inputs_that_differ(recipe))
        left = self.job.plan.chunk_count - chunk.index
        check_space(self.job.method, left * self.asked.candidates, self.store.folder, self.choice.path)
        sampled = None if self.earlier is None else self.earlier.sampled(recipe, self.job.method.extras)
        sampled = self.chunks.usable(chunk.index, sampled)
        self.on_making(self.making(chunk.index, number))
        try:
            with stage(MAKING):
                return self.chunks.make(chunk, before, recipe, key, between, sampled)
        except UnusableSample as error:
            raise RunFailed(f"{error} Nothing of it was kept. {_kept(self.store, self.finished())}") from None
        except OutOfMemory as error:
            # What is switched on already is no way out.
            settings = [name for name, value in self.job.set_by_user().items() if value is not True]
            raise error.in_run(chunk.index, frozenset(settings), _kept(self.store, self.finished())) from error

    def making(self, index: int, number: int) -> Making:
        """A candidate for a chunk, for whoever watches. Where one chunk alone is made again, all others are there."""
        chunks, candidates = self.job.plan.chunk_count, self.wanted(index)
        later = chunks - index - 1 if self.choice.take.only < 0 else 0
        return Making(index, chunks, number, candidates, candidates - number - 1 + later * self.asked.candidates)

    def between(self, index: int, before: State) -> Between | None:
        """What holds the end of a chunk that is made again alone; None for one that is not, and for the last."""
        source, last = self.choice.source, self.job.plan.chunk_count - 1
        if source is None or index != self.choice.take.only or index == last:
            return None
        there = self.chunks.find(self.store.read_record(source.chunks[index].key), before)
        if there is None:
            got = "a file that was altered or deleted"
            raise RunError(f"chunk {index} of the take before", "must be as it was written", "", got)
        return self.chunks.between(there)

    def refuse_same(self, own: Recipe, key: str) -> None:
        """Raise RunError for a redo that would make a chunk as it is."""
        source, take = self.choice.source, self.choice.take
        if source is None or own.index >= len(source.chunks):
            return
        there = source.chunks[own.index].key
        record = self.store.read_record(there)
        if key == there or (record is not None and replace(record.recipe, end="") == replace(own, end="")):
            name = "only_chunk" if take.only >= 0 else "from_chunk"
            rule = "needs another seed or another setting, to make the chunk differently"
            raise RunError(name, rule, f"seed {take.seed + 1}", f"the seed {take.seed} and the settings of before")

    def inputs_that_differ(self, own: Recipe) -> list[str]:
        """What a chunk sees differently than the one that stands at its place in the newest take, in words."""
        listed = self.choice.listed(own.index)
        record = None if listed is None else self.store.read_record(listed.key)
        names = [] if record is None else different_names(record.recipe.seen, own.seen)
        return [f"{called(name)} is another one from chunk {own.index} on" for name in names]

    def listed(self, kept: KeptChunk, candidates=()) -> KeptChunk:
        """A chunk with its video, put into the take."""
        index, span = kept.index, self.job.plan.output_range(kept.index)
        kept = self.chunks.with_video(kept)
        also = self.inputs_that_differ(kept.record.recipe)
        self.choice.add(index, TakeChunk.of(kept.record, span, candidates), also)
        if not kept.found:
            self.choice.write()
            self.film.draw(kept)
        return kept

    def progress(self, kept: KeptChunk) -> Progress:
        """A chunk for whoever watches."""
        chunk = self.choice.take.chunks[kept.index]

        def last_frame() -> Tensor:
            return self.film.frame(chunk, -1) if kept.frames is None else kept.frames[-1]

        def so_far() -> Path:
            self.film.join(UNFINISHED)
            return self.choice.path

        return Progress(
            kept.index, self.job.plan.chunk_count, chunk, kept.found, self.job.method.score_name, last_frame, so_far
        )

    def finished(self) -> int:
        """How many chunks of the take are there, from the first on."""
        there = self.store.there([chunk.key for chunk in self.choice.take.chunks])
        # As long as nothing of a run of 0.1.0 was looked at, its chunks have keys of that time.
        return max(there, self.choice.earlier.there()) if self.choice.earlier else there


def _kept(store: RunStore, finished: int) -> str:
    """How many chunks are there for the next start, for a message."""
    return f"{finished} finished chunks are kept in {store.folder}; the same run goes on from there."


def _score(kept: KeptChunk) -> float:
    """What tells candidates apart, less is better. Of several without a score the first is taken."""
    return float("inf") if kept.record.score is None else kept.record.score


def run(
    job: Job,
    store: RunStore,
    sample_chunk: Sample,
    codec: Codec,
    videos: Videos,
    asked: RunSettings = AS_IT_IS,
    on_chunk: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
    on_stopped: Callable[[Path], None] = lambda path: None,
    on_making: Callable[[Making], None] = lambda making: None,
) -> Outcome:
    """Make the job's video, or what is missing of it, and join it into the take's video.

    asked: how the run is gone on with; what it says of the video is the job's. on_making is called before a chunk is
    made, on_chunk after each chunk that is there. say: what is to be known, a line each. Whatever ends the run early,
    finished chunks stay in the store and are joined, and on_stopped is called with their video. Raises RunError for a
    run that cannot be gone on with so, ValueError for inputs that cannot serve, RunFailed when files cannot be written,
    what is sampled is no numbers, memory is out (OutOfMemory) or an input fails after chunks were finished, and what
    `sample_chunk` or a callback raises.
    """
    job.check()
    number = next_number(store, videos)
    check_places(store.folder, videos.path(number), getattr(job.output.sound, "source", None), begun=number > 1)
    current = None
    try:
        with store.locked():
            store.clear()
            clear_earlier_parts(store.folder)
            choice = Choice(job, store, videos, asked, say)
            current = _Run(Chunks(job, store, sample_chunk, codec), choice, asked, on_making)
            try:
                store.prepare()
                choice.path.parent.mkdir(parents=True, exist_ok=True)
                clear_parts(choice.path)
                probe(choice.path)
                last = current.find_or_make(0, job.method.start())
                on_chunk(current.progress(last))
                for index in range(1, job.plan.chunk_count):
                    last = current.find_or_make(index, last.after)
                    on_chunk(current.progress(last))
            except RunError:
                store.leave()
                raise
            except BaseException:
                # What is finished can be watched; what ended the run is told, not a fault of this. A program that took
                # over, though, is why parts of files are missing.
                with suppress(OSError, av.FFmpegError, VideoError, RunError):
                    store.check_owner()
                    if choice.take.only < 0 and current.film.join(UNFINISHED):
                        on_stopped(choice.path)
                store.leave()
                raise
            if not choice.has_video():
                current.film.draw(last)
                current.film.join(FINISHED)
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
        kept = _kept(store, 0 if current is None else current.finished())
        if not isinstance(error, ValueError):
            raise RunFailed(f"the run's files must be writable and the disk not full; got {error}. {kept}") from error
        if current is None or not current.choice.take.chunks:
            raise
        raise RunFailed(f"{error} {kept}") from error
    frames = current.chunks.decoded(last) if last.frames is None else last.frames
    take = choice.take
    report = {
        "frames": job.plan.total_frames,
        "fps": str(job.output.fps),
        "take": take.number,
        "video": choice.path.name,
        "score": job.method.score_name,
        "chunks": [{**vars(chunk), "candidates": [vars(other) for other in chunk.candidates]} for chunk in take.chunks],
        "takes": [listed.told() for listed in list_takes(store, readable=True)],
    }
    return Outcome(frames, last.after, choice.path, report)
