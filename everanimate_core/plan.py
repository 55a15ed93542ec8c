"""The frame map of a long animation: which source frames every chunk sees and which of its frames are kept.

Chunk k shows source frames [k(F - O), k(F - O) + F). Chunk 0 is kept whole, of every later chunk the first O frames are
dropped (they repeat the end of the one before); the last chunk keeps the model's length and is cut to the total.
"""

from dataclasses import dataclass

from .geometry import ChunkGeometry, check_chunk

CONTINUATIONS = ("pingpong", "loop", "hold", "error")


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
    chunk_frames: int = 77
    overlap: int = 4
    continuation: str = "pingpong"

    def __post_init__(self):
        check_chunk(self.chunk_frames, self.overlap)
        if self.total_frames < 1:
            raise ValueError(f"Plan Chunks: total_frames must be at least 1 (250); got {self.total_frames}.")
        if self.continuation not in CONTINUATIONS:
            raise ValueError(
                f"Plan Chunks: continuation must be one of {', '.join(CONTINUATIONS)}; got {self.continuation!r}."
            )

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
    def joins(self) -> list[int]:
        """The first frame of the animation that each chunk after the first supplies."""
        return [self.output_range(index).start for index in range(1, self.chunk_count)]

    def geometry(self, identity: int, motion: int) -> ChunkGeometry:
        """Geometry of this plan's chunks for a memory of `identity` anchors and `motion` carried latents."""
        return ChunkGeometry(self.chunk_frames, identity, motion, self.overlap)

    def check_index(self, index: int, who: str = "Condition Chunk") -> None:
        """Raise ValueError, in the name of `who`, unless `index` is a chunk of this plan."""
        if not 0 <= index < self.chunk_count:
            raise ValueError(
                f"{who}: chunk_index must be between 0 and {self.chunk_count - 1} "
                f"({self.chunk_count} chunks make {self.total_frames} frames); got {index}."
            )

    def check_source(self, name: str, length: int, needed: int | None = None) -> None:
        """Raise ValueError when the driving video `name` of `length` frames cannot serve this plan.

        needed: how many of its frames the animation shows, total_frames unless it has another rate.
        """
        needed = self.total_frames if needed is None else needed
        if length < 1:
            raise ValueError(f"Condition Chunk: {name} must have at least 1 frame; got {length}.")
        if self.continuation == "error" and length < needed:
            raise ValueError(
                f"Condition Chunk: {name} must have at least {needed} frames when continuation is 'error' "
                f"(choose pingpong, loop or hold to continue a shorter one); got {length}."
            )

    def source_indices(self, index: int, length: int) -> list[int]:
        """The F frames of a source of `length` frames that chunk `index` sees."""
        start = index * self.stride
        return [continued_index(i, length, self.continuation) for i in range(start, start + self.chunk_frames)]

    def kept(self, index: int) -> slice:
        """The part of chunk `index`'s F decoded frames that belongs to the animation."""
        start = index * self.stride
        return slice(self.overlap if index else 0, min(self.chunk_frames, self.total_frames - start))

    def output_range(self, index: int) -> range:
        """The frames of the animation that chunk `index` supplies."""
        start, kept = index * self.stride, self.kept(index)
        return range(start + kept.start, start + kept.stop)
