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
    own_reference [1, 16, 1, h, w]  a reference from another moment, in sets with such
    first_pixels [F + O, H, W, 3]   uint8: the first chunk, in sets whose motion memory can be perturbed

Films are read as 8 bits a colour, so that the pixels kept are exactly those that were encoded. At 832x480, F = 77 and
C = 16 a record is 140 MB without a face and 200 MB with it, 111 MB of it pixels, which stage 1 does not read; the first
chunk adds 97 MB.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, one_line, shown
from ..everanimate.drivers import FACE_SIZE
from ..everanimate.geometry import LATENT_CHANNELS
from ..everanimate.memory import encode_singly, motion_memory
from ..json_files import Refuse
from ..latents import SPATIAL_FACTOR
from ..ports import Codec
from ..tensor_files import FLOATS, TensorFile, all_finite, open_tensors, write_tensors
from .manifest import MANIFEST, SetSettings, read_manifest, write_manifest
from .recipe import generator
from .sources import Film

SHARED = "shared.safetensors"
BLACK_POSE = "black_pose"
Shapes = dict[str, tuple[int | None, ...]]


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
        "motion": motion_memory(codec.encode(as_frames(first)), motion),
        "singles": encode_singly(as_frames(first[chosen]), codec),
        "target": codec.encode(as_frames(target)),
        "pose": codec.encode(as_frames(as_pixels(film.pose.read(layout.target)))),
        "target_pixels": target,
        "single_pixels": first[chosen],
    }
    if film.reference is not None:
        record["own_reference"] = encode_singly(as_frames(as_pixels(film.reference.read([0]))), codec)
    if settings.motion_pixels:
        record["first_pixels"] = first
    if film.face is not None:
        record["face"] = as_pixels(film.face.read(layout.target))
    return record


def shapes(settings: SetSettings) -> Shapes:
    """What the tensors of a record measure, by name; None where that is the network's affair."""
    geometry, layout = settings.geometry, settings.layout
    height, width = settings.height // SPATIAL_FACTOR, settings.width // SPATIAL_FACTOR
    slots = {
        "references": len(layout.references),
        "motion": geometry.motion,
        "singles": settings.candidates,
        "target": geometry.latents,
        "pose": geometry.latents,
    }
    if settings.reference == "own":
        slots["own_reference"] = 1
    latents: Shapes = {name: (1, LATENT_CHANNELS, count, height, width) for name, count in slots.items()}
    if settings.motion_pixels:
        latents["first_pixels"] = (len(layout.first), settings.height, settings.width, 3)
    return latents | {
        "text": (1, None, None),
        "clip": (1, None, None),
        "face": (geometry.frames, FACE_SIZE, FACE_SIZE, 3),
        "target_pixels": (geometry.frames, settings.height, settings.width, 3),
        "single_pixels": (settings.candidates, settings.height, settings.width, 3),
    }


def write_record(path: Path, record: dict[str, Tensor], stamp: str, title: str) -> None:
    """Write a record, at once or not at all. stamp: of the film that it was made from. title: the film's name.

    ValueError, and an older record stays, where a value is not a finite number.
    """
    write_tensors(path, record, {"stamp": stamp, "film": title})


def read_stamp(path: Path) -> str | None:
    """The stamp of the record at `path`; None where there is none, or a damaged one."""
    try:
        with open_tensors(path, ValueError) as file:
            return file.metadata.get("stamp")
    except ValueError:
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
            raise InputError("data", "must be a folder that `everanimate train precompute` made", "", folder)
        settings, records, skipped = read_manifest(path)
        return cls(folder, settings, records, skipped)

    def write(self) -> None:
        """Write set.json."""
        write_manifest(self.folder / MANIFEST, self.settings, self.records, self.skipped)

    def check(self) -> None:
        """Raise ValueError, naming the file, unless every record is a whole one of this set. No values are read."""
        for film in range(len(self.records)):
            self.read(film, ())

    def title(self, film: int) -> str:
        """What messages call a film: the file of its record and, where that says so, its name."""
        with open_tensors(self.folder / self.records[film], ValueError) as file:
            name = file.metadata.get("film")
        return self.records[film] if name is None else f"{self.records[film]} ({one_line(name, 100)})"

    def read(self, film: int, names: Iterable[str]) -> dict[str, Tensor]:
        """These tensors of a film's record; `clip` and `face` are left out where it may do without and has none.

        ValueError, naming the file, for a damaged one, one of another set, and values that are not finite numbers.
        """
        needed = shapes(self.settings)
        # Tokens of CLIP are there for networks that read them.
        optional = {"clip"} if self.settings.faces else {"clip", "face"}
        return _read_file(self.folder / self.records[film], needed, optional, names)

    @cached_property
    def black_pose(self) -> Tensor:
        """The encoding of a black pose video, [1, 16, T, h, w]; ValueError for a damaged file."""
        needed = {BLACK_POSE: shapes(self.settings)["pose"]}
        return _read_file(self.folder / SHARED, needed, set(), [BLACK_POSE])[BLACK_POSE]


def _read_file(path: Path, needed: Shapes, optional: set[str], names: Iterable[str]) -> dict[str, Tensor]:
    """Copies of tensors of a file that has tensors of these shapes."""

    def refuse(wrong: str) -> InputError:
        return InputError(
            "a file of a training set",
            "must be as precompute wrote it",
            "delete it, and run that again",
            f"{one_line(path)}, {wrong}",
        )

    with open_tensors(path, refuse) as file:
        _check_shapes(file, needed, optional, refuse)
        tensors = {name: file.read(name).clone() for name in set(names).intersection(file.names)}
    for name, value in tensors.items():
        # Pixels alone have four axes, and are of 8 bits.
        if value.dtype not in ((torch.uint8,) if len(needed[name]) == 4 else FLOATS):
            raise refuse(f"where {name} is of type {str(value.dtype).removeprefix('torch.')}")
        if value.is_floating_point() and not all_finite(value):
            raise refuse(f"where {name} has values that are NaN or infinite")
    return tensors


def _check_shapes(file: TensorFile, needed: Shapes, optional: set[str], refuse: Refuse) -> None:
    for name, shape in needed.items():
        if name not in file.names:
            if name not in optional:
                raise refuse(f"which has no {name}")
            continue
        found = file.shape(name)
        if len(found) != len(shape) or any(size not in (None, own) for size, own in zip(shape, found, strict=True)):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise refuse(f"where {name} is {shown(list(found))} instead of [{wanted}]")
