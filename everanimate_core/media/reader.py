"""Frames of video files, streamed with PyAV: a window of frames at a time, never a whole video.

Frames are always float32 RGB on the CPU, [n, H, W, 3] in 0..1. `StoredFrames` counts what a full decode of the file
shows. `VideoFrames` shows them at a constant rate, every picture at its time. What was pickled opens its file anew.
"""

from __future__ import annotations

import sys
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, dropwhile, pairwise
from operator import itemgetter

import av
import numpy as np
import torch
from torch import Tensor

from .frames import check_indices, fit_frames
from .index import FrameIndex, build_index, read_packets
from .open import Source, VideoError, open_video, readable, source_name
from .pictures import AnimatedWebp, exif_matrix, is_animated_webp, is_picture
from .pixels import SQUARE, hdr_name, to_rgb
from .rates import even_numbers, is_steady, last_frame_end, lasting_rate, steady_numbers

DEFAULT_FPS = Fraction(25)
# How far apart in the order of decoding frames are that follow one another: as many as codecs keep.
REORDERED = 16
# The number of a frame that is none of the index; every other frame lies before it.
_BEYOND = sys.maxsize


@contextmanager
def telling_video(
    tell: Callable[[str], None],
    source: Source,
    fps: Fraction | None = None,
    start: float = 0,
    duration: float = 0,
) -> Iterator[VideoFrames]:
    """VideoFrames, closed at the end; `tell` is called with each of its notes, once known."""
    with VideoFrames(source, fps, start, duration) as video:
        told = video.notes
        for note in told:
            tell(note)
        try:
            yield video
        finally:
            for note in video.notes:
                if note not in told:
                    tell(note)


