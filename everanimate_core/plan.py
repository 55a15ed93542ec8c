"""The frame map of a long animation: which source frames every chunk sees and which of its frames are kept.

Chunk k shows source frames [k(F - O), k(F - O) + F). Chunk 0 is kept whole, of every later chunk the first O frames are
dropped (they repeat the end of the one before); the last chunk keeps the model's length and is cut to the total.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

from .errors import InputError, check_choice

# The index that stands for the next chunk.
NEXT = -1
CONTINUATIONS = ("pingpong", "loop", "hold", "error")
# Frames that share a latent frame, but for the first, which has one of its own: the VAEs are causal in time.
TEMPORAL_FACTOR = 4


def latent_frames(frames: int) -> int:
    """Latent frames T of a clip of `frames` RGB frames; frames beyond the last full group of four are not counted."""
    return (frames - 1) // TEMPORAL_FACTOR + 1


def pixel_frames(latents: int) -> int:
    """RGB frames F = 4(T - 1) + 1 that `latents` latent frames decode to."""
    return TEMPORAL_FACTOR * (latents - 1) + 1


def check_chunk(frames: int, overlap: int) -> None:
    """Raise InputError unless `frames` is 4n + 1 (5 or more) and `overlap` lies in 0..frames - 2."""
    if frames < 5 or pixel_frames(latent_frames(frames)) != frames:
        raise InputError("chunk_frames", "must be 4n + 1 and at least 5", "5, 33, 77, 81", frames)
    if not 0 <= overlap <= frames - 2:
        raise InputError("overlap", "must lie between 0 and chunk_frames - 2", f"0..{frames - 2}", overlap)


def shown_at(seconds: Fraction, rate: Fraction) -> int:
    """The number of the frame that a video of constant `rate` shows at `seconds`."""
    return int(seconds * rate)


def continued_index(index: int, length: int, continuation: str) -> int:
    """Frame of a source of `length` frames that stands at position `index` of its endless continuation.

    pingpong: 0..L-1, L-2..1, repeat. loop: 0..L-1, repeat. hold: the last frame stays. `error` sources are long enough
    for the animation, so only frames that are cut away afterwards lie beyond them: those follow pingpong.
    """
    if continuation == "hold" or length == 1:
        return min(index, length - 1)
    if continuation == "loop":
        return index % length
    period = 2 * length - 2
    position = index % period
    return position if position < length else period - position


@dataclass(frozen=True)
class ChunkPlan:
    """All chunks of an animation of `total_frames` frames.

    chunk_frames: F (4n + 1). overlap: O, 0..F - 2. continuation: what follows when a driving video is shorter than the
    animation, one of CONTINUATIONS; `error` refuses it.
    """

    total_frames: int
    chunk_frames: int
    overlap: int
    continuation: str = CONTINUATIONS[0]

    def __post_init__(self):
        check_chunk(self.chunk_frames, self.overlap)
        if self.total_frames < 1:
            raise InputError("total_frames", "must be at least 1", "250", self.total_frames)
        check_choice("continuation", self.continuation, CONTINUATIONS)

    @property
    def stride(self) -> int:
        """F - O, the new frames that each chunk after the first brings."""
        return self.chunk_frames - self.overlap

    @property
    def chunk_count(self) -> int:
        """K, so that F + (K - 1)(F - O) frames cover the total."""
        # Rounded up in whole numbers: a quotient of floats is off by one for counts beyond 2^53.
        return 1 + max(0, -((self.chunk_frames - self.total_frames) // self.stride))

    @property
    def last_added(self) -> int:
        """How many frames the last chunk adds to the animation; it is sampled whole all the same."""
        return len(self.output_range(self.chunk_count - 1))

    @property
    def joins(self) -> list[int]:
        """The first frame of the animation that each chunk after the first supplies."""
        return [self.output_range(index).start for index in range(1, self.chunk_count)]

    def check_index(self, index: int, name: str = "chunk_index") -> None:
        """Raise InputError, which calls it `name`, unless `index` is a chunk of this plan."""
        if not 0 <= index < self.chunk_count:
            raise InputError(
                name,
                f"must be between 0 and {self.chunk_count - 1}",
                f"{self.chunk_count} {name.removesuffix('_index')}s make {self.total_frames} frames",
                index,
            )

    def check_source(self, name: str, length: int, needed: int | None = None) -> None:
        """Raise InputError when the driving video `name` of `length` frames cannot serve this plan.

        needed: how many of its frames the animation shows, total_frames unless it has another rate.
        """
        needed = self.total_frames if needed is None else needed
        if length < 1:
            raise InputError(name, "must have at least 1 frame", "", length)
        if self.continuation == "error" and length < needed:
            raise InputError(
                name,
                f"must have at least {needed} frames when continuation is 'error'",
                "choose pingpong, loop or hold to continue a shorter one",
                length,
            )

    def check_previous(self, index: int, length: int) -> None:
        """Raise InputError, which calls them `previous`, unless `length` finished frames can come before chunk `index`.

        They are those of the chunk before, or all so far; 0: none is given.
        """
        if not index and length:
            raise InputError(
                "previous", "must not be connected for chunk 0", "no frames come before it", f"{length} frames"
            )
        if length < self.carried(index):
            raise InputError(
                "previous",
                "must have at least as many frames as overlap",
                f"{self.overlap} for chunk {index}, of the chunk before or of all so far",
                length or "none",
            )

    def carried(self, index: int) -> int:
        """How many frames chunk `index` shares with the one before: O, and 0 for chunk 0."""
        return self.overlap if index else 0

    def source_indices(self, index: int, length: int) -> list[int]:
        """The F frames of a source of `length` frames that chunk `index` sees."""
        start = index * self.stride
        return [continued_index(i, length, self.continuation) for i in range(start, start + self.chunk_frames)]

    def kept(self, index: int) -> slice:
        """The part of chunk `index`'s F decoded frames that belongs to the animation."""
        start = index * self.stride
        return slice(self.carried(index), min(self.chunk_frames, self.total_frames - start))

    def output_range(self, index: int) -> range:
        """The frames of the animation that chunk `index` supplies."""
        start, kept = index * self.stride, self.kept(index)
        return range(start + kept.start, start + kept.stop)


def ends_short(plan: ChunkPlan) -> bool:
    """Whether the last of several chunks adds less than a quarter of what each before it adds."""
    return plan.chunk_count > 1 and 4 * plan.last_added < plan.stride


def more_even(plan: ChunkPlan, lengths: range) -> int | None:
    """The chunk_frames, of `lengths`, that is nearest to the plan's and with which the last chunk adds at least half of
    what a chunk adds; the shorter of two that are as near. None where there is no such length."""
    for frames in sorted(lengths, key=lambda length: (abs(length - plan.chunk_frames), length)):
        if plan.overlap <= frames - 2:
            other = replace(plan, chunk_frames=frames)
            if 2 * other.last_added >= (frames if other.chunk_count == 1 else other.stride):
                return frames
    return None
