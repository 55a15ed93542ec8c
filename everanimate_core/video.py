"""Frames of video files, streamed with PyAV: a window of frames at a time, never a whole video.

Frames are always float32 RGB on the CPU, [n, H, W, 3] in 0..1. Frame numbers count what a full decode of the file
shows, from 0; a variable frame rate keeps its frames, none is dropped or repeated to even out time.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import dropwhile
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import torch
from torch import Tensor

from .frames import check_indices

Source = str | os.PathLike | BinaryIO  # a path, or a seekable binary file object

# In these codecs one packet is one frame, so that packets can be counted instead of decoded. Elsewhere a packet may
# hold a field, several frames, or one that is never shown.
_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "mpeg4", "ffv1", "mjpeg", "prores", "png"}
# Colour matrices by their number in files, which the converter shares; it knows BT.601, with several numbers, as 5.
BT709, BT2020, BT601 = 1, 9, 5


class VideoError(ValueError):
    """A video that cannot be read or written as asked."""


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
        check_indices(indices, self.frame_count)
        frames = {}
        for number in sorted(set(indices)):
            frames[number] = self._kept[number] if number in self._kept else _to_rgb(self._decode(number))
        self._kept = frames
        out = torch.empty(len(indices), self.height, self.width, 3)
        for row, number in enumerate(indices):
            out[row] = torch.from_numpy(frames[number])
        return out.div_(255)

    def _open(self) -> None:
        self._container = open_video(self._source)
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
    matrix = frame.colorspace if frame.colorspace in (BT709, BT2020) else BT601  # untagged counts as BT.601
    # RGB has no matrix, but older PyAV applies the source's only where the two differ.
    other = BT709 if matrix == BT601 else BT601
    rgb = frame.reformat(format="rgb24", src_colorspace=matrix, dst_colorspace=other).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))


def open_input(source: Source) -> av.container.InputContainer:
    """Open a path or a seekable file object, from its start; VideoError when it cannot be read."""
    if hasattr(source, "seek"):
        source.seek(0)
    with _readable(source):
        return av.open(source if hasattr(source, "read") else os.fspath(source), metadata_errors="replace")


def open_video(source: Source) -> av.container.InputContainer:
    """open_input, and VideoError unless there is a picture in it."""
    container = open_input(source)
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
