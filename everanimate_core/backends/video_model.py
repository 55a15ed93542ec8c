"""Video-XL without ComfyUI: it is on the device only while it remembers, so that the other networks have their room."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..longanimation.video_files import read_video_model
from ..longanimation.video_memory import MemoryOfVideo, VideoModel
from ..ports import Held


@dataclass(frozen=True)
class MemoryOnDevice:
    """A memory whose network waits on the CPU (protocol: ports.VideoMemory)."""

    memory: MemoryOfVideo
    device: torch.device

    @property
    def facts(self) -> Mapping[str, Any]:
        """See ports.VideoMemory."""
        return self.memory.facts

    @property
    def side(self) -> int:
        """See ports.VideoMemory."""
        return self.memory.side

    def crops(self, frames: Tensor) -> Tensor:
        """See ports.VideoMemory."""
        return self.memory.crops(frames)

    def remember(self, crops: Tensor, held: Held | None = None) -> tuple[Tensor, Held | None]:
        """See ports.VideoMemory."""
        self.memory.model.to(self.device)
        try:
            return self.memory.remember(crops, held)
        finally:
            self.memory.model.to("cpu")


def load_video_model(path: Path, *, dtype: torch.dtype, field: str = "file") -> VideoModel:
    """Video-XL from a converted file, frozen, on the CPU. Raises InputError for others; it calls the file `field`."""
    state, settings = read_video_model(path, field)
    model = VideoModel(settings, device="meta")
    model.load_state_dict({name: value.to(dtype) for name, value in state.items()}, assign=True)
    return model.eval().requires_grad_(False)
