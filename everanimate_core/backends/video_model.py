"""Video-XL without ComfyUI: it is on the device only while it remembers, so that the other networks have their room."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from ..longanimation.settings import MemorySettings
from ..longanimation.video_files import read_video_model
from ..longanimation.video_memory import MemoryOfVideo, VideoModel


def memory_on(device: torch.device, model: VideoModel, settings: MemorySettings) -> MemoryOfVideo:
    """A memory whose network waits on the CPU, and works on `device`."""
    return MemoryOfVideo(model, settings, partial(_on, device, model))


@contextmanager
def _on(device: torch.device, model: VideoModel) -> Iterator[None]:
    model.to(device)
    try:
        yield
    finally:
        model.to("cpu")


def load_video_model(path: Path, *, dtype: torch.dtype, field: str = "file") -> VideoModel:
    """Video-XL from a converted file, frozen, on the CPU. Raises InputError for others; it calls the file `field`."""
    state, settings = read_video_model(path, field)
    model = VideoModel(settings, device="meta")
    model.load_state_dict({name: value.to(dtype) for name, value in state.items()}, assign=True)
    return model.eval().requires_grad_(False)
