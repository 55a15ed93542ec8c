"""Stand-ins with exact arithmetic: what they compute is the same to the last bit on every machine.

Run folders in tests/data were written with them, so that any machine can go on with those runs.
"""

import av
import torch

from everanimate_core.latents import SPATIAL_FACTOR
from everanimate_core.noise import draw_noise
from everanimate_core.plan import TEMPORAL_FACTOR


class ExactCodec:
    """A codec that picks and repeats pixels: latent channel c of a cell is colour c % 3 of the cell's middle pixel."""

    def encode(self, frames):
        """[F, H, W, 3] in 0..1 -> [1, 16, T, H/8, W/8]: every fourth frame, every eighth pixel."""
        middle = SPATIAL_FACTOR // 2
        picked = frames[::TEMPORAL_FACTOR, middle::SPATIAL_FACTOR, middle::SPATIAL_FACTOR]
        channels = torch.arange(16) % 3
        return (picked[..., channels] * 2 - 1).permute(3, 0, 1, 2)[None].contiguous()

    def decode(self, latents):
        """[1, 16, T, h, w] -> [4(T - 1) + 1, 8h, 8w, 3]: the first three channels, repeated."""
        colours = ((latents[0, :3] + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)
        large = colours.repeat_interleave(SPATIAL_FACTOR, 1).repeat_interleave(SPATIAL_FACTOR, 2)
        return large.repeat_interleave(TEMPORAL_FACTOR, 0)[TEMPORAL_FACTOR - 1 :].contiguous()


class Frames:
    """A driving video in memory."""

    fps = None

    def __init__(self, frames):
        self.frames, self.frame_count = frames, len(frames)

    def read(self, indices):
        return self.frames[list(indices)]


def exact_sampler(request, seed):
    """A sample_chunk that mixes noise, context and pose, element by element."""
    noise = draw_noise(request.latents_shape, seed)
    return (0.5 * noise + 0.25 * request.context.y)[:, :, request.anchors :] + 0.25 * request.pose_latents


def exact_pictures(count, height=16, width=32, seed=0):
    """[count, height, width, 3] in 0..1, whole steps of 1/255: lossless video files hold them exactly."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, height, width, 3), generator=generator) / 255


def is_rate(found, expected, suffix):
    """Whether a joined file says this rate: exactly, but PyAV before 17 cannot hand it over to every container.

    There mp4 counts in 1/90000 s, of which a frame of 24 a second has 3750, and mkv in milliseconds.
    """
    if int(av.__version__.split(".")[0]) >= 17:
        return found == expected
    return abs(found / expected - 1) < {".mp4": 1 / 3600, ".mkv": 0.03}[suffix]
