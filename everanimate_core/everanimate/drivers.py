"""The driving videos of an animation, and which of their frames each chunk sees."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from ..errors import InputError, needed
from ..media.frames import FittedFrames
from ..plan import ChunkPlan, continued_index, shown_at
from ..ports import Codec, FrameSource

# The motion encoder reads face crops of this size.
FACE_SIZE = 512


@dataclass(frozen=True)
class Drivers:
    """What drives the animation. pose, background, mask: of the animation's size; face: 512 x 512 crops.

    mask frames are white where the new person goes; background and mask come together. Videos whose rates are known go
    by the time of the pose, whatever their own rate.
    """

    pose: FrameSource | None = None
    face: FrameSource | None = None
    background: FrameSource | None = None
    mask: FrameSource | None = None

    def check(self, plan: ChunkPlan) -> None:
        """Raise InputError, naming the input, where a driving video cannot serve the plan."""
        if (self.background is None) != (self.mask is None):
            got = "background_video" if self.mask is None else "character_mask"
            raise InputError("background_video and character_mask", "come together", "", f"{got} alone")
        for name, source in (
            ("pose_video", self.pose),
            ("face_video", self.face),
            ("background_video", self.background),
            ("character_mask", self.mask),
        ):
            if source is not None:
                plan.check_source(name, source.frame_count, self._needed(plan, source))

    def ending_early(self, plan: ChunkPlan) -> list["EndingEarly"]:
        """The videos that end before the pose does, or before the animation where that is shorter."""
        if self.pose is None:
            return []
        shown = min(plan.total_frames, self.pose.frame_count)
        others = {"face_video": self.face, "background_video": self.background, "character_mask": self.mask}
        found = []
        for name, source in others.items():
            if source is not None:
                pairing = self._pairing(source)
                needed = shown if pairing is None else 1 + pairing.number(shown - 1)
                if source.frame_count < needed:
                    found.append(EndingEarly(name, source.frame_count, needed))
        return found

    def source_indices(self, plan: ChunkPlan, index: int, source: FrameSource) -> list[int]:
        """The F frames of a driving video, one of these, that chunk `index` sees.

        Where the rates of the pose and of the video are known, they are paired by time: the video shows its frame of
        the time at which the pose stands, also where the pose goes back or starts again. Else by number.
        """
        pairing = self._pairing(source)
        if pairing is None:
            return plan.source_indices(index, source.frame_count)
        return [
            continued_index(pairing.number(frame), source.frame_count, plan.continuation)
            for frame in plan.source_indices(index, pairing.pose_count)
        ]

    def fitted(self, width: int, height: int, fit: str) -> "Drivers":
        """The same videos, of any size before, fitted to the animation's, the face to FACE_SIZE."""

        def view(source: FrameSource | None, width: int = width, height: int = height) -> FittedFrames | None:
            return None if source is None else FittedFrames(source, width, height, fit)

        face = view(self.face, FACE_SIZE, FACE_SIZE)
        return Drivers(view(self.pose), face, view(self.background), view(self.mask))

    def chunk(self, plan: ChunkPlan, index: int) -> "ChunkFrames":
        """The frames of chunk `index`; none is read before it is asked for."""
        return ChunkFrames(self, plan, index)

    def _pairing(self, source: FrameSource) -> "_Pairing | None":
        """How `source` goes by the time of the pose, None where it goes by number."""
        pose = self.pose
        if pose is None or source is pose or pose.fps is None or source.fps is None:
            return None
        return _Pairing(pose.frame_count, pose.fps, source.fps)

    def _needed(self, plan: ChunkPlan, source: FrameSource) -> int:
        """Frames of `source` that the plan shows where nothing is continued."""
        pairing = self._pairing(source)
        if pairing is None:
            return plan.total_frames
        return 1 + pairing.number(min(plan.total_frames, pairing.pose_count) - 1)


class EndingEarly(NamedTuple):
    """A driving video, the input `name`, that has `frames` frames where the pose stands for `needed` of them."""

    name: str
    frames: int
    needed: int


class _Pairing(NamedTuple):
    """The frames of the pose, and the rates of the pose and of a video that goes by its time."""

    pose_count: int
    pose_fps: Fraction
    fps: Fraction

    def number(self, pose_frame: int) -> int:
        """The frame of the video at the time of this frame of the pose, as if the video had no end."""
        return shown_at(pose_frame / self.pose_fps, self.fps)


@dataclass(frozen=True)
class ChunkFrames:
    """The driving frames that one chunk sees, [F, H, W, 3] in 0..1 or None, each video read once, when first asked for.

    Fingerprint, conditioning and keyframes of a chunk all look at the same frames. latents: of those that were encoded,
    by name.
    """

    drivers: Drivers
    plan: ChunkPlan
    index: int
    latents: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def pose(self) -> Tensor | None:
        """The pose maps."""
        return self._read(self.drivers.pose)

    @cached_property
    def face(self) -> Tensor | None:
        """The face crops."""
        return self._read(self.drivers.face)

    @cached_property
    def face_pixels(self) -> Tensor | None:
        """The face crops as the network reads them, [1, 3, F, 512, 512] in -1..1."""
        if self.face is None:
            return None
        return needed("einops", "driving a face").rearrange(self.face * 2 - 1, "f h w c -> 1 c f h w")

    @cached_property
    def background(self) -> Tensor | None:
        """The scene that stays."""
        return self._read(self.drivers.background)

    @cached_property
    def mask(self) -> Tensor | None:
        """White where the new person goes."""
        return self._read(self.drivers.mask)

    def all(self) -> dict[str, Tensor]:
        """Those that there are, by name."""
        found = {name: getattr(self, name) for name in ("pose", "face", "background", "mask")}
        return {name: frames for name, frames in found.items() if frames is not None}

    def encoded(self, name: str, codec: Codec) -> Tensor:
        """Latents [1, 16, T, h, w] of one of the videos that there are, encoded when they are first asked for.

        Candidates for one chunk share them, and so does whoever encodes them before they are needed.
        """
        if name not in self.latents:
            self.latents[name] = codec.encode(getattr(self, name))
        return self.latents[name]

    def _read(self, source: FrameSource | None) -> Tensor | None:
        if source is None:
            return None
        return source.read(self.drivers.source_indices(self.plan, self.index, source))
