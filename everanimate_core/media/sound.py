"""The sound that goes with an animation: of a file, passed through where the container allows, or of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import Protocol

import av
from torch import Tensor

from ..digests import digest
from .open import Source, open_input, readable, source_digest, source_name

AAC_RATE = 48000
# Packets at the start of a stream among which one has to decode.
_TRIED = 200
# Samples that are encoded at once.
_BLOCK = 4096
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


class Sound(Protocol):
    """Sound that can be written into a file, any number of times, each time from the start."""

    def packets(self, output: av.container.OutputContainer, begin: float) -> Iterator[av.Packet]:
        """Add a stream to `output`; the packets for it, on a clock that is 0 `begin` seconds into the picture."""

    def digest(self) -> str | None:
        """Stands for the sound; None where there is none."""


class FileSound:
    """The sound of a video or sound file: its first stream that can be decoded.

    source: the file, which is opened once, and again only where it cannot be read from its start otherwise. Pickled, it
    is opened anew. notes: what whoever uses it should know, a line each. Raises VideoError for a file that cannot be
    read.
    """

    def __init__(self, source: Source):
        self.source = source
        self._container = open_input(source)
        self._digest: str | None = None
        try:
            with readable(source):
                self._number = self._first_that_decodes()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> FileSound:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple:
        return type(self), (self.source,)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    @property
    def notes(self) -> list[str]:
        """What is left out."""
        name, streams = source_name(self.source), len(self._container.streams.audio)
        if self._number is None:
            return [f"{name}: its sound cannot be decoded and is left out."] if streams else []
        if self._number:
            return [f"{name}: sound stream {self._number + 1} is used; those before cannot be decoded."]
        return []

    def packets(self, output: av.container.OutputContainer, begin: float) -> Iterator[av.Packet]:
        """The sound, copied where `output` can hold it, else as AAC; none where the file has none."""
        if self._number is None:
            return iter(())
        self._rewind()
        stream = self._container.streams.audio[self._number]
        codec = stream.codec_context.codec.canonical_name
        # mp4 may hold raw sound too, but hardly anything plays it.
        unplayable = output.format.name == "mp4" and codec.startswith("pcm_")
        copied = codec in output.supported_codecs and not unplayable
        if copied:
            target = output.add_stream_from_template(stream, opaque=True)
        else:
            target = _aac(output, stream.codec_context.channels)
        video = self._container.streams.video
        clock = video[0] if video else stream
        start = (clock.start_time or 0) * clock.time_base + Fraction(begin)
        return _shifted(_packets(self._container, stream), target, copied, start)

    def digest(self) -> str | None:
        """Stands for the file as a whole; None where it has no sound."""
        if self._number is not None and self._digest is None:
            # Films are large, and a run asks for this more than once.
            self._digest = source_digest(self.source)
        return self._digest

    def _first_that_decodes(self) -> int | None:
        streams = self._container.streams.audio
        for number, stream in enumerate(streams):
            # Without a decoder there is no context, and PyAV fails on its packets.
            if stream.codec_context is None:
                continue
            if number:
                self._reopen()
                stream = self._container.streams.audio[number]
            packets = islice(_packets(self._container, stream), _TRIED)
            first = next(packets, None)
            self._first = None if first is None else (first.pts, bytes(first))
            if first is not None and any(True for packet in chain([first], packets) for _ in _decoded(packet)):
                return number
        return None

    def _rewind(self) -> None:
        """Go back to the first packet of the stream."""
        stream = self._container.streams.audio[self._number]
        try:
            self._container.seek(0)
            found = next(_packets(self._container, stream), None)
            if found is not None and (found.pts, bytes(found)) == self._first:
                self._container.seek(0)
                return
        except av.FFmpegError:
            pass  # not every file can be searched
        self._reopen()

    def _reopen(self) -> None:
        self._container.close()
        self._container = open_input(self.source)


@dataclass(frozen=True)
class SampledSound:
    """Sound in memory: samples [channels, n] in -1..1, `rate` of them a second."""

    samples: Tensor
    rate: int

    def packets(self, output: av.container.OutputContainer, begin: float) -> Iterator[av.Packet]:
        """The sound as AAC."""
        samples = self.samples[:, round(begin * self.rate) :].float().cpu()
        if len(samples) not in _LAYOUTS:
            samples = samples.mean(dim=0, keepdim=True)
        return self._encoded(_aac(output, len(samples)), samples, _LAYOUTS[len(samples)])

    def digest(self) -> str:
        """Stands for samples and rate."""
        return digest(self.samples, self.rate)

    def _encoded(self, target: av.AudioStream, samples: Tensor, layout: str) -> Iterator[av.Packet]:
        for first in range(0, samples.shape[1], _BLOCK):
            block = samples[:, first : first + _BLOCK].contiguous().numpy()
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = self.rate, first, Fraction(1, self.rate)
            yield from target.encode(frame)
        yield from target.encode(None)


@contextmanager
def sound_into(
    source: Source | Sound | None, output: av.container.OutputContainer, begin: float = 0
) -> Iterator[Callable[[Fraction], None]]:
    """Add the sound of `source` from `begin` seconds of its picture on; gives a function that muxes it up to a time."""
    with ExitStack() as files:
        if source is None:
            packets: Iterator[av.Packet] = iter(())
        else:
            sound = source if hasattr(source, "packets") else files.enter_context(FileSound(source))
            packets = sound.packets(output, begin)
        waiting: list[av.Packet] = []

        def mux_until(seconds: Fraction) -> None:
            for packet in chain(waiting[:], packets):
                waiting[:] = [packet]
                if packet.pts * packet.time_base >= seconds:
                    return
                output.mux(packet)
            waiting.clear()

        yield mux_until


def _aac(output: av.container.OutputContainer, channels: int) -> av.AudioStream:
    target = output.add_stream("aac", rate=AAC_RATE)
    target.codec_context.layout = "mono" if channels == 1 else "stereo"
    return target


def _shifted(
    packets: Iterator[av.Packet], target: av.AudioStream, copied: bool, start: Fraction
) -> Iterator[av.Packet]:
    """These packets, or their sound encoded anew, for `target`, on a clock that is 0 at `start` seconds."""
    for part in packets if copied else (frame for packet in packets for frame in _decoded(packet)):
        if part.pts is None:
            continue
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


def _packets(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.Packet]:
    """All packets of a stream that can be read, to the end or to where the file is damaged."""
    try:
        yield from container.demux(stream)  # the last one is empty and empties the decoder
    except av.FFmpegError:
        return


def _decoded(packet: av.Packet) -> list[av.AudioFrame]:
    """What a packet holds; nothing where it is damaged."""
    try:
        return packet.decode()
    except av.FFmpegError:
        return []
