"""What LongAnimation remembers of all frames so far: global memory of the whole video, local memory of its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..digests import digest
from ..errors import InputError
from ..ports import Held, VideoMemory
from .beacon import BeaconNetwork, BeaconSettings
from .prompt import PREFIX
from .settings import MemorySettings
from .vision import Vision, VisionSettings, crops


@dataclass(frozen=True)
class VideoSettings:
    """What a video model is: its vision and its language. Raises InputError for what does not fit together."""

    vision: VisionSettings
    language: BeaconSettings

    def __post_init__(self):
        if self.vision.out != self.language.width:
            raise InputError("out", f"must be the width of the language ({self.language.width})", "", self.vision.out)
        if self.vision.tokens % self.language.ratio:
            rule = f"must make a multiple of {self.language.ratio} tokens of a frame"
            raise InputError("image", rule, "336", f"{self.vision.image}, which makes {self.vision.tokens}")

    @property
    def beacons(self) -> int:
        """What stays of a frame."""
        return self.vision.tokens // self.language.ratio

    @property
    def frames_at_once(self) -> int:
        """The fewest frames whose tokens fill whole windows."""
        return lcm(self.vision.tokens, self.language.window) // self.vision.tokens


class VideoModel(nn.Module):
    """Video-XL, as far as its memory needs it. operations: whose layers are used; device, dtype: of the weights.

    A host whose weights wait elsewhere, or in another type than that of the computing, sets `work_device` and
    `work_dtype`.
    """

    def __init__(
        self,
        settings: VideoSettings,
        operations: Any = nn,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.settings = settings
        self.vision = Vision(settings.vision, operations, device, dtype)
        self.language = BeaconNetwork(settings.language, operations, device, dtype)
        self.work_device: torch.device | None = None
        self.work_dtype: torch.dtype | None = None

    @property
    def computes_on(self) -> torch.device:
        """Where it computes. Hosts keep a `device` of their own at a network."""
        return self.work_device or self.language.embed_tokens.weight.device

    @property
    def computes_in(self) -> torch.dtype:
        """In which numbers."""
        return self.work_dtype or self.language.embed_tokens.weight.dtype

    def crops(self, frames: Tensor) -> Tensor:
        """What is looked at of frames [n, H, W, 3] in 0..1: [n, S, S, 3] uint8 on the CPU."""
        return crops(frames, self.settings.vision.image)

    def features(self, crops: Tensor) -> Tensor:
        """[n, S, S, 3] uint8 -> [n, tokens, width]."""
        return self.vision(crops, self.computes_on, self.computes_in)

    def begin(self) -> Tensor:
        """What is held before any frame, see BeaconNetwork: [2, layers, prefix, kv_width]."""
        return self.language.begin(self.computes_on, self.computes_in)

    def read(self, past: Tensor, crops: Tensor, most: int | None = None) -> Tensor:
        """What is held, and behind it the beacons of these frames ([n, S, S, 3] uint8).

        most: frames of which it is held; the oldest ones leave. Frames are read as many at once as fill whole windows,
        so that it makes no difference whether such numbers of frames are read in one call or in several.
        """
        step = self.settings.frames_at_once
        for start in range(0, len(crops), step):
            past = self.language.read(past, self.features(crops[start : start + step]))
            if most is not None:
                beacons = past[:, :, len(PREFIX) :][:, :, -most * self.settings.beacons :]
                past = torch.cat([past[:, :, : len(PREFIX)], beacons], 2)
        return past

    def memory(self, crops: Tensor) -> Tensor:
        """The memory of frames [n, S, S, 3] uint8: [2, layers that are read, prefix + beacons + suffix, kv_width]."""
        return self.language.end(self.read(self.begin(), crops))


def chosen(count: int, most: int) -> list[int]:
    """Which of `count` frames are remembered: all, or `most` of them at equal distances, the first and the last too."""
    return np.linspace(0, count - 1, min(count, most), dtype=int).tolist()


@dataclass(frozen=True)
class MemoryOfVideo:
    """Global memory of at most `memory_frames` frames, and behind it local memory of the last `local_frames` of these.

    With memory_append, and for animations of up to `memory_frames` frames in any case, each frame is read once.
    """

    model: VideoModel
    settings: MemorySettings

    @property
    def facts(self) -> Mapping[str, Any]:
        """See ports.VideoMemory."""
        return vars(self.settings)

    @property
    def side(self) -> int:
        """See ports.VideoMemory."""
        return self.model.settings.vision.image

    def crops(self, frames: Tensor) -> Tensor:
        """See ports.VideoMemory."""
        return self.model.crops(frames)

    @torch.no_grad()
    def remember(self, crops: Tensor, held: Held | None = None) -> tuple[Tensor, Held | None]:
        """See ports.VideoMemory."""
        most, local = self.settings.memory_frames, self.settings.local_frames
        if not len(crops):
            raise InputError("crops", "must be those of at least one frame", "", "none")
        parts = []
        if most and (self.settings.memory_append or len(crops) <= most):
            whole, held = self._read_on(crops, held, most)
            parts.append(whole)
        elif most:
            crops, held = crops[chosen(len(crops), most)], None
            parts.append(self.model.memory(crops))
        if local:
            parts.append(self.model.memory(crops[-local:]))
        return torch.cat(parts, 2).cpu(), held

    def _read_on(self, crops: Tensor, held: Held | None, most: int) -> tuple[Tensor, Held]:
        """The global memory, and what is held then: of as many frames as fill whole windows, so that it does not matter
        at which frames the windows of the animation end."""
        past, read = (self.model.begin(), 0) if held is None else (held.past, held.frames)
        if read > len(crops):
            raise InputError("held", f"must be of these {len(crops)} frames", "", f"what was read of {read} frames")
        full = len(crops) - len(crops) % self.model.settings.frames_at_once
        past = self.model.read(past.to(self.model.computes_on), crops[read:full], most)
        whole = self.model.language.end(self.model.read(past, crops[full:], most))
        return whole, Held(past.cpu(), full)


class GrowingMemory:
    """The memory of one video that grows: what was read of its frames is not read again.

    What it holds saves time alone: a run that goes on without it makes the same.
    """

    def __init__(self, memory: VideoMemory):
        self.memory = memory
        # What is held, and the digest of the frames that it is of.
        self.held: Held | None = None
        self.of = ""

    def remember(self, crops: Tensor) -> Tensor:
        """See ports.VideoMemory: of all frames so far, whatever it was asked for before."""
        held = self.held
        if held is not None and (held.frames > len(crops) or digest(crops[: held.frames]) != self.of):
            held = None
        memory, self.held = self.memory.remember(crops, held)
        self.of = "" if self.held is None else digest(crops[: self.held.frames])
        return memory
