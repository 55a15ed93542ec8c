"""Where films come from: a folder or a list of video files.

A folder holds NAME.mp4 (or .mov, .mkv, .webm, .avi) with its pose video NAME.pose.mp4 and, if wanted, NAME.face.mp4
(cropped), NAME.reference.png (or .jpg, .webp: the person at another moment) and NAME.txt (the prompt). A list is CSV
with the columns video, pose, face, reference, prompt (the last three may be left out), or JSONL with these keys; paths
are relative to the list.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from ..digests import digest
from ..errors import InputError, one_line
from ..everanimate.drivers import FACE_SIZE
from ..media.frames import FittedFrames
from ..media.reader import VideoFrames
from ..ports import FrameSource
from .lists import is_list, read_caption, read_films

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
# Frame rates differ when they do by more than a part of so many: 29.97 is 30, 24 is not 25.
RATE_TOLERANCE = 100


@dataclass(frozen=True)
class Film:
    """An open film: its pictures and its pose maps, both of the set's size, and, if there are any, the face crops and a
    reference of its own (one picture of the set's size)."""

    frames: FrameSource
    pose: FrameSource
    face: FrameSource | None
    reference: FrameSource | None = None


@dataclass(frozen=True)
class Demands:
    """What a film must offer. frames: at least so many. fps: frames a second. width, height: pixels that its pictures
    and pose maps are brought to, in the way of `fit`, one of frames.FIT_POLICIES. faces: it must have a face video.
    reference: it must have a reference of its own."""

    frames: int
    fps: Fraction
    width: int
    height: int
    fit: str
    faces: bool = False
    reference: bool = False


class Entry(Protocol):
    """A film that is not open yet. face: its face video, if it has one. stamp: changes when the film does."""

    @property
    def name(self) -> str: ...

    @property
    def prompt(self) -> str: ...

    @property
    def face(self) -> Path | None: ...

    @property
    def stamp(self) -> str: ...

    def open(self, demands: Demands) -> AbstractContextManager[Film]:
        """InputError, which says why but not which, where the film does not meet the demands."""


@dataclass(frozen=True)
class VideoEntry:
    """A film in files."""

    name: str
    video: Path
    pose: Path | None
    face: Path | None = None
    prompt: str = ""
    reference: Path | None = None

    @property
    def stamp(self) -> str:
        """By names, sizes and times of the files."""
        parts = (self.video, self.pose, self.face, self.reference)
        files = [path.stat() for path in parts if path is not None and path.is_file()]
        return digest(self.name, self.prompt, [[file.st_size, file.st_mtime_ns] for file in files])

    @contextmanager
    def open(self, demands: Demands) -> Iterator[Film]:
        with ExitStack() as files:

            def source(kind: str, path: Path | None, example: str = "") -> VideoFrames:
                if path is None or not path.is_file():
                    example = example or f"NAME.{kind}.mp4"
                    what = kind if kind == "reference" else f"{kind} video"
                    raise InputError(f"the {what}", "must be there", example, one_line(path or "none"))
                return files.enter_context(VideoFrames(path))

            film, pose = source("film", self.video), source("pose", self.pose)
            face = source("face", self.face) if demands.faces else None
            own = source("reference", self.reference, "NAME.reference.png") if demands.reference else None
            for kind, video in (("film", film), ("pose", pose), ("face", face)):
                if video is None:
                    continue
                if video.frame_count < demands.frames:
                    rule = f"must have {demands.frames} frames"
                    raise InputError(f"the {kind} video", rule, "", video.frame_count)
                if abs(video.fps - demands.fps) * RATE_TOLERANCE > demands.fps:
                    rule = f"must have {float(demands.fps):g} frames a second"
                    raise InputError(f"the {kind} video", rule, "", f"{float(video.fps):g}")
            if (pose.width, pose.height) != (film.width, film.height):
                raise InputError(
                    "the pose video",
                    "must be of the film's size",
                    f"{film.width}x{film.height}",
                    f"{pose.width}x{pose.height}",
                )
            size = demands.width, demands.height
            yield Film(
                FittedFrames(film, *size, demands.fit),
                FittedFrames(pose, *size, demands.fit),
                None if face is None else FittedFrames(face, FACE_SIZE, FACE_SIZE, demands.fit),
                None if own is None else FittedFrames(own, *size, demands.fit),
            )
            # Some damage shows only as the frames are decoded. A network must not learn from repeated frames.
            for kind, video in (("film", film), ("pose", pose), ("face", face)):
                if video is not None and video.damage:
                    got = " ".join(video.damage).removesuffix(".")
                    raise InputError(f"the {kind} video", "must be whole", "", got)


def list_films(data: Path) -> list[VideoEntry]:
    """The films of a folder or list, in a fixed order; ValueError when there are none, and for a list or caption that
    is not what it must be, which names the line."""
    if data.is_dir():
        entries = _list_folder(data)
    elif is_list(data):
        entries = [_entry(data.parent, row) for row in read_films(data)]
    else:
        raise InputError("data", "must be a folder, a .csv or a .jsonl file that exists", "films/", data)
    if not entries:
        raise InputError("data", "must hold films", "dance.mp4 and dance.pose.mp4", f"none in {data}")
    return entries


def _list_folder(folder: Path) -> list[VideoEntry]:
    found = sorted(folder.iterdir())
    videos = {path.name: path for path in found if path.suffix.lower() in SUFFIXES}
    pictures = {path.stem: path for path in found if path.suffix.lower() in PICTURES}

    def beside(path: Path, kind: str) -> Path | None:
        names = [f"{path.stem}.{kind}{suffix}" for suffix in (path.suffix, *SUFFIXES)]
        return next((videos[name] for name in names if name in videos), None)

    films = [path for path in videos.values() if Path(path.stem).suffix not in (".pose", ".face")]
    captions = {path: path.with_suffix(".txt") for path in films}
    return [
        VideoEntry(
            path.name,
            path,
            beside(path, "pose"),
            beside(path, "face"),
            read_caption(captions[path]) if captions[path].is_file() else "",
            pictures.get(f"{path.stem}.reference"),
        )
        for path in films
    ]


def _entry(folder: Path, row: dict[str, str]) -> VideoEntry:
    # Paths, whatever they look like: a URL is not fetched, it is a strange name of a file.
    pose, face, own = (folder / row[name] if name in row else None for name in ("pose", "face", "reference"))
    return VideoEntry(row["video"], folder / row["video"], pose, face, row.get("prompt", ""), own)
