"""The settings by which a video of a person becomes driving videos."""

import re
from dataclasses import dataclass

from ..errors import InputError, one_line
from ..knobs import check_knobs, knob
from ..latents import check_size
from .people import CHOICES
from .retarget import AUTOMATIC, RETARGETS
from .smooth import MAX_GAP

REPLACEMENT = "replacement"
MODES = ("animation", REPLACEMENT)
OFF = "off"
_WHOLE, _PARTS = "[0-9]{1,9}", r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_POINT = re.compile(rf" *({_WHOLE}) *, *({_PARTS}) *, *({_PARTS}) *")


@dataclass(frozen=True)
class Settings:
    """How driving videos are made. Raises InputError for a value that is out of its range."""

    mode: str = knob(
        "animation",
        "What the videos are for: animation = the reference picture comes alive, replacement = its person takes the "
        "place of the driver's in the driver's own video, for which background and mask are written too.",
        choices=MODES,
    )
    width: int = knob(
        832,
        "Width of the animation, a multiple of 16. In replacement mode, all videos but the face have the driver's "
        "size.",
        low=16,
        high=8192,
        step=16,
        unit="pixels",
    )
    height: int = knob(
        480,
        "Height of the animation, a multiple of 16. In replacement mode, all videos but the face have the driver's "
        "size.",
        low=16,
        high=8192,
        step=16,
        unit="pixels",
    )
    fps: float = knob(
        0.0,
        "Frames per second of the driving videos; the driver keeps its speed. 0: every frame of the driver.",
        low=0.0,
        high=240.0,
        step=0.01,
        unit="frames a second",
    )
    person: str = knob(
        "largest",
        "Who drives, where there are several people, chosen once over the whole video. index = the one that "
        "person_index says.",
        choices=CHOICES,
    )
    person_index: int = knob(
        0, "With person index: which of the people, counted from 0, from the left.", low=0, high=99, rare=True
    )
    person_at: str = knob(
        "",
        "Who drives, as frame,x,y: whoever is at this point of this frame, or nearest to it. The frame of the driving "
        "videos, counted from 0, the point in pixels of the driver's video. It takes the place of person.",
        unit="frame,x,y",
        rare=True,
    )
    retarget: str = knob(
        "proportions",
        "How the driver's pose fits the person of the reference picture: fit = its size and place, proportions = also "
        "the length of each limb. off, or without a reference picture, or in replacement mode: as the driver is.",
        choices=(OFF, *RETARGETS),
    )
    template_frame: int = knob(
        AUTOMATIC,
        "The frame of the driving videos, counted from 0, in which the driver is compared with the reference picture. "
        "-1: one that shows the body well.",
        low=AUTOMATIC,
        high=1_000_000,
        rare=True,
    )
    smoothing: bool = knob(True, "Remove outliers and noise from the keypoints.")
    max_gap: int = knob(
        MAX_GAP,
        "Up to how many frames (at 30 a second) a point is filled in where it was not found; hands get 5/8 of it. "
        "After a longer gap nothing is drawn.",
        low=0,
        high=240,
        unit="frames",
        rare=True,
    )
    mask_grow: int = knob(
        9, "By how many pixels to each side the driver's mask grows (9 as released).", low=0, high=256, unit="pixels"
    )
    mask_blocks: int = knob(
        32,
        "Side of the blocks that the mask is made of, so that it does not show the driver's outline. 0: the outline "
        "itself. A side as large as the person: one box (as released).",
        low=0,
        high=8192,
        unit="pixels",
    )
    lossless: bool = knob(
        False,
        "Write the videos without any loss, as H.264 in RGB: lines, masks and black are exact. The files are several "
        "times as large, and browsers and some players do not show them.",
        rare=True,
    )

    def __post_init__(self):
        check_knobs(self)
        check_size(self.width, self.height)
        if self.person_at and not _POINT.fullmatch(self.person_at):
            rule = "must be a frame and a point, as frame,x,y"
            raise InputError("person_at", rule, "120,415,236", one_line(self.person_at, 40))

    @property
    def point(self) -> tuple[int, float, float] | None:
        """What person_at says: frame, x and y; None where it says nothing."""
        found = _POINT.fullmatch(self.person_at)
        return found and (int(found[1]), float(found[2]), float(found[3]))

    @property
    def replacing(self) -> bool:
        """Whether masks are needed."""
        return self.mode == REPLACEMENT

    @property
    def retargeting(self) -> bool:
        """Whether the person of a reference picture is looked for, where there is one."""
        return self.retarget != OFF and not self.replacing
