"""What LongAnimation remembers of all frames so far: global memory of the whole video, local memory of its end."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import lcm
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
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
                past = self.forgotten(past, most)
        return past

    def forgotten(self, past: Tensor, most: int) -> Tensor:
        """What is held, of the last `most` frames alone."""
        beacons = past[:, :, len(PREFIX) :][:, :, -most * self.settings.beacons :]
        return torch.cat([past[:, :, : len(PREFIX)], beacons], 2)

    def memory(self, crops: Tensor) -> Tensor:
        """The memory of frames [n, S, S, 3] uint8: [2, layers that are read, prefix + beacons + suffix, kv_width]."""
        return self.language.end(self.read(self.begin(), crops))


def chosen(count: int, most: int) -> list[int]:
    """Which of `count` frames are remembered: all, or `most` of them at equal distances, the first and the last too."""
    return np.linspace(0, count - 1, min(count, most), dtype=int).tolist()


@dataclass(frozen=True)
class Held:
    """What was read so far, on the CPU. It saves time and changes nothing: without it, all frames are read again.

    past: [2, layers, n, kv_width], what is kept of the first `frames` frames.
    """

    past: Tensor
    frames: int


@dataclass(frozen=True)
class MemoryOfVideo:
    """Global memory of at most `memory_frames` frames, and behind it local memory of the last `local_frames` of these.

    With memory_append, and for animations of up to `memory_frames` frames in any case, each frame is read once. Nothing
    is random. Frames are seen as `VideoModel.crops` shows them. working: a context that hosts set up around all that
    the network computes, where it has to come to a device first.
    """

    model: VideoModel
    settings: MemorySettings
    working: Callable[[], AbstractContextManager] = field(default=nullcontext, compare=False)

    @property
    def at_once(self) -> int:
        """So many frames fill whole windows. It does not matter whether such numbers of frames are read together."""
        return self.model.settings.frames_at_once

    def remember(self, crops: Tensor, held: Held | None = None) -> tuple[Tensor, Held | None]:
        """The memory of all frames so far, [2, layers that are read, N, kv_width] on the CPU, and what is held of them.

        crops: of all frames so far, [n, S, S, 3] uint8. held: what the last call for fewer frames of this video gave.
        """
        most = self.settings.memory_frames
        if not len(crops):
            raise InputError("crops", "must be those of at least one frame", "", "none")
        if most and (self.settings.memory_append or len(crops) <= most):
            full = len(crops) - len(crops) % self.at_once
            if held is not None and held.frames > full:
                got = f"what was read of {held.frames} frames"
                raise InputError("held", f"must be of these {len(crops)} frames", "", got)
            past, read = (None, 0) if held is None else (held.past, held.frames)
            held = Held(self.read(past, crops[read:full]), full)
            return self.end(held.past, crops[full:], crops), held
        if most:
            crops = crops[chosen(len(crops), most)]
        return self.end(None, crops, crops), None

    @torch.no_grad()
    def read(self, past: Tensor | None, crops: Tensor) -> Tensor:
        """What is held [2, layers, n, kv_width] of the frames so far and, behind it, of these; on the CPU.

        past: of the frames before, None for none. crops: [n, S, S, 3] uint8, n a multiple of at_once.
        """
        with self.working():
            past = self.model.begin() if past is None else past.to(self.model.computes_on)
            return self.model.read(past, crops, self.settings.memory_frames).cpu()

    @torch.no_grad()
    def end(self, past: Tensor | None, rest: Tensor, last: Tensor) -> Tensor:
        """The memory. past: of what was read so far, see `read`. rest: crops of the frames behind that. last: crops of
        the last frames, at least local_frames of them or all."""
        most, local = self.settings.memory_frames, self.settings.local_frames
        with self.working():
            parts = []
            if most:
                past = self.model.begin() if past is None else past.to(self.model.computes_on)
                parts.append(self.model.language.end(self.model.read(past, rest, most)))
            if local:
                parts.append(self.model.memory(last[-local:]))
            return torch.cat(parts, 2).cpu()
