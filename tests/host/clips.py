"""Small moving pictures with a different answer for every pixel and frame, and lossless files of them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch


def moving_pattern(frames, size=64, phase=0.0):
    """IMAGE batch [frames, size, size, 3] in 0..1: three drifting waves. Values are multiples of 1/255,
    so that a lossless 8-bit file holds exactly the same numbers."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    time = torch.arange(frames).view(-1, 1, 1) / 8 + phase
    waves = [torch.sin(6 * x + 4 * time), torch.sin(7 * y - 3 * time), torch.sin(5 * (x + y) + 5 * time)]
    return ((torch.stack(waves, dim=-1) * 0.5 + 0.5) * 255).round() / 255


def reference_image(size=64):
    """One IMAGE [1, size, size, 3] that is not a frame of the pattern above."""
    return moving_pattern(1, size, phase=2.3)


def write_video(path: Path, frames, fps=25, times=None):
    """Writes an IMAGE batch as a QuickTime file (.mov) of PNG frames: lossless, and one of the few formats that every
    host also reads without a conversion that rounds. times: of each frame, in 1 / fps seconds; None: one after another.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        pictures = (frames * 255).round().to(torch.uint8).numpy()
        for picture, time in zip(pictures, range(len(pictures)) if times is None else times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = time, 1 / Fraction(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
