"""Frames in and out of video files, streamed with PyAV: a window of frames at a time, never a whole video.

Frames are always float32 RGB on the CPU, [n, H, W, 3] in 0..1. Frame numbers count what a full decode of the file
shows, from 0; a variable frame rate keeps its frames, none is dropped or repeated to even out time.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, dropwhile
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Source = str | os.PathLike | BinaryIO  # a path, or a seekable binary file object
FIT_POLICIES = ("stretch", "crop", "pad", "error")

# In these codecs one packet is one frame, so that packets can be counted instead of decoded. Elsewhere a packet may
# hold a field, several frames, or one that is never shown.
_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "mpeg4", "ffv1", "mjpeg", "prores", "png"}
# Colour matrices by their number in files, which the converter shares; it knows BT.601, with several numbers, as 5.
_BT709, _BT2020, _BT601 = 1, 9, 5


class VideoError(ValueError):
    """A video that cannot be read or written as asked."""


def to_mask(frames: Tensor) -> Tensor:
    """Average of the colour channels: [n, H, W, 3] in 0..1 -> [n, H, W] in 0..1."""
    return frames.mean(-1)


def fit_frames(frames: Tensor, width: int, height: int, fit: str) -> Tensor:
    """Bring frames [n, H, W, 3] to [n, height, width, 3] (pixels); frames of that size are returned as they are.

    `stretch` scales both axes on their own; `crop` scales to cover the size and keeps the centre; `pad` scales to
    fit inside and centres on black; `error` refuses. Scaling is bicubic with antialiasing, clamped to 0..1.
    Raises ValueError for an unknown `fit`, and where `error` meets another size.
    """
    if fit not in FIT_POLICIES:
        raise ValueError(f"Video: fit must be one of {', '.join(FIT_POLICIES)}; got {fit}.")
    old_height, old_width = frames.shape[1:3]
    if (old_width, old_height) == (width, height):
        return frames
    if fit == "error":
        raise ValueError(
            f"Video: frames must be {width}x{height} (or fit stretch, crop or pad); got {old_width}x{old_height}."
        )
    if fit == "stretch":
        return _resize(frames, width, height)
    ratios = (width / old_width, height / old_height)
    scale = max(ratios) if fit == "crop" else min(ratios)
    frames = _resize(frames, max(1, round(old_width * scale)), max(1, round(old_height * scale)))
    # Positive margins are padding, negative ones cut: F.pad does both.
    left, top = (width - frames.shape[2]) // 2, (height - frames.shape[1]) // 2
    right, bottom = width - frames.shape[2] - left, height - frames.shape[1] - top
    return F.pad(frames, (0, 0, left, right, top, bottom))


def _resize(frames: Tensor, width: int, height: int) -> Tensor:
    scaled = F.interpolate(frames.movedim(-1, 1), (height, width), mode="bicubic", antialias=True)
    return scaled.clamp(0, 1).movedim(1, -1).contiguous()


class TensorFrames:
    """Frames that are in memory already: images [n, H, W, 3 or 4] in 0..1 (a fourth channel, alpha, is left out).

    `fps`: frames a second, where they are known to have a rate.
    """

    def __init__(self, images: Tensor, fps: Fraction | None = None):
        self._images, self.fps = images[..., :3], fps
        self.frame_count, self.height, self.width = images.shape[:3]

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames of these numbers, in this order: [len(indices), H, W, 3]. Raises IndexError outside the video."""
        _check_indices(indices, self.frame_count)
        return self._images[list(indices)].float().cpu()


