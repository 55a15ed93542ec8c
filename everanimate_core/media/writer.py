"""Frames into video files, streamed with PyAV; files joined without encoding them again; sound passed through."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from io import BytesIO
from types import TracebackType

import av
import torch
from torch import Tensor

from ..files import write_whole
from .open import Source, VideoError, file_url, open_video
from .pixels import BT601, BT709
from .rates import file_rate
from .sound import Sound, sound_into


class VideoWriter:
    """Write frames to `path` as they come; the file appears under its name when it is whole, at `close`.

    Use it as a context manager: an exception inside leaves nothing behind, neither the file nor a part of it, and an
    older file of that name stays as it is. The container follows from the suffix. On one machine, the same frames and
    settings give the same bytes.

    fps: frames a second, exact as a Fraction; every frame lasts 1/fps.
    width, height: pixels; even where `pix_fmt` halves the colour planes, as yuv420p does.
    codec, crf, pix_fmt: bit exact on 8-bit values are ("libx264rgb", 0, "rgb24") and, in .mkv, ("ffv1", any, "bgr0").
        YUV is tagged and converted as BT.709, limited range. crf is for the codecs that have one (0 best, 51 worst).
    audio_from: a Sound, or a video (path or own file object) whose sound is added, in step with its picture, up to the
        length written (to one audio packet): copied where the container allows, else as AAC. None there: none.
    audio_start: the second of its picture from which on it is heard.
    check: called before the file gets its name; what it raises is raised by `close`, and the file goes.

    Raises VideoError for sizes the format cannot hold, an unreadable `audio_from`, and a close without any frame.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: Fraction | float,
        width: int,
        height: int,
        *,
        codec: str = "libx264",
        crf: int = 17,
        pix_fmt: str = "yuv420p",
        audio_from: Source | Sound | None = None,
        audio_start: float = 0,
        check: Callable[[], object] = lambda: None,
    ):
        check_size(width, height, pix_fmt)
        self.frame_count = 0
        self._path, self._shape = path, (height, width, 3)
        self._fps = writable_rate(fps)
        with ExitStack() as files:
            self._output = files.enter_context(_replacing(path, check=check))
            # x264's macroblock tree reads memory it never wrote (seen with AVX-512): equal frames, unequal files.
            options = {"crf": str(crf), "mbtree": "0"}
            self._stream = self._output.add_stream(codec, rate=self._fps, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, pix_fmt
            if not av.VideoFormat(pix_fmt).is_rgb:
                context = self._stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = BT709
            self._mux_audio = files.enter_context(sound_into(audio_from, self._output, audio_start))
            files.push(self._finish)
            self._files = files.pop_all()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def write(self, frames: Tensor) -> None:
        """Append frames [n, H, W, 3] in 0..1 (clamped, rounded to 8 bits), or uint8 as they are.

        Raises VideoError for another size.
        """
        if frames.shape[1:] != self._shape:
            height, width, _ = self._shape
            raise VideoError("the frames", f"must be [n, {height}, {width}, 3]", "", list(frames.shape))
        for rgb in frames:
            eight_bit = rgb if rgb.dtype == torch.uint8 else (rgb.clamp(0, 1) * 255).round().to(torch.uint8)
            pixels = eight_bit.cpu().contiguous().numpy()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            # Older PyAV converts to the wanted matrix only where the source claims another one.
            frame = frame.reformat(format=self._stream.pix_fmt, src_colorspace=BT601, dst_colorspace=BT709)
            frame.pts, frame.time_base = self.frame_count, 1 / self._fps
            self._mux(frame)
            self.frame_count += 1

    def close(self) -> None:
        """Finish the file and give it its name; a second call does nothing."""
        self._files.close()

    def _finish(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            if not self.frame_count:
                raise VideoError("at least one frame", "must be written", "", f"0 for {self._path}")
            self._mux(None)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._output.mux(packet)
        self._mux_audio(self.frame_count / self._fps)


def writable_rate(fps: Fraction | float) -> Fraction:
    """A frame rate as it is written: those of files as they are, a float as the simple fraction next to it.

    Raises InputError for one that is no rate.
    """
    rate = file_rate(fps)
    # Files hold rates that are no simple fraction where they averaged them.
    if isinstance(fps, Fraction) and max(fps.numerator, fps.denominator) < 2**31:
        return fps
    return rate


def check_writing(fps: Fraction, width: int, height: int, codec: str = "libx264", pix_fmt: str = "yuv420p") -> None:
    """Raise VideoError when videos of this rate (a second) and size (pixels) cannot be written.

    codec, pix_fmt: as for VideoWriter. For use before anything is sampled: one frame is encoded in memory.
    """
    check_size(width, height, pix_fmt)
    try:
        with av.open(BytesIO(), "w", format="mp4") as container:
            stream = container.add_stream(codec, rate=writable_rate(fps))
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            container.mux(stream.encode(av.VideoFrame(width, height, pix_fmt)))
            container.mux(stream.encode(None))
    except (av.FFmpegError, OverflowError, ValueError) as error:
        raise VideoError(
            f"a video of {width}x{height} at {fps} frames per second", "must be writable", "", error
        ) from error


def check_size(width: int, height: int, pix_fmt: str) -> None:
    """Raise VideoError where `pix_fmt` halves the colour planes of a size in pixels that is odd."""
    layout = av.VideoFormat(pix_fmt)
    if width % (2 // layout.chroma_width(2)) or height % (2 // layout.chroma_height(2)):
        raise VideoError("width and height", f"must be even for {pix_fmt}", "832x480", f"{width}x{height}")


def concat_segments(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    audio_from: Source | Sound | None = None,
    audio_start: float = 0,
    metadata: Mapping[str, str] | None = None,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Join videos that one set of `VideoWriter` settings wrote into `out`, without encoding them again.

    The frames of `out` are those of the parts, one after the other, at their common rate. The audio of the parts is
    left out; `audio_from`, from `audio_start` seconds of its picture on, `check` and the way the file appears are as in
    `VideoWriter`. metadata: tags of the file, by name. Raises VideoError without a part, and for one that cannot be
    read or differs in codec, size, rate or codec settings.
    """
    if not paths:
        raise VideoError("at least one segment", "is needed", "", f"0 for {out}")
    settings, orders = zip(*map(_survey, paths), strict=True)
    for path, own in zip(paths, settings, strict=True):
        if own != settings[0]:
            raise VideoError("segments", f"must share codec, size, rate and settings with {paths[0]}", "", path)
    # Decoding runs ahead of showing by one delay for all: a short segment on its own would need less than its
    # neighbours, and its decoding times would collide with theirs.
    delay = max(place - number for order in orders for place, number in enumerate(order))
    with ExitStack() as files:
        output = files.enter_context(_replacing(out, metadata, check))
        template = files.enter_context(open_video(paths[0])).streams.video[0]
        stream = output.add_stream_from_template(template, opaque=True)
        # Newer PyAV takes the rate over from the template; PyAV 16 must be told, and 14 cannot be: there mp4 counts in
        # 1/90000 s, and 23.976 frames a second are off by some millionths.
        with suppress(RuntimeError):
            stream.time_base = 1 / template.average_rate
        mux_audio = files.enter_context(sound_into(audio_from, output, audio_start))
        rate, written = template.average_rate, 0
        for path, order in zip(paths, orders, strict=True):
            with open_video(path) as segment:
                packets = (packet for packet in segment.demux(video=0) if packet.size)
                for place, packet in enumerate(packets):
                    packet.stream, packet.time_base = stream, 1 / rate
                    packet.pts, packet.dts, packet.duration = written + order[place], written + place - delay, 1
                    output.mux(packet)
                    mux_audio((written + place + 1) / rate)
            written += len(order)


def _survey(path: str | os.PathLike) -> tuple[tuple, list[int]]:
    """What segments must share, and the frame number of each packet, in the order of decoding."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        times = [packet.pts for packet in container.demux(stream) if packet.size]
        numbers = {pts: number for number, pts in enumerate(sorted(times))}
        settings = (context.name, context.width, context.height, stream.average_rate, context.extradata)
        return settings, [numbers[pts] for pts in times]


@contextmanager
def _replacing(
    path: str | os.PathLike, metadata: Mapping[str, str] | None = None, check: Callable[[], object] = lambda: None
) -> Iterator[av.container.OutputContainer]:
    """A new file that takes the name `path` when it is complete; on an exception it goes and the old one stays."""
    # faststart: the index goes to the front, so that players can start before the whole file has come.
    flags = "faststart+use_metadata_tags" if metadata else "faststart"
    options = {"movflags": flags}
    with write_whole(path, check) as part, av.open(file_url(part), "w", container_options=options) as container:
        container.metadata.update(metadata or {})
        yield container
