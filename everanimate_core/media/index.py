"""Where the frames of a video file are and when they are shown, told by its packets alone, without decoding any."""

from __future__ import annotations

from dataclasses import dataclass

import av

# In these codecs one packet is one frame, so that packets can be counted instead of decoded. Elsewhere a packet may
# hold a field, several frames, or one that is never shown.
_FRAME_PER_PACKET = {"h264", "hevc", "vp9", "av1", "mpeg4", "ffv1", "mjpeg", "prores", "png"}


@dataclass(frozen=True)
class PacketTimes:
    """What demuxing a whole file told of one of its video streams.

    packets: (pts, dts, keyframe, hidden, duration) of each, in units of the stream's time base. lost: how many frames
    the file promises and does not hold. broken: reading it ended with an error.
    """

    packets: list[tuple[int | None, int | None, bool, bool, int | None]]
    lost: int
    broken: bool

    @property
    def dts(self) -> list[int] | None:
        """The decoding times, rising; None where some are missing or equal."""
        times = [dts for _, dts, *_ in self.packets if dts is not None]
        return sorted(times) if len(set(times)) == len(self.packets) else None


@dataclass(frozen=True)
class FrameIndex:
    """Where the frames of a file are, by presentation timestamp (pts, in units of the stream's time base)."""

    shown: list[int]  # the pts of every frame, in the order of showing
    numbers: dict[int, int]  # pts -> frame number
    keys: list[int]  # the pts of every keyframe, in order
    seeks: list[int]  # where to seek for it: its decoding time, by which some containers search
    last_duration: int  # of the frame that is shown last, 0 where the file does not say


def read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> PacketTimes:
    """Demux the whole file; what comes before an error is taken, as players do."""
    packets, broken, end = [], False, 0.0
    try:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.size and packet.stream.index == stream.index:
                packets.append((packet.pts, packet.dts, packet.is_keyframe, packet.is_discard, packet.duration))
    except av.FFmpegError:
        broken = True
    return PacketTimes(packets, _lost(container, stream, len(packets), end), broken)


def _lost(container: av.container.InputContainer, stream: av.VideoStream, count: int, end: float) -> int:
    """How many frames a file that was cut off lacks, by what its head promises; `end`: of its last packet, seconds."""
    kind, rate = container.format.name, stream.average_rate
    if not kind.startswith(("mov", "matroska")) or not container.duration or not rate:
        return 0  # others have no head that promises anything
    short = container.duration / av.time_base - end
    # Heads round, and a last frame may be said to last longer than it does.
    if short < 0.1:
        return 0
    return max(0, stream.frames - count) or round(short * rate)


def build_index(
    found: PacketTimes, container: av.container.InputContainer, stream: av.VideoStream
) -> FrameIndex | None:
    """Index the packets; None where they do not say for certain which frames will be shown."""
    # AVI has no presentation times; with B-frames those that FFmpeg makes up are wrong.
    if container.format.name == "avi" or stream.codec_context.codec.canonical_name not in _FRAME_PER_PACKET:
        return None
    timed = [(packet[0], packet) for packet in found.packets if packet[0] is not None]
    if len(timed) < len(found.packets):
        return None
    frames = sorted((pts, duration or 0) for pts, (*_, hidden, duration) in timed if not hidden)
    shown = [pts for pts, _ in frames]
    keys = sorted((pts, pts if dts is None else dts) for pts, (_, dts, key, *_) in timed if key)
    # The same time twice, or frames before the first keyframe, which no decoder can show: count what it does show.
    if len(set(shown)) < len(shown) or (shown and (not keys or keys[0][0] > shown[0])):
        return None
    return FrameIndex(
        shown=shown,
        numbers={pts: number for number, pts in enumerate(shown)},
        keys=[pts for pts, _ in keys],
        seeks=[dts for _, dts in keys],
        last_duration=frames[-1][1] if frames else 0,
    )