class VideoFrames:
    """Frames of a video file, decoded on demand; `source` is a path or a seekable binary file object.

    `frame_count`, `width` and `height` (pixels, after the file's rotation flag is applied; pixels count as square) and
    `fps` (frames a second as a Fraction, the average where the rate varies) are known on opening. The decoded frames
    of one `read` are kept until the next. A file object stays open on `close`, and nothing else may read it meanwhile.
    Files whose packets do not tell their frames (AVI, GIF, MPEG-2 and the like) are decoded once on opening, and again
    from the start for each step back.
    Raises VideoError for a file that is no readable video or holds no frame.
    """

    def __init__(self, source: Source):
        self._source = source
        self._open()
        try:
            with _readable(source):
                self._index = _build_index(self._container, self._stream)
            self.frame_count = len(self._index.shown) if self._index else self._count_by_decoding()
            if not self.frame_count:
                raise VideoError(f"Video: the file must hold at least one video frame; got 0 in {_name(source)}.")
            self._kept = {0: _to_rgb(self._decode(0))}
        except BaseException:
            self.close()
            raise
        self.height, self.width = self._kept[0].shape[:2]
        self.fps = Fraction(self._stream.average_rate or self._stream.guessed_rate)

    def __enter__(self) -> VideoFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._container.close()

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames of these numbers, in this order: [len(indices), H, W, 3] in 0..1.

        Numbers may rise, fall and repeat: each frame is decoded once, forwards. A request that shares frames with the
        last one or starts where it ended goes on without seeking back. Raises IndexError outside the video and
        VideoError where the file turns out to be damaged.
        """
        _check_indices(indices, self.frame_count)
        frames = {}
        for number in sorted(set(indices)):
            frames[number] = self._kept[number] if number in self._kept else _to_rgb(self._decode(number))
        self._kept = frames
        out = torch.empty(len(indices), self.height, self.width, 3)
        for row, number in enumerate(indices):
            out[row] = torch.from_numpy(frames[number])
        return out.div_(255)

    def _open(self) -> None:
        self._container = _open_video(self._source)
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._run: Iterator[tuple[float, av.VideoFrame]] = iter(())  # what the decoder gives next
        self._position = float("inf")  # the number of the frame that it gave last; none yet: every frame lies behind

    def _decode(self, number: int) -> av.VideoFrame:
        if self._index is None:
            if number <= self._position:
                self._restart()
        else:
            key = bisect_right(self._index.keys, self._index.shown[number]) - 1
            if number <= self._position or self._index.keys[key] > self._index.shown[self._position + 1]:
                self._seek(key)
        for found, frame in self._run:
            self._position = found
            if found == number:
                return frame
            if found > number:
                break
        # Not every keyframe is a place to start: with intra refresh the picture is only complete some frames later.
        if self._index is None or self._count_by_decoding() != self.frame_count:
            raise VideoError(f"Video: every frame must be decodable; got no frame {number} from {_name(self._source)}.")
        return self._decode(number)

    def _seek(self, key: int) -> None:
        """Let `_run` start at this keyframe; should the container seek beyond it, `_run` is empty."""
        start, numbers = self._index.keys[key], self._index.numbers
        self._container.seek(self._index.seeks[key], stream=self._stream)
        packets = dropwhile(lambda packet: packet.pts != start, self._container.demux(self._stream))
        self._run = ((numbers.get(frame.pts, float("inf")), frame) for frame in self._decoded(packets))
        self._position = -1

    def _count_by_decoding(self) -> int:
        """Drop the index and count what a full decode shows: right for any file, but reading can only go forwards."""
        self._index = None
        self._restart()
        count = sum(1 for _ in self._run)
        self._position = float("inf")
        return count

    def _restart(self) -> None:
        self._container.close()
        self._open()
        self._run = enumerate(self._decoded(self._container.demux(self._stream)))
        self._position = -1

    def _decoded(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        with _readable(self._source):
            for packet in packets:
                yield from packet.decode()


@dataclass(frozen=True)
class _Index:
    """Where the frames of a file are, by presentation timestamp (pts, in units of the stream's time base)."""

    shown: list[int]  # the pts of every frame, in the order of showing
    numbers: dict[int, int]  # pts -> frame number
    keys: list[int]  # the pts of every keyframe, in order
    seeks: list[int]  # where to seek for it: its decoding time, by which some containers search


def _build_index(container: av.container.InputContainer, stream: av.VideoStream) -> _Index | None:
    """Index the packets without decoding them; None where they do not say for certain which frames will be shown."""
    packets = [(p.pts, p.dts, p.is_keyframe, p.is_discard) for p in container.demux(stream) if p.size]
    # AVI has no presentation times; with B-frames those that FFmpeg makes up are wrong.
    if container.format.name == "avi" or stream.codec_context.codec.canonical_name not in _FRAME_PER_PACKET:
        return None
    if any(pts is None for pts, *_ in packets):
        return None
    shown = sorted(pts for pts, _, _, discard in packets if not discard)
    keys = sorted((pts, pts if dts is None else dts) for pts, dts, key, _ in packets if key)
    # The same time twice, or frames before the first keyframe, which no decoder can show: count what it does show.
    if len(set(shown)) < len(shown) or (shown and (not keys or keys[0][0] > shown[0])):
        return None
    return _Index(
        shown=shown,
        numbers={pts: number for number, pts in enumerate(shown)},
        keys=[pts for pts, _ in keys],
        seeks=[dts for _, dts in keys],
    )


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """uint8 [H, W, 3], upright."""
    matrix = frame.colorspace if frame.colorspace in (_BT709, _BT2020) else _BT601  # untagged counts as BT.601
    # RGB has no matrix, but older PyAV applies the source's only where the two differ.
    other = _BT709 if matrix == _BT601 else _BT601
    rgb = frame.reformat(format="rgb24", src_colorspace=matrix, dst_colorspace=other).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))


