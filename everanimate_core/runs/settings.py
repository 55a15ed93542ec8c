"""The settings of a long run: size, length and rate of its video, and how it is gone on with."""

from dataclasses import dataclass
from typing import Any

from ..knobs import check_knobs, knob
from ..latents import check_size
from ..media.frames import FIT_POLICIES

ON_CHANGE = ("new take", "stop")
# What a run does beside sampling.
BESIDE = ALL_BESIDE, FILES_BESIDE, NOTHING_BESIDE = ("all", "files", "off")
# Settings that say how a run is gone on with, and not what is made.
ABOUT_THE_START = ("resume", "from_chunk", "on_change", "only_chunk", "candidates", "beside")


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
        "Use the chunks that are there. Off: open a new take and make every chunk of it anew; older takes stay.",
    )
    from_chunk: int = knob(
        0,
        "Make this chunk and all after it again, in a new take, with another seed or another setting. Counted from 0: "
        "chunk 7 of 21 is 6. 0: only what is missing.",
        low=0,
        high=99_999,
    )
    on_change: str = knob(
        "new take",
        "What happens when a setting or an input has changed since the last start: open a new take, which uses every "
        "chunk that is still right, or stop with an error that names the change.",
        choices=ON_CHANGE,
        rare=True,
    )
    only_chunk: int = knob(
        -1,
        "Make this chunk alone again, in a new take, with another seed or another setting. Counted from 0: chunk 7 of "
        "21 is 6. It is held to its neighbours, which stay as they are. -1: none.",
        low=-1,
        high=99_999,
    )
    candidates: int = knob(
        1,
        "How many times each new chunk is made, each time with another seed; the one with the best score (least drift, "
        "or nearest colours where line art is coloured) is taken. The others are kept beside it.",
        low=1,
        high=64,
        rare=True,
    )
    beside: str = knob(
        "all",
        "What is done while a chunk is sampled: all that need not wait for it (the next chunk is read and encoded, the "
        "finished one decoded and written), files alone, with the VAE in turn with the network (for GPUs whose memory "
        "is too small for both at once), or nothing (off). The result is the same.",
        choices=BESIDE,
        rare=True,
    )

    def __post_init__(self):
        check_knobs(self)
        check_size(self.width, self.height)

    def of_the_video(self) -> dict[str, Any]:
        """The settings that say what is made."""
        return {name: value for name, value in vars(self).items() if name not in ABOUT_THE_START}