class VideoFrames:
    """Frames of a video at a constant rate; `source` is a path or a seekable binary file object.

    The rate `fps` is the file's own where that is constant; then every frame is shown once. Where the times of frames
    vary it is the highest rate that lasts for a second, at most 60, and frame i is what the source shows at i / fps.
    fps: another rate to show it at. start, duration: the part to show, in seconds of the picture (duration 0: to its
    end). `frame_count`, `width` and `height` (pixels, upright, square) are known on opening.
    Raises VideoError for a file that is no readable video or holds no frame; a part may hold none.
    """

    def __init__(self, source: Source, fps: Fraction | None = None, start: float = 0, duration: float = 0):
        self._stored = stored = AnimatedWebp(source) if is_animated_webp(source) else StoredFrames(source)
        self.width, self.height = stored.width, stored.height
        times, rate = stored.times, stored.rate
        if times is not None and not is_steady(times, rate):
            rate = lasting_rate(times, stored.end)
        # The times, where no constant rate stands for them.
        uneven = None if times is None or is_steady(times, rate) else times
        self.varies, self.fps = uneven is not None, fps or rate
        self._numbers: Sequence[int]
        if uneven is None:
            self._numbers = steady_numbers(stored.frame_count, rate, fps, start, duration)
        else:
            self._numbers = even_numbers(uneven, stored.end, self.fps, start, duration)
        self.frame_count = len(self._numbers)

    def __enter__(self) -> VideoFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._stored.close()

    @property
    def damage(self) -> list[str]:
        """What is known by now to be missing of the video, a line each."""
        return list(self._stored.damage)

    @property
    def notes(self) -> list[str]:
        """What whoever uses the video should know of it, a line each: what is missing, what is shown otherwise."""
        notes = self.damage + list(self._stored.notes)
        if self.varies:
            notes.append(f"{self._stored.name}: its frame rate varies; it is shown at {float(self.fps):g} a second.")
        return notes

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames of these numbers, in this order: [len(indices), H, W, 3] in 0..1.

        Numbers may rise, fall and repeat: each frame is decoded once, forwards. A request that shares frames with the
        last one or starts where it ended goes on without seeking back. Raises IndexError outside the video.
        """
        check_indices(indices, self.frame_count)
        return self._stored.read([self._numbers[index] for index in indices])


class StoredFrames:
    """The frames of a video file as they are stored, decoded on demand.

    frame_count. width, height: of the first frame, upright, in square pixels; frames of another size are fitted into
    it. rate: frames a second as the file says, DEFAULT_FPS where it says nothing. times: of every frame, in seconds
    from the first, None where the file does not tell. end: of the last frame, in seconds. The decoded frames of one
    `read` are kept until the next. A file object stays open on `close`, and nothing else may read it meanwhile.
    Files whose packets do not tell their frames (AVI, GIF, MPEG-2 and the like) are decoded once on opening, and again
    from the start for each step back; so are files that turn out to be damaged.
    Raises VideoError for a file that is no readable video or holds no frame.
    """

    frame_count: int
    width: int
    height: int

    def __init__(self, source: Source):
        self.name = source_name(source)
        self._source = source
        self._index: FrameIndex | None = None
        self._missing: set[int] = set()  # frames that could not be decoded
        self._failed = 0  # packets that could not be decoded, where packets do not tell frames
        self._sizes: set[tuple[int, int]] = set()  # of other frames than the first
        # FFmpeg tells the orientation of some pictures, in some of its versions.
        self._matrix = exif_matrix(source) if is_picture(source) else None
        self._open()
        try:
            self._survey()
            if not self.frame_count:
                raise VideoError("the file", "must hold at least one video frame", "", f"0 in {self.name}")
            self._kept: dict[int, np.ndarray] = {}
            first = self._picture(0)
            self.height, self.width = first.shape[:2]
            self._kept = {0: first}
        except BaseException:
            self.close()
            raise

    def __reduce__(self) -> tuple:
        return type(self), (self._source,)

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._container.close()

    @property
    def damage(self) -> list[str]:
        """What is known by now to be missing, a line each."""
        notes = []
        if self._lost:
            notes.append(f"{self.name}: the file ends early; {self._lost} frames are missing.")
        elif self._broken:
            notes.append(f"{self.name}: the file ends with an error; it is used up to there.")
        if self._failed:
            notes.append(f"{self.name}: {self._failed} packets are damaged; what they held is left out.")
        if self._missing:
            numbers = sorted(self._missing)
            notes.append(
                f"{self.name}: {len(numbers)} frames are damaged, from frame {numbers[0]} on; the frames before them "
                "are shown in their place."
            )
        return notes

    @property
    def notes(self) -> list[str]:
        """What is shown otherwise than other programs show it, a line each."""
        notes = []
        if self._sizes:
            others = ", ".join(f"{width}x{height}" for width, height in sorted(self._sizes))
            notes.append(f"{self.name}: the picture changes its size ({others}); shown at {self.width}x{self.height}.")
        if self._hdr:
            notes.append(
                f"{self.name}: the video is HDR ({self._hdr}) and is read without tone mapping, so its colours look "
                "pale; convert it to SDR (BT.709) for colours as a player shows them."
            )
        return notes

    def read(self, indices: Sequence[int]) -> Tensor:
        """The frames of these numbers, in this order: [len(indices), H, W, 3] in 0..1."""
        frames = {}
        for number in sorted(set(indices)):
            frames[number] = self._kept[number] if number in self._kept else self._fitted(self._picture(number))
            # Where the next one is damaged, this is what is shown in its place.
            self._kept[number] = frames[number]
        self._kept = frames
        out = torch.empty(len(indices), self.height, self.width, 3)
        for row, number in enumerate(indices):
            out[row] = torch.from_numpy(frames[number])
        return out.div_(255)

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        if (height, width) == (self.height, self.width):
            return picture
        self._sizes.add((width, height))
        fitted = fit_frames(torch.from_numpy(picture)[None].float() / 255, self.width, self.height, "pad")
        return (fitted[0] * 255).round().byte().numpy()

    # --- what the file holds ---

    def _survey(self) -> None:
        """Find the frames and their times, without decoding where packets tell enough."""
        stream = self._stream
        with readable(self._source):
            found = read_packets(self._container, stream)
            self._index = build_index(found, self._container, stream)
        self._broken, self._lost = found.broken, found.lost
        self._hdr = hdr_name(stream.codec_context.color_trc or 0)
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
        base = float(stream.time_base)
        ticks: Sequence[int | None]
        if self._index:
            self.frame_count = len(self._index.shown)
            ticks, last = self._index.shown, self._index.last_duration
        else:
            ticks, last = self._count_by_decoding(), 0
            self.frame_count = len(ticks)
            if self._container.format.name == "avi":
                # Its packets lie at their times, dropped frames left out; the decoder's times are made up.
                ticks = found.dts if found.dts and len(found.dts) == self.frame_count else []
        known = [tick for tick in ticks if tick is not None]
        rising = len(known) == self.frame_count and all(a < b for a, b in pairwise(known))
        self.times = [(tick - known[0]) * base for tick in known] if rising and self.frame_count > 1 else None
        if self.times is not None:
            self.end = last_frame_end(self.times, last * base)

    def _count_by_decoding(self) -> list[int | None]:
        """The time of every frame that a full decode shows, in units of the time base: right for any file."""
        self._restart()
        times = [frame.pts for _, frame in self._run]
        self._failed, self._position = self._failed_now, _BEYOND
        return times

    # --- decoding ---

    def _open(self) -> None:
        self._container = open_video(self._source)
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._pixel_ratio = Fraction(self._stream.sample_aspect_ratio or SQUARE)
        self._in_order = False  # read from the start of the file on, without seeking
        self._run: Iterator[tuple[int, av.VideoFrame]] = iter(())  # what the decoder gives next
        self._position = _BEYOND  # the number of the frame that it gave last; none yet: every frame lies behind

    def _picture(self, number: int) -> np.ndarray:
        """The frame of this number as RGB; for one that cannot be decoded, the one before."""
        with readable(self._source):
            frame = self._decode(number)
            for earlier in range(number - 1, -1, -1):
                if frame is not None:
                    break
                self._missing.add(earlier + 1)
                if earlier in self._kept:
                    return self._kept[earlier]
                frame = self._decode(earlier)
        if frame is None:
            frame = self._first_that_decodes()
        return to_rgb(frame, self._pixel_ratio, self._matrix)

    def _first_that_decodes(self) -> av.VideoFrame:
        """What stands in the place of damaged frames at the start of a file."""
        self._restart()
        for number, frame in self._run:
            self._missing.update(range(number))
            self._run, self._position = chain([(number, frame)], self._run), number - 1
            return frame
        raise VideoError("the file", "must hold at least one video frame", "", f"0 in {self.name}")

    def _decode(self, number: int) -> av.VideoFrame | None:
        """The frame of this number, None where the file is damaged there."""
        index = self._index
        if self._in_order or index is None:
            if number <= self._position:
                self._restart()
        else:
            key = bisect_right(index.keys, index.shown[number]) - 1
            if number <= self._position or index.keys[key] > index.shown[self._position + 1]:
                self._seek(index, key)
        try:
            frame = self._next(number)
        except av.FFmpegError:
            frame = None
        if frame is not None or self._in_order or index is None:
            return frame
        # Not every keyframe is a place to start: with intra refresh the picture is only complete some frames later. And
        # what a damaged file shows depends on where one starts: from here on always from its first frame.
        self._restart()
        return self._next(number)

    def _next(self, number: int) -> av.VideoFrame | None:
        self._position = number
        for found, frame in self._run:
            if found == number:
                return frame
            if found > number:
                # It comes after the missing one, and is asked for later.
                self._run = chain([(found, frame)], self._run)
                return None
        return None

    def _seek(self, index: FrameIndex, key: int) -> None:
        """Let `_run` start at this keyframe; should the container seek beyond it, `_run` is empty."""
        start, numbers = index.keys[key], index.numbers
        self._container.seek(index.seeks[key], stream=self._stream)
        packets = dropwhile(lambda packet: packet.pts != start, self._container.demux(self._stream))
        frames = (frame for packet in packets for frame in packet.decode())
        self._run = ((numbers.get(frame.pts, _BEYOND), frame) for frame in frames)
        self._position = -1

    def _restart(self) -> None:
        """Let `_run` start at the first frame and go on over what is damaged."""
        self._container.close()
        self._open()
        self._in_order = True
        # With threads of its own for each frame, how much of a damaged file is lost changes from time to time.
        self._stream.thread_type = "SLICE"
        self._failed_now = 0
        frames = self._all_that_decode()
        if self._index is None:
            self._run = enumerate(frames)
        else:
            numbers = self._index.numbers
            self._run = _in_order((numbers[frame.pts], frame) for frame in frames if frame.pts in numbers)
        self._position = -1

    def _all_that_decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except av.FFmpegError:
                self._failed_now += 1


def _in_order(run: Iterator[tuple[int, av.VideoFrame]]) -> Iterator[tuple[int, av.VideoFrame]]:
    """The same numbered frames in the order of their numbers: after damage, decoders give them out of order."""
    waiting: list[tuple[int, av.VideoFrame]] = []
    for numbered in run:
        insort(waiting, numbered, key=itemgetter(0))
        if len(waiting) > REORDERED:
            yield waiting.pop(0)
    yield from waiting