class VideoWriter:
    """Write frames to `path` as they come; the file appears under its name when it is whole, at `close`.

    Use it as a context manager: an exception inside leaves nothing behind, neither the file nor a part of it, and an
    older file of that name stays as it is. The container follows from the suffix.

    fps: frames a second, exact as a Fraction; every frame lasts 1/fps.
    width, height: pixels; even where `pix_fmt` halves the colour planes, as yuv420p does.
    codec, crf, pix_fmt: bit exact on 8-bit values are ("libx264rgb", 0, "rgb24") and, in .mkv, ("ffv1", any, "bgr0").
        YUV is tagged and converted as BT.709, limited range. crf is for the codecs that have one (0 best, 51 worst).
    audio_from: a video (path or own file object) whose first audio stream is added, in step with its picture, up to
        the length written (to one audio packet): copied where the container allows, else as AAC. None there: none.

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
        audio_from: Source | None = None,
    ):
        layout = av.VideoFormat(pix_fmt)
        if width % (2 // layout.chroma_width(2)) or height % (2 // layout.chroma_height(2)):
            raise VideoError(f"Video: width and height must be even for {pix_fmt} (832x480); got {width}x{height}.")
        self.frame_count = 0
        self._path, self._shape = path, (height, width, 3)
        # A float stands for the simple fraction next to it: 29.97 and 23.976 have no other meaning.
        self._fps = Fraction(fps).limit_denominator(1001) if isinstance(fps, float) else Fraction(fps)
        with ExitStack() as files:
            self._output = files.enter_context(_replacing(path))
            self._stream = self._output.add_stream(codec, rate=self._fps, options={"crf": str(crf)})
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, pix_fmt
            if not layout.is_rgb:
                context = self._stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = _BT709
            self._mux_audio = files.enter_context(_audio(audio_from, self._output))
            files.push(self._finish)
            self._files = files.pop_all()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._files.__exit__(*exception)

    def write(self, frames: Tensor) -> None:
        """Append frames [n, H, W, 3] in 0..1 (clamped, rounded to 8 bits). Raises VideoError for another size."""
        if frames.shape[1:] != self._shape:
            height, width, _ = self._shape
            raise VideoError(f"Video: frames must be [n, {height}, {width}, 3]; got {list(frames.shape)}.")
        for rgb in frames:
            pixels = (rgb.clamp(0, 1) * 255).round().to("cpu", torch.uint8).contiguous().numpy()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            # Older PyAV converts to the wanted matrix only where the source claims another one.
            frame = frame.reformat(format=self._stream.pix_fmt, src_colorspace=_BT601, dst_colorspace=_BT709)
            frame.pts, frame.time_base = self.frame_count, 1 / self._fps
            self._mux(frame)
            self.frame_count += 1

    def close(self) -> None:
        """Finish the file and give it its name; a second call does nothing."""
        self._files.close()

    def _finish(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            if not self.frame_count:
                raise VideoError(f"Video: at least one frame must be written; got 0 for {self._path}.")
            self._mux(None)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._output.mux(packet)
        self._mux_audio(self.frame_count / self._fps)


def concat_segments(
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    audio_from: Source | None = None,
) -> None:
    """Join videos that one set of `VideoWriter` settings wrote into `out`, without encoding them again.

    The frames of `out` are those of the parts, one after the other, at their common rate. The audio of the parts is
    left out; `audio_from` and the way the file appears are as in `VideoWriter`. Raises VideoError without a part,
    and for one that cannot be read or differs in codec, size, rate or codec settings.
    """
    if not paths:
        raise VideoError(f"Video: at least one segment is needed; got 0 for {out}.")
    settings, _ = _survey(paths[0])
    orders = []
    for path in paths:
        found, order = _survey(path)
        if found != settings:
            raise VideoError(f"Video: segments must share codec, size, rate and settings with {paths[0]}; got {path}.")
        orders.append(order)
    # Decoding runs ahead of showing by one delay for all: a short segment on its own would need less than its
    # neighbours, and its decoding times would collide with theirs.
    delay = max(place - number for order in orders for place, number in enumerate(order))
    with ExitStack() as files:
        output = files.enter_context(_replacing(out))
        template = files.enter_context(_open_video(paths[0])).streams.video[0]
        stream = output.add_stream_from_template(template, opaque=True)
        mux_audio = files.enter_context(_audio(audio_from, output))
        rate, written = template.average_rate, 0
        for path, order in zip(paths, orders, strict=True):
            with _open_video(path) as segment:
                packets = (packet for packet in segment.demux(video=0) if packet.size)
                for place, packet in enumerate(packets):
                    packet.stream, packet.time_base = stream, 1 / rate
                    packet.pts, packet.dts, packet.duration = written + order[place], written + place - delay, 1
                    output.mux(packet)
                    mux_audio((written + place + 1) / rate)
            written += len(order)


def _survey(path: str | os.PathLike) -> tuple[tuple, list[int]]:
    """What segments must share, and the frame number of each packet, in the order of decoding."""
    with _open_video(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        times = [packet.pts for packet in container.demux(stream) if packet.size]
        numbers = {pts: number for number, pts in enumerate(sorted(times))}
        settings = (context.name, context.width, context.height, stream.average_rate, context.extradata)
        return settings, [numbers[pts] for pts in times]


@contextmanager
def _audio(source: Source | None, output: av.container.OutputContainer) -> Iterator[Callable[[Fraction], None]]:
    """Add the first audio stream of `source`; gives a function that muxes it up to a time of the output in seconds."""
    with ExitStack() as files:
        container = None if source is None else files.enter_context(_open_input(source))
        packets: Iterator[av.Packet] = iter(())
        if container is not None and container.streams.audio:
            stream = container.streams.audio[0]
            codec = stream.codec_context.codec.canonical_name
            # mp4 may hold raw sound too, but hardly anything plays it.
            unplayable = output.format.name == "mp4" and codec.startswith("pcm_")
            copied = codec in output.supported_codecs and not unplayable
            if copied:
                target = output.add_stream_from_template(stream, opaque=True)
            else:
                target = output.add_stream("aac", rate=48000)
                target.codec_context.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            packets = _audio_packets(container, stream, target, copied)
        waiting: list[av.Packet] = []

        def mux_until(seconds: Fraction) -> None:
            for packet in chain(waiting[:], packets):
                waiting[:] = [packet]
                if packet.pts * packet.time_base >= seconds:
                    return
                output.mux(packet)
            waiting.clear()

        yield mux_until


def _audio_packets(
    container: av.container.InputContainer, stream: av.AudioStream, target: av.AudioStream, copied: bool
) -> Iterator[av.Packet]:
    """The packets of `stream`, or of its sound encoded anew, on a clock that is 0 where the picture starts."""
    clock = container.streams.video[0] if container.streams.video else stream
    start = (clock.start_time or 0) * clock.time_base
    for part in container.demux(stream) if copied else container.decode(stream):
        if part.pts is None:
            continue  # PyAV ends every stream with an empty packet
        shift = round(start / part.time_base)
        part.pts -= shift
        # A packet that ends at 0 stays: in AAC it is what the first audible one builds on.
        if part.pts + (part.duration if copied else 0) < 0:
            continue
        if copied:
            part.dts, part.stream = part.pts, target
            yield part
        else:
            yield from target.encode(part)
    if not copied:
        yield from target.encode(None)


@contextmanager
def _replacing(path: str | os.PathLike) -> Iterator[av.container.OutputContainer]:
    """A new file that takes the name `path` when it is complete; on an exception it goes and the old one stays."""
    path = Path(path)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        # faststart: the index goes to the front, so that players can start before the whole file has come.
        with av.open(str(part), "w", container_options={"movflags": "faststart"}) as container:
            yield container
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _open_input(source: Source) -> av.container.InputContainer:
    if hasattr(source, "seek"):
        source.seek(0)
    with _readable(source):
        return av.open(source if hasattr(source, "read") else os.fspath(source), metadata_errors="replace")


def _open_video(source: Source) -> av.container.InputContainer:
    container = _open_input(source)
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise VideoError(f"Video: the file must hold a video stream of a known codec; got {_name(source)}.")
    return container


@contextmanager
def _readable(source: Source) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, IndexError) as error:  # IndexError: PyAV's, for streams that turn up late in damaged files
        raise VideoError(f"Video: the file must be a readable video; got {_name(source)} ({error}).") from error


def _name(source: Source) -> str:
    if hasattr(source, "read"):
        return getattr(source, "name", "a file object")
    return Path(source).name


def _check_indices(indices: Sequence[int], count: int) -> None:
    for number in indices:
        if not 0 <= number < count:
            raise IndexError(f"Video: frame numbers must be within 0..{count - 1}; got {number}.")
