"""A training set on disk: one safetensors record per film, and set.json about them all.

A record holds, float32 and normalised unless said otherwise, for chunks of F frames and T latents:

    references [1, 16, O, h, w]     the frames of which one is the reference, each encoded alone
    motion [1, 16, M, h, w]         the last latents of the first chunk
    singles [1, 16, C, h, w]        candidates for the anchors: C frames of the first chunk, in time order, each alone
    target, pose [1, 16, T, h, w]   the target chunk and its pose maps
    text [1, L, 4096]               the prompt's states
    clip [1, 257, 1280]             CLIP's tokens of the target's first frame, for networks that read them
    face [F, 512, 512, 3]           uint8, the face crops of the target, in sets with faces
    target_pixels [F, H, W, 3]      uint8: stage 2 perturbs pixels and encodes them anew
    single_pixels [C, H, W, 3]      uint8: stage 2 augments anchors before they are encoded

Films are read as 8 bits a colour, so that the pixels kept are exactly those that were encoded. At 832x480, F = 77 and
C = 16 a record is 140 MB without a face and 200 MB with it, 111 MB of it pixels; stage 1 does not read these.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..geometry import ChunkGeometry, check_size
from ..memory import Codec, encode_singly
from .layout import Layout
from .recipe import generator
from .sources import Demands, Film

FORMAT = "everanimate-training-1"
MANIFEST, SHARED = "set.json", "shared.safetensors"


@dataclass(frozen=True)
class SetSettings:
    """What all records of a set have in common.

    geometry: of a chunk. width, height: pixels. fps: frames a second, as a fraction in text. fit: how films of another
    size were brought to it. candidates: C. faces: whether records hold face crops. vae: digest of the VAE's weights.
    """

    geometry: ChunkGeometry
    width: int
    height: int
    fps: str
    fit: str
    candidates: int
    faces: bool
    vae: str

    def __post_init__(self):
        check_size(self.width, self.height)
        longest = len(self.layout.first)
        if not self.geometry.identity <= self.candidates <= longest:
            raise ValueError(
                f"train precompute: candidates must be between the {self.geometry.identity} anchors and the {longest} "
                f"frames of a first chunk (16); got {self.candidates}."
            )

    @property
    def layout(self) -> Layout:
        return Layout(self.geometry)

    @property
    def demands(self) -> Demands:
        """What they ask of a film."""
        return Demands(self.layout.frames, Fraction(self.fps), self.width, self.height, self.fit, self.faces)


def as_pixels(frames: Tensor) -> Tensor:
    """Frames in 0..1 -> uint8; exact for what a video file of 8 bits held."""
    return (frames * 255).round().clamp(0, 255).to(torch.uint8)


def as_frames(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in 0..1."""
    return pixels.float() / 255


def candidate_frames(settings: SetSettings, number: int) -> list[int]:
    """Which frames of film `number` are its candidates: C of the first chunk, at random, in time order."""
    first = settings.layout.first
    order = torch.randperm(len(first), generator=generator("candidates", number))
    return sorted(first[place] for place in order[: settings.candidates].tolist())


def encode_film(film: Film, settings: SetSettings, number: int, codec: Codec) -> dict[str, Tensor]:
    """The record of a film but for `text` and `clip`; `number` decides on its candidates."""
    layout, motion = settings.layout, settings.geometry.motion
    chosen = [frame - layout.first.start for frame in candidate_frames(settings, number)]
    first, target = (as_pixels(film.frames.read(part)) for part in (layout.first, layout.target))
    record = {
        "references": encode_singly(as_frames(as_pixels(film.frames.read(layout.references))), codec),
        "motion": codec.encode(as_frames(first))[:, :, -motion:],
        "singles": encode_singly(as_frames(first[chosen]), codec),
        "target": codec.encode(as_frames(target)),
        "pose": codec.encode(as_frames(as_pixels(film.pose.read(layout.target)))),
        "target_pixels": target,
        "single_pixels": first[chosen],
    }
    if film.face is not None:
        record["face"] = as_pixels(film.face.read(layout.target))
    return record


def write_record(path: Path, record: dict[str, Tensor], stamp: str) -> None:
    """Write a record, at once or not at all; stamp: of the film that it was made from."""
    new = path.with_suffix(".new")
    save_file({name: value.contiguous() for name, value in record.items()}, new, metadata={"stamp": stamp})
    os.replace(new, path)


def read_stamp(path: Path) -> str | None:
    """The stamp of the record at `path`; None where there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata()["stamp"]
    except SafetensorError:
        return None


@dataclass(frozen=True)
class FilmSet:
    """A training set. records: file names of the films' records. skipped: {film: why it could not be used}."""

    folder: Path
    settings: SetSettings
    records: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> "FilmSet":
        """Read set.json; ValueError when there is none of this kind in the folder."""
        path = folder / MANIFEST
        if not path.is_file():
            raise ValueError(f"train: data must be a folder that `everanimate train precompute` made; got {folder}.")
        facts = json.loads(path.read_text())
        if facts["format"] != FORMAT:
            raise ValueError(f"train: {path} must be of format {FORMAT}; got {facts['format']}.")
        settings = facts["settings"]
        settings = SetSettings(**{**settings, "geometry": ChunkGeometry(**settings["geometry"])})
        return cls(folder, settings, tuple(facts["records"]), facts["skipped"])

    def write(self) -> None:
        """Write set.json."""
        facts = {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "records": self.records,
            "skipped": self.skipped,
        }
        new = self.folder / f"{MANIFEST}.new"
        new.write_text(json.dumps(facts, indent=1) + "\n")
        os.replace(new, self.folder / MANIFEST)

    def read(self, film: int, names: Iterable[str]) -> dict[str, Tensor]:
        """These tensors of a film's record, as far as it has them; ValueError for a damaged file."""
        path = self.folder / self.records[film]
        try:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name).clone() for name in set(names).intersection(file.keys())}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"train: {path} must be a whole record (run precompute again); got {error}.") from error

    @cached_property
    def black_pose(self) -> Tensor:
        """The encoding of a black pose video, [1, 16, T, h, w]."""
        return load_file(self.folder / SHARED)["black_pose"]
