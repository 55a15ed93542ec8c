"""Opening files of strangers: one file is opened and nothing else, whatever its name or its content says."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

import av

from ..digests import file_digest, stream_digest
from ..errors import InputError, one_line

Source = str | os.PathLike | BinaryIO  # a path, or a seekable binary file object

# Formats that hold no pictures but the names of other files or addresses, or that make up pictures.
_POINTING_ELSEWHERE = {
    "applehttp",
    "avisynth",
    "concat",
    "dash",
    "ffmetadata",
    "hls",
    "imf",
    "lavfi",
    "rtp",
    "rtsp",
    "sap",
    "sdp",
    "tty",
    "vapoursynth",
    "webm_dash_manifest",
}
# First words of files of the HEIF family, whose pictures are made of tiles. AVIF says avif or avis.
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


class VideoError(InputError):
    """A video that cannot be read or written as asked."""


def open_input(source: Source) -> av.container.InputContainer:
    """Open a path or a seekable file object, from its start; VideoError when it cannot be read.

    A path is a path: `12:30.mp4` and `http:` are names of files. Playlists are refused.
    """
    _refuse_heic(source)
    # Only these formats are tried, what they open must be a file, and `%d` in the name of a picture is no counter. For
    # the container alone: older PyAV crashes on options for streams that turn up late, as in MPEG-2.
    options = {"format_whitelist": _formats(), "protocol_whitelist": "file", "pattern_type": "none"}
    place = source if hasattr(source, "read") else file_url(source)
    with readable(source):
        try:
            return av.open(place, metadata_errors="replace", container_options=options)
        except av.FFmpegError as error:
            if error.errno != errno.EINVAL:  # what FFmpeg says of a format that is not among ours
                raise
            raise VideoError(
                "the file",
                "must hold pictures or sound of its own, not the names of other files",
                "",
                source_name(source),
            ) from error


def open_video(source: Source) -> av.container.InputContainer:
    """open_input, and VideoError unless there is a picture in it."""
    container = open_input(source)
    if not container.streams.video or container.streams.video[0].codec_context is None:
        container.close()
        raise VideoError("the file", "must hold a video stream of a known codec", "", source_name(source))
    return container


def file_url(path: str | os.PathLike) -> str:
    """A path as FFmpeg must be given it: it takes names with a colon for addresses, and some for protocols."""
    return "file:" + os.path.abspath(os.fspath(path))


@contextmanager
def readable(source: Source) -> Iterator[None]:
    """Turn what FFmpeg says of `source` into a VideoError that names it."""
    try:
        yield
    except (av.FFmpegError, IndexError) as error:  # IndexError: PyAV's, for streams that turn up late in damaged files
        raise VideoError(
            "the file", "must be a readable video", "", f"{source_name(source)} ({reason(error)})"
        ) from error


def reason(error: Exception) -> str:
    """What went wrong, without the address that we made of the path."""
    return str(getattr(error, "strerror", None) or error)


def source_digest(source: Source) -> str:
    """Stands for the whole content of a file; one that is open is left where it was."""
    if isinstance(source, str | os.PathLike):
        return file_digest(source)
    place = source.tell()
    try:
        source.seek(0)
        return stream_digest(source)
    finally:
        source.seek(place)


def source_name(source: Source) -> str:
    """What to call a source in a message; control characters are shown as escapes."""
    name = getattr(source, "name", "a file object") if hasattr(source, "read") else Path(source).name
    return one_line(name)


def first_bytes(source: Source) -> bytes:
    """The first 32 bytes of a source; none of one that cannot be read, whose fault shows on opening."""
    if hasattr(source, "read"):
        opened = cast(BinaryIO, source)  # hasattr does not rule out paths
        opened.seek(0)
        start = opened.read(32)
        opened.seek(0)
        return start
    try:
        with open(source, "rb") as file:
            return file.read(32)
    except OSError:
        return b""


@cache
def _formats() -> str:
    """The names of all formats whose files hold their own pictures."""
    return ",".join(sorted(av.formats_available - _POINTING_ELSEWHERE))


def _refuse_heic(source: Source) -> None:
    start = first_bytes(source)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS and b"avif" not in start:
        # FFmpeg gives the first tile of the picture for the whole.
        raise VideoError("HEIC pictures", "cannot be read", "save it as JPEG or PNG", source_name(source))
