"""What LongAnimation remembers of all frames so far: global memory of the whole video, local memory of its end."""

from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..ports import Held
from .beacon import BeaconNetwork, BeaconSettings
from .prompt import PREFIX
from .vision import Vision, VisionSettings, crops

# Of the released script. The paper's local memory is that of 81 frames.
MOST_FRAMES, LOCAL_FRAMES, PAPER_LOCAL_FRAMES = 650, 20, 81


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
    def device(self) -> torch.device:
        """Where it computes."""
        return self.work_device or self.language.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """In which numbers it computes."""
        return self.work_dtype or self.language.embed_tokens.weight.dtype

    def crops(self, frames: Tensor) -> Tensor:
        """What is looked at of frames [n, H, W, 3] in 0..1: [n, S, S, 3] uint8 on the CPU."""
        return crops(frames, self.settings.vision.image)

    def features(self, crops: Tensor) -> Tensor:
        """[n, S, S, 3] uint8 -> [n, tokens, width]."""
        return self.vision(crops, self.device, self.dtype)

    def begin(self) -> Tensor:
        """What is held before any frame, see BeaconNetwork: [2, layers, prefix, kv_width]."""
        return self.language.begin(self.device, self.dtype)

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


def chosen(count: int, most: int = MOST_FRAMES) -> list[int]:
    """Which of `count` frames are remembered: all, or `most` of them at equal distances, the first and the last too."""
    return np.linspace(0, count - 1, min(count, most), dtype=int).tolist()


@dataclass(frozen=True)
class MemoryOfVideo:
    """Global memory of at most `most_frames` frames, and local memory of the last `local_frames` of these.

    append: what becomes of a video that is longer. As released, frames at equal distances are chosen anew for each
    window, and all of them are read. With append, each frame is read once, and the oldest ones are forgotten. Videos of
    up to `most_frames` frames are remembered the same in both ways.
    """

    model: VideoModel
    most_frames: int = MOST_FRAMES
    local_frames: int = LOCAL_FRAMES
    append: bool = False

    def __post_init__(self):
        for name, example in (("most_frames", MOST_FRAMES), ("local_frames", LOCAL_FRAMES)):
            if getattr(self, name) < 1:
                raise InputError(name, "must be at least 1", example, getattr(self, name))

    def crops(self, frames: Tensor) -> Tensor:
        """See ports.VideoMemory."""
        return self.model.crops(frames)

    @torch.no_grad()
    def remember(self, crops: Tensor, held: Held | None = None) -> tuple[Tensor, Held | None]:
        """See ports.VideoMemory."""
        if not len(crops):
            raise InputError("crops", "must be those of at least one frame", "", "none")
        if self.append or len(crops) <= self.most_frames:
            whole, held = self._read_on(crops, held)
        else:
            crops = crops[chosen(len(crops), self.most_frames)]
            whole, held = self.model.memory(crops), None
        local = self.model.memory(crops[-self.local_frames :])
        return torch.cat([whole, local], 2).cpu(), held

    def _read_on(self, crops: Tensor, held: Held | None) -> tuple[Tensor, Held]:
        """The global memory, and what is held then: of as many frames as fill whole windows, so that it does not matter
        at which frames the windows of the animation end."""
        past, read = (self.model.begin(), 0) if held is None else (held.past, held.frames)
        if read > len(crops):
            raise InputError("held", f"must be of these {len(crops)} frames", "", f"what was read of {read} frames")
        full = len(crops) - len(crops) % self.model.settings.frames_at_once
        past = self.model.read(past.to(self.model.device), crops[read:full], self.most_frames)
        whole = self.model.language.end(self.model.read(past, crops[full:], self.most_frames))
        return whole, Held(past.cpu(), full)
