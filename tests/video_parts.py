"""Video files that tests of media make and read."""

import random
import struct
import wave
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import torch

DATA = Path(__file__).parent / "data"


WIDTH, HEIGHT, COUNT = 96, 64, 80


@lru_cache
def picture(number):
    """uint8 [HEIGHT, WIDTH, 3]; moving, so that the encoder has use for B-frames, and different for every number."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([x * 2 + number * 5, y * 3 + number * 2, (x + y) * 2 - number * 3], -1) % 256
    image[number % 50 : number % 50 + 8] = number * 11 % 256
    return image.astype(np.uint8)


def pictures(count, first=0):
    return torch.from_numpy(np.stack([picture(first + i) for i in range(count)])).float() / 255


def encode(
    path, codec="libx264", options="", pix_fmt="yuv420p", times=None, count=COUNT, rate=Fraction(25), paint=picture
):
    """A file made with PyAV alone, of paint(number) for each frame.

    times: the presentation times in milliseconds, else `rate` frames a second from 0.
    """
    base = 1 / rate if times is None else Fraction(1, 1000)
    height, width, _ = paint(0).shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=dict(o.split("=", 1) for o in options.split()))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = base
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(paint(number), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number if times is None else times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turned(path, matrix):
    """Let an mp4 file say that players turn and mirror it: a point goes to x' = a x + c y, y' = b x + d y."""
    data, (a, b, c, d) = bytearray(path.read_bytes()), matrix
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def full_decode(path):
    """float32 [n, H, W, 3] of one plain pass from the first frame to the last."""
    with av.open(str(path)) as container:
        return torch.from_numpy(np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])) / 255.0


def packets_of(path, kind="video"):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [
            (p.pts * p.time_base, None if p.dts is None else p.dts * p.time_base, bytes(p), p.is_keyframe)
            for p in container.demux(stream)
            if p.size
        ]


def irregular_times(start):
    gaps = random.Random(3)
    return [start := start + gaps.choice([10, 33, 40, 80, 5]) for _ in range(COUNT)]


def windows(length, overlap):
    return [list(range(k, min(k + length, COUNT))) for k in range(0, COUNT, length - overlap)]


X264_OPEN_GOP = "x264-params=keyint=24:open-gop=1:bframes=5:b-adapt=0:scenecut=0"


FILES = {
    "b_frames.mp4": {"options": "x264-params=keyint=30:bframes=3:scenecut=0"},
    "open_gop.mp4": {"options": X264_OPEN_GOP},
    "open_gop.mkv": {"options": X264_OPEN_GOP},
    "one_keyframe.mp4": {"options": "g=1000"},
    "variable_rate.mp4": {"times": irregular_times(0), "options": "g=20"},
    "variable_rate_late_start.mkv": {"times": irregular_times(1234), "options": "g=20"},
    "transport_stream_starts_late.ts": {"options": X264_OPEN_GOP},
    "negative_start_hides_frames.mp4": {"times": [40 * n - 1000 for n in range(COUNT)], "options": "g=20 bf=3"},
    "keyframes_that_are_no_start.mp4": {"options": "x264-params=keyint=24:intra-refresh=1:bframes=2:scenecut=0"},
    "no_presentation_times.avi": {"options": X264_OPEN_GOP},
    "no_timestamps.h264": {"options": "g=12 bf=2"},
    "uncounted_codec.mpg": {"codec": "mpeg2video", "options": "g=12 bf=2"},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le", "options": "g=20"},
    "full_chroma.mp4": {"pix_fmt": "yuv444p", "options": "g=20"},
    "rgb.mkv": {"codec": "ffv1", "pix_fmt": "bgr0"},
    "single_frame.mp4": {"count": 1},
}


# A telephone in the dark: 30 frames in the first second, 15 in the next.
DARK = [*(20 * n for n in range(30)), *(600 + 40 * n for n in range(15))]


COLOURS = [(r, g, b) for r in (0.0, 0.5, 1.0) for g in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)]


def tone(path, seconds, rate=48000, silent_until=0.0):
    """16-bit mono, 440 Hz, optionally after a silence (s)."""
    time = np.arange(round(seconds * rate)) / rate
    samples = 8000 * np.sin(2 * np.pi * 440 * time) * (time >= silent_until)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path
