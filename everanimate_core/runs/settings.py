"""The settings of a long run: size, length and rate of its video, and how it is gone on with."""

from dataclasses import dataclass

from ..knobs import check_knobs, knob
from ..latents import check_size
from ..media.frames import FIT_POLICIES


@dataclass(frozen=True)
class RunSettings:
    """What a run makes. Raises InputError for a value that is out of its range."""

    width: int = knob(832, "Width of the animation, a multiple of 16.", low=16, high=8192, step=16, unit="pixels")
    height: int = knob(480, "Height of the animation, a multiple of 16.", low=16, high=8192, step=16, unit="pixels")
    total_frames: int = knob(
        0,
        "Frames of the whole animation. 0: as many as the driving video has.",
        low=0,
        high=1_000_000,
        unit="frames",
    )
    fps: float = knob(
        0.0,
        "Frames per second of the result. A driving VIDEO is shown at this rate and keeps its speed. 0: the rate of "
        "the driving VIDEO, 25 for images.",
        low=0.0,
        high=240.0,
        step=0.01,
        unit="frames a second",
    )
    fit: str = knob(
        "stretch",
        "What to do with pictures of another size: stretch both sides on their own (as the authors do with the "
        "reference picture), crop the middle to fill the size (as they do with pose and face), pad with black, or stop "
        "with an error.",
        choices=FIT_POLICIES,
    )
    tiled: bool = knob(False, "Decode in tiles: less memory, slower. Never split in time.")
    resume: bool = knob(
        True,
        "Go on with the run of this name: finished chunks are kept. Off: start anew; the old run's folder is given "
        "another name, its video is replaced.",
    )
    from_chunk: int = knob(
        0,
        "Make this chunk and all after it again, for example with another seed. 0: only what is missing.",
        low=0,
        high=99_999,
    )

    def __post_init__(self):
        check_knobs(self)
        check_size(self.width, self.height)
