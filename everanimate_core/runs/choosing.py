"""Which take a start of a run goes on with, or that it opens the next one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..digests import file_digest
from .earlier import MANIFEST, Earlier, earlier_take, read_earlier
from .job import Job
from .listing import all_takes
from .settings import ON_CHANGE, RunSettings
from .store import ANOTHER_NAME, RunError, RunStore
from .takes import FINISHED, UNFINISHED, Take, TakeChunk, differences
from .videos import Videos

_STOP = ON_CHANGE[1]


@dataclass(frozen=True)
class Found:
    """What earlier starts left. newest: the newest take, None in a new run. earlier: a run of 0.1.0, as long as it is
    take 1 by itself."""

    newest: Take | None
    earlier: Earlier | None


class Choice:
    """The take that a start writes: the newest one as long as nothing differs from it, else the next."""

    def __init__(self, job: Job, store: RunStore, videos: Videos, asked: RunSettings, say: Callable[[str], None]):
        self.job, self.store, self.videos, self.asked, self.say = job, store, videos, asked, say
        # For a start that uses nothing, a damaged file of an earlier one is no reason to stop.
        found = found_in(store, job) if asked.resume else Found(None, None)
        self.newest, self.earlier = found.newest, found.earlier
        # Looked at for every chunk, and the settings hold digests of pictures.
        self.alike = self._alike()
        self.check_method()
        self.check_asked()
        self.take = self.first_choice()
        self.changed = False

    def _alike(self) -> bool:
        """Whether the newest take is made with the same settings and seed: its chunks are then looked at first."""
        if self.newest is None:
            return False
        if self.earlier is not None:
            return self.earlier.same
        return self.newest.settings == self.job.settings() and self.newest.seed == self.job.method.seed

    @property
    def going_on(self) -> bool:
        """Whether the newest take is gone on with."""
        return self.newest is not None and self.take.number == self.newest.number and bool(self.newest.chunks)

    @property
    def redo(self) -> bool:
        """Whether chunks that are there are to be made again."""
        return bool(self.asked.from_chunk) or self.asked.only_chunk >= 0

    def check_method(self) -> None:
        """Raise RunError in the folder of another method's run, also where nothing of it is used."""
        for take in [self.newest] if self.newest is not None else all_takes(self.store, readable=True)[-1:]:
            if take.method != self.job.method.name:
                got = f"{self.job.method.name} (was {take.method})"
                raise RunError("this run", "is one of another method", ANOTHER_NAME, got)

    def check_asked(self) -> None:
        """Raise RunError for a start that cannot be, as from a chunk that is not there."""
        asked, newest = self.asked, self.newest
        if asked.from_chunk and asked.only_chunk >= 0:
            got = f"from_chunk {asked.from_chunk} and only_chunk {asked.only_chunk}"
            raise RunError("from_chunk", "makes all that only_chunk leaves as it is", "one of the two", got)
        if self.redo and not asked.resume:
            name = "only_chunk" if asked.only_chunk >= 0 else "from_chunk"
            got = f"{getattr(asked, name)} and resume false"
            raise RunError(name, "needs the other chunks of the run", "resume true", got)
        there = 0 if newest is None else len(newest.chunks)
        last = min(there, self.job.plan.chunk_count - 1)
        if not 0 <= asked.from_chunk <= last:
            rule = "must be a finished chunk or the one after the last"
            raise RunError("from_chunk", rule, f"0..{last}", asked.from_chunk)
        if asked.only_chunk >= 0:
            self.check_only(there)

    def check_only(self, there: int) -> None:
        """Raise RunError unless the newest take, or the one that it was made from, has all chunks."""
        count = self.job.plan.chunk_count
        complete = there == count or (self.newest is not None and self.newest.only == self.asked.only_chunk)
        if not complete:
            got = f"{there} of {count}"
            raise RunError("only_chunk", "needs all chunks of the newest take", "finish it with only_chunk -1", got)
        if self.asked.only_chunk >= count:
            raise RunError("only_chunk", "must be a chunk of the plan", f"0..{count - 1}", self.asked.only_chunk)

    def first_choice(self) -> Take:
        """The newest take if the start asks for just that, else the next."""
        newest = self.newest
        if newest is not None and self.alike and self.same_output(newest) and self.asks_for(newest):
            self.source, self.source_earlier = self.source_of(newest)
            if self.earlier is None:
                return newest
            # A run of 0.1.0 is described anew, with the digests of today.
            settings, output, widgets = self.job.settings(), self.job.output_facts(), self.job.set_by_user()
            return replace(newest, settings=settings, output=output, widgets=widgets)
        self.source, self.source_earlier = (newest, self.earlier) if self.redo else (None, None)
        following = self.following()
        if newest is not None and newest.chunks and self.source is None:
            self.refuse_change(newest, following)
        elif not self.asked.resume and following.number > 1:
            self.say(f"take {following.number} is opened: every chunk is made anew")
        return following

    def asks_for(self, take: Take) -> bool:
        """Whether no chunk is to be made again, or just those for which the take was opened."""
        return self.asked.from_chunk in (0, take.first) and self.asked.only_chunk in (-1, take.only)

    def source_of(self, take: Take) -> tuple[Take | None, Earlier | None]:
        """The take whose chunks `take` has as they are, where this start is to leave them so; see Found."""
        redone = self.redo or (take.only >= 0 and take.state == UNFINISHED)
        if not take.of or not redone:
            return None, None
        found = found_in(self.store, self.job, newest=take.of)
        return found.newest, found.earlier

    def same_output(self, take: Take) -> bool:
        """Whether a take has the length, the rate and the sound that are asked for."""
        if self.earlier is not None:
            return self.earlier.goes_on()
        return take.output == self.job.output_facts()

    def following(self) -> Take:
        """The next take, without chunks; in the place of the newest if that has none."""
        job, asked, newest = self.job, self.asked, self.newest
        number = next_number(self.store, self.videos)
        if newest is not None and not newest.chunks:
            number = newest.number
        anew = newest.anew if newest is not None and self.alike else 0
        if not asked.resume and number > 1:
            anew = number
        return Take(
            number,
            job.settings(),
            job.output_facts(),
            job.set_by_user(),
            job.method.seed,
            first=asked.from_chunk,
            only=asked.only_chunk,
            of=newest.number if newest is not None and self.redo else 0,
            anew=anew,
        )

    def refuse_change(self, was: Take, now: Take, also: Sequence[str] = ()) -> None:
        """Say what has changed since the newest take; RunError where the start is to stop then."""
        # A run of 0.1.0 that is not gone on with has the digests of that time.
        alike = self.earlier.as_then(now) if self.earlier is not None and was is self.newest else now
        changes = [str(change) for change in differences(was, alike)] + list(also)
        told = ", ".join(changes) or "its chunks or its length are others"
        if self.asked.on_change == _STOP:
            way = "on_change new take: finished chunks stay, and those that are still right are used"
            raise RunError("this run", "was made with other settings", way, told)
        self.say(f"take {now.number} is opened: {told}")

    # --- while the chunks are gone through --------------------------------------------------------------------------

    def as_it_is(self, index: int) -> TakeChunk | None:
        """The chunk that this start must take as it is, whatever has changed; None where it has a say."""
        if self.source is None:
            return None
        first, only = self.take.first, self.take.only
        left = index != only if only >= 0 else index < first
        if not left:
            return None
        return (self.take if index < len(self.take.chunks) else self.source).chunks[index]

    def listed(self, index: int) -> TakeChunk | None:
        """The chunk that stands there in the newest take, where that is made with the same settings."""
        if self.newest is None or not self.alike or index >= len(self.newest.chunks):
            return None
        return self.newest.chunks[index]

    def renamed(self, index: int, key: str) -> None:
        """A chunk of 0.1.0 has a key of today now."""
        if self.newest is not None:
            self.newest = self.newest.with_chunk(index, replace(self.newest.chunks[index], key=key))
        if self.take.number == 1:
            self.take = self.take.with_chunk(index, replace(self.take.chunks[index], key=key))

    def made_again(self, index: int) -> bool:
        """Whether this start opens a take to make this very chunk differently."""
        return self.source is not None and not self.going_on and index == max(self.take.first, self.take.only)

    def before_making(self, index: int, key: str, also: Sequence[str]) -> None:
        """A chunk with that key is about to be made: open the next take unless it is the newest one's.

        also: names of the inputs of which the chunk sees others than the newest take's, in words.
        """
        if index < len(self.take.chunks) and self.take.chunks[index].key != key:
            self.open_next(index, also)
        if self.take.chunks or self.take.anew == self.take.number:
            self.write()

    def add(self, index: int, chunk: TakeChunk, also: Sequence[str] = ()) -> None:
        """The chunk that the take has at that place."""
        if index < len(self.take.chunks) and self.take.chunks[index].key != chunk.key:
            self.open_next(index, also)
        changed = self.take.with_chunk(index, chunk)
        self.changed = self.changed or changed != self.take
        self.take = changed

    def open_next(self, index: int, also: Sequence[str]) -> None:
        """Leave the newest take as it is, and open the next one with its first chunks."""
        was, chunks = self.take, self.take.chunks[:index]
        self.take = replace(self.following(), chunks=chunks)
        self.refuse_change(was, self.take, also)
        self.changed = True

    def write(self, state: str = UNFINISHED) -> None:
        """Write the take, if it has changed."""
        changed = replace(self.take, state=state)
        if self.changed or changed != self.take or not self.store.take_path(self.take.number).is_file():
            self.store.write_take(changed)
        self.take, self.changed = changed, False

    # --- its video --------------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Where the take's video belongs."""
        return self.videos.path(self.take.number)

    def has_video(self) -> bool:
        """Whether the take is finished, and its video there."""
        return self.take.state == FINISHED and not self.changed and self.videos.has(self.take)

    def make_room(self) -> None:
        """Put the video of another take aside, where it stands in the way."""
        others = all_takes(self.store, readable=True)
        known = {take.number for take in others}
        # Of a take whose file is damaged nothing is known but its number.
        others += [Take(number, {}, {}, {}, 0) for number in self.store.take_numbers() if number not in known]
        self.videos.make_room([take for take in others if take.number < self.take.number], self.store.check_owner)

    def joined(self, state: str) -> None:
        """The video was joined from the chunks that are there."""
        self.take, self.changed = replace(self.take, video=file_digest(self.path)), True
        self.write(state)


def found_in(store: RunStore, job: Job, newest: int = 0) -> Found:
    """What earlier starts left: the newest take, or take `newest`. A run of 0.1.0 is take 1 until that is written."""
    numbers = store.take_numbers()
    manifest = None if 1 in numbers else read_earlier(store)
    earlier = None if manifest is None else Earlier(manifest, job, store)
    number = newest or (numbers[-1] if numbers else 0)
    if earlier is not None and number < 2:
        return Found(earlier_take(earlier.manifest), earlier)
    return Found(store.read_take(number) if number else None, None)


def next_number(store: RunStore, videos: Videos) -> int:
    """The number of the next take."""
    first = 1 if (store.folder / MANIFEST).exists() else 0
    return 1 + max([first, *store.take_numbers(), *videos.numbers()])
