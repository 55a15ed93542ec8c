"""Which frames of a film make up a training sample: two neighbouring chunks, counted from the film's head."""

from dataclasses import dataclass

from ..errors import InputError
from ..everanimate.geometry import ChunkGeometry
from ..plan import TEMPORAL_FACTOR


@dataclass(frozen=True)
class Layout:
    """Frame numbers of a film, by the geometry of a chunk; in brackets those of the released one (F = 77, O = 4).

    The motion memory, the last M latents of the first chunk, shows the first O frames of the target: they overlap as
    two chunks of an animation do. Raises ValueError unless O = 4 M.
    """

    geometry: ChunkGeometry

    def __post_init__(self):
        carried = TEMPORAL_FACTOR * self.geometry.motion
        if self.geometry.overlap != carried:
            raise InputError(
                "overlap",
                f"must be 4 frames for each of the {self.geometry.motion} motion latents",
                carried,
                self.geometry.overlap,
            )

    @property
    def references(self) -> range:
        """Frames of which one is the reference (0..3)."""
        return range(self.geometry.overlap)

    @property
    def first(self) -> range:
        """The first chunk, which gives the memory: O frames longer than the target (4..84)."""
        return range(self.geometry.overlap, self.target.start + self.geometry.overlap)

    @property
    def target(self) -> range:
        """The chunk that is learnt (81..157)."""
        start = self.geometry.frames + self.geometry.overlap
        return range(start, start + self.geometry.frames)

    @property
    def frames(self) -> int:
        """Frames that a film must have (158)."""
        return self.target.stop
