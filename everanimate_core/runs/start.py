"""One start of a run: each chunk of the take is found or made, and what need not wait is done beside the sampling."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from ..method import Chunk, State
from ..noise import MAX_SEED
from .ahead import Ahead
from .beside import Beside, UnderWay
from .candidates import Candidates
from .choosing import Choice
from .chunks import ChunkRecord, Recipe, state_digest
from .film import Film
from .making import Between, Chunks, KeptChunk, ToMake, UnusableSample, different_names
from .preflight import check_space
from .progress import Making, Progress
from .settings import RunSettings
from .stages import in_chunk
from .store import RunError, RunFailed, RunStore
from .takes import UNFINISHED, Candidate, TakeChunk, called

# Between the seeds of the candidates for one chunk: far beyond what lies between those of neighbouring chunks. 64
# candidates stay within 32 bits: torch's generators on the CPU look at no more of a seed.
CANDIDATE_STEP = 67_108_859


class Start:
    """One start of a run: what is there from before, and what has been added.

    At most one chunk is under way: it is sampled, and kept beside the sampling of the next one, or of the next
    candidate. It is caught up with as soon as that is done, before the next one is kept, and before anything is listed
    behind it: so all is told in order.
    """

    def __init__(
        self,
        chunks: Chunks,
        choice: Choice,
        asked: RunSettings,
        beside: Beside,
        on_making: Callable[[Making], None],
        on_chunk: Callable[[Progress], None],
    ):
        self.chunks, self.choice, self.asked, self.beside = chunks, choice, asked, beside
        self.on_making, self.on_chunk = on_making, on_chunk
        self.job, self.store = chunks.job, chunks.store
        self.film, self.ahead = Film(self.job, self.store, choice), Ahead(beside, chunks)
        self.earlier = choice.earlier if choice.alike and asked.candidates == 1 else None
        # The chunk that is kept, and the pictures of the take that are drawn, while others are sampled.
        self.under_way: UnderWay[KeptChunk] = UnderWay(beside)
        self.drawing: UnderWay[None] = UnderWay(beside)
        self.last: KeptChunk | None = None

    def make_all(self) -> KeptChunk:
        """Find or make all chunks; the last one."""
        state = self.job.method.start()
        for index in range(self.job.plan.chunk_count):
            state = self.find_or_make(index, state)
        self.under_way.catch_up()
        self.drawing.catch_up()
        assert self.last is not None
        return self.last

    def find_or_make(self, index: int, before: State) -> State:
        """What the chunk of the take at that place hands on, as an earlier start made it or made now."""
        left = self.choice.as_it_is(index)
        if left is not None:
            return self.as_it_is(index, left, before)
        ready = self.ahead.take(index)
        handed, own = state_digest(before), self.chunks.recipe(ready, self.choice.take.anew)
        if not self.choice.made_again(index):
            after = self.found_earlier(own, handed, before)
            if after is None:
                after, own = self.found_in_newest(own, handed, before)
            if after is not None:
                return after
        return self.best_candidate(ready.chunk, own, handed, before)

    # --- what is under way beside the sampling ----------------------------------------------------------------------

    def settle(self) -> None:
        """What was begun comes to its end, for a run that ends early; what that raises is not what ended it."""
        self.ahead.drop()
        self.beside.idle()
        with suppress(BaseException):
            self.under_way.catch_up()
        self.beside.idle()

    # --- chunks that are there --------------------------------------------------------------------------------------

    def as_it_is(self, index: int, left: TakeChunk, before: State) -> State:
        """A chunk that stays, whatever has changed since it was made."""
        return self.found(self.as_it_was(index, left, before), left.candidates)

    def as_it_was(self, index: int, there: TakeChunk, before: State) -> KeptChunk:
        """A chunk of the take that is made again in part; RunError where its file is not as it was written."""
        kept = self.chunks.find(self.record_of(index, there, before), before)
        self.know(kept)
        if kept is None:
            raise RunError(
                f"chunk {index} of the take before",
                "must be as it was written",
                "leave out from_chunk and only_chunk: it is made again then",
                "a file that was altered or deleted",
            )
        return kept

    def record_of(self, index: int, there: TakeChunk, before: State) -> ChunkRecord | None:
        """What is known of a chunk of that take, which may be a run of 0.1.0."""
        record = self.store.read_record(there.key)
        if record is None and self.choice.source_earlier is not None:
            own = self.chunks.recipe(self.chunks.ready(index), 0)
            record = self.choice.source_earlier.record(own, state_digest(before), any_inputs=True)
        return record

    def found(self, kept: KeptChunk, candidates: Sequence[Candidate] = ()) -> State:
        """A chunk that is there goes into the take; what it hands on."""
        self.under_way.catch_up()
        self.listed(kept, candidates)
        return kept.after

    def found_earlier(self, own: Recipe, handed: str, before: State) -> State | None:
        """A chunk that 0.1.0 made."""
        record = None if self.earlier is None else self.earlier.record(own, handed)
        kept = self.chunks.find(record, before)
        if kept is None:
            # What follows was handed something that is not there any more.
            self.earlier = self.earlier if self.earlier and own.index == self.earlier.count else None
            return None
        self.choice.renamed(own.index, kept.record.key)
        self.know(kept)
        return self.found(kept)

    def know(self, kept: KeptChunk | None) -> None:
        """Keep the record of a chunk of 0.1.0, under which it is found from now on."""
        if kept is not None and self.store.read_record(kept.record.key) is None:
            self.store.write_record(kept.record)

    def found_in_newest(self, own: Recipe, handed: str, before: State) -> tuple[State | None, Recipe]:
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
            return self.found(kept, listed.candidates), own
        # Its file is damaged. It is made again as it was.
        again = made.settings == own.settings and not made.end
        return None, replace(own, noise_seed=made.noise_seed) if again else own

    def wanted(self, index: int) -> int:
        """How many candidates a chunk has."""
        only = self.choice.take.only
        return self.asked.candidates if only < 0 or index == only else 1

    # --- chunks that are made ---------------------------------------------------------------------------------------

    def best_candidate(self, chunk: Chunk, own: Recipe, handed: str, before: State) -> State:
        """The chunk with the lowest score among its candidates, of which those are made that are not there."""
        index, between = chunk.index, self.between(chunk.index, before)
        own = replace(own, end="" if between is None else between.digest)
        count = self.wanted(index)
        recipes = [
            replace(own, noise_seed=(own.noise_seed + n * CANDIDATE_STEP) % (MAX_SEED + 1)) for n in range(count)
        ]
        keys = [recipe.key(handed) for recipe in recipes]
        if count == 1 and self.choice.made_again(index):
            self.refuse_same(own, keys[0], before)
        candidates = Candidates()
        # The next chunk is made of the only one as soon as that is sampled, of the best when all are measured.
        taken_by = self.listed if count == 1 else candidates.add
        for number, (recipe, key) in enumerate(zip(recipes, keys, strict=True)):
            kept = self.chunks.find(self.store.read_record(key), before)
            if kept is None:
                after = self.make(ToMake(chunk, before, recipe, key, between), number, taken_by)
                if count == 1:
                    return after
            else:
                self.under_way.catch_up()
                candidates.add(kept)
        self.under_way.catch_up()
        assert candidates.best is not None
        return self.found(candidates.best, candidates.all if count > 1 else ())

    def make(self, asked: ToMake, number: int, taken_by: Callable[[KeptChunk], None]) -> State:
        """A chunk that is made now, in the take to which it belongs; what it hands on. number: among its candidates.

        taken_by: called with it when it is kept, which may be beside the sampling of what follows.
        """
        started, index = time.perf_counter(), asked.index
        again = self.is_made_again(index, asked.key)
        self.choice.before_making(index, asked.key, self.inputs_that_differ(asked.recipe))
        making = self.making(index, number)
        check_space(self.job.method, 1 + making.left, self.store.folder, self.choice.path)
        sampled = None if self.earlier is None else self.earlier.sampled(asked.recipe, self.job.method.extras)
        sampled = self.chunks.usable(index, sampled)
        self.on_making(making)

        def look_ahead() -> None:
            following = index + 1
            if following < self.job.plan.chunk_count and self.choice.as_it_is(following) is None:
                self.ahead.begin(following, encode=not again)

        try:
            if sampled is None:
                with in_chunk(index):
                    sampled = self.chunks.sample(asked, look_ahead)
        except UnusableSample as error:
            self.under_way.catch_up()
            raise RunFailed(f"{error} Nothing of it was kept. {kept_in_words(self.store, self.finished())}") from None
        seconds = time.perf_counter() - started
        # Two chunks' frames are never held.
        self.under_way.catch_up()
        self.last = None
        with in_chunk(index):
            begun = self.chunks.begin(asked, sampled, seconds)
        self.under_way.begin(partial(self.chunks.keep, begun), taken_by)
        return begun.after

    def is_made_again(self, index: int, key: str) -> bool:
        """Whether a chunk takes the place of a damaged one. What was made of that may be there, and then needs nothing
        to be encoded."""
        listed = self.choice.listed(index)
        return (listed is not None and listed.key == key) or self.store.read_record(key) is not None

    def making(self, index: int, number: int) -> Making:
        """A candidate for a chunk, for whoever watches. Where one chunk alone is made again, all others are there."""
        chunks, candidates = self.job.plan.chunk_count, self.wanted(index)
        later = chunks - index - 1 if self.choice.take.only < 0 else 0
        left = candidates - number - 1 + later * self.asked.candidates
        return Making(index, chunks, number, candidates, left, self.under_way.catch_up_if_done)

    def between(self, index: int, before: State) -> Between | None:
        """What holds the end of a chunk that is made again alone; None for one that is not, and for the last."""
        source, last = self.choice.source, self.job.plan.chunk_count - 1
        if source is None or index != self.choice.take.only or index == last:
            return None
        return self.chunks.between(self.as_it_was(index, source.chunks[index], before))

    def refuse_same(self, own: Recipe, key: str, before: State) -> None:
        """Raise RunError for a redo that would make a chunk as it is."""
        source, take = self.choice.source, self.choice.take
        if source is None or own.index >= len(source.chunks):
            return
        there = source.chunks[own.index]
        record = self.record_of(own.index, there, before)
        if key == there.key or (record is not None and replace(record.recipe, end="") == replace(own, end="")):
            name = "only_chunk" if take.only >= 0 else "from_chunk"
            rule = "needs another seed or another setting, to make the chunk differently"
            raise RunError(name, rule, f"seed {take.seed + 1}", f"the seed {take.seed} and the settings of before")

    def inputs_that_differ(self, own: Recipe) -> list[str]:
        """What a chunk sees differently than the one that stands at its place in the newest take, in words."""
        listed = self.choice.listed(own.index)
        record = None if listed is None else self.store.read_record(listed.key)
        names = [] if record is None else different_names(record.recipe.seen, own.seen)
        return [f"{called(name)} is another one from chunk {own.index} on" for name in names]

    def listed(self, kept: KeptChunk, candidates: Sequence[Candidate] = ()) -> None:
        """A chunk with its video, put into the take and told to whoever watches."""
        index, span = kept.index, self.job.plan.output_range(kept.index)
        if kept.found:
            kept = self.chunks.with_video(kept)
        also = self.inputs_that_differ(kept.record.recipe)
        self.choice.add(index, TakeChunk.of(kept.record, span, candidates), also)
        if not kept.found:
            self.choice.write()
            self.drawing.begin(self.drawing_of(kept))
        self.last = kept
        self.on_chunk(self.progress(kept))

    def drawing_of(self, kept: KeptChunk) -> Callable[[], None]:
        """Draws the pictures of the take, up to that chunk."""
        first = None if kept.frames is None else self.chunks.own(kept.index, kept.frames)[0].clone()
        return partial(self.film.draw, self.choice.take, kept.index, first)

    def progress(self, kept: KeptChunk) -> Progress:
        """A chunk for whoever watches."""
        chunk = self.choice.take.chunks[kept.index]
        # Not the frames: whoever watches may hold it for long.
        frame = None if kept.frames is None else self.chunks.own(kept.index, kept.frames)[-1].clone()

        def last_frame() -> Tensor:
            return self.film.frame(chunk, -1) if frame is None else frame

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


def kept_in_words(store: RunStore, finished: int) -> str:
    """How many chunks are there for the next start, for a message."""
    return f"{finished} finished chunks are kept in {store.folder}; the same run goes on from there."
