"""set.json of a training set: what all its records have in common, which there are, and which films were left out."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from ..errors import InputError, check_choice, one_line, shown
from ..everanimate.geometry import ChunkGeometry
from ..json_files import check_fields, read_json, write_json
from ..latents import check_size
from ..media.frames import FIT_POLICIES
from .layout import Layout
from .sources import Demands

FORMAT = "everanimate-training-1"
MANIFEST = "set.json"
_RATE = re.compile(r"[1-9][0-9]{0,8}(/[1-9][0-9]{0,8})?")
# No path, and no name that leads anywhere else.
_RECORD = re.compile(r"[0-9]{6,12}\.safetensors")
_LARGEST = 1_000_000
# Fields of the geometry, as sets have them: `identity` is the number of anchors.
_GEOMETRY = dict.fromkeys(("frames", "identity", "motion", "overlap"), int)
_SETTINGS = {"geometry": dict, "width": int, "height": int, "fps": str, "fit": str, "candidates": int} | {
    "faces": bool,
    "vae": str,
}
# Fields that came later, with what sets without them are.
_LATER = {"reference": "start", "anchors": "released", "motion_pixels": False}
# Where a sample's reference comes from, and which latents are its anchors.
REFERENCES, ANCHORS = ("start", "own"), ("released", "roll-out")


@dataclass(frozen=True)
class SetSettings:
    """What all records of a set have in common.

    geometry: of a chunk. width, height: pixels. fps: frames a second, as a fraction in text. fit: how films of another
    size were brought to it. candidates: C. faces: whether records hold face crops. vae: digest of the VAE's weights.
    reference: `start` is one of the film's first frames (as released), `own` a picture of its own, from another moment,
    for all samples but first chunks. anchors: `released` are N of the candidates, `roll-out` N - 1 of them and then the
    reference, as an animation has them. motion_pixels: whether records hold the first chunk, so that the motion memory
    can be perturbed.
    """

    geometry: ChunkGeometry
    width: int
    height: int
    fps: str
    fit: str
    candidates: int
    faces: bool
    vae: str
    reference: str = "start"
    anchors: str = "released"
    motion_pixels: bool = False

    def __post_init__(self):
        check_size(self.width, self.height)
        if not _RATE.fullmatch(self.fps):
            raise InputError("fps", "must be a fraction", "25, 30000/1001", shown(self.fps))
        check_choice("fit", self.fit, FIT_POLICIES)
        check_choice("reference", self.reference, REFERENCES)
        check_choice("anchors", self.anchors, ANCHORS)
        longest = len(self.layout.first)
        anchors = self.geometry.anchors
        if not anchors <= self.candidates <= longest:
            rule = f"must be between the {anchors} anchors and the {longest} frames of a first chunk"
            raise InputError("candidates", rule, "16", self.candidates)

    @property
    def layout(self) -> Layout:
        return Layout(self.geometry)

    @property
    def demands(self) -> Demands:
        """What they ask of a film."""
        own = self.reference == "own"
        return Demands(self.layout.frames, Fraction(self.fps), self.width, self.height, self.fit, self.faces, own)


def write_manifest(path: Path, settings: SetSettings, records: tuple[str, ...], skipped: Mapping[str, str]) -> None:
    """Write set.json, at once or not at all."""
    geometry = asdict(settings.geometry)
    geometry["identity"] = geometry.pop("anchors")
    written = asdict(settings) | {"geometry": {name: geometry[name] for name in _GEOMETRY}}
    written = {name: value for name, value in written.items() if name not in _LATER or value != _LATER[name]}
    facts = {"format": FORMAT, "settings": written, "records": records, "skipped": dict(skipped)}
    write_json(path, facts)


def read_manifest(path: Path) -> tuple[SetSettings, tuple[str, ...], dict[str, str]]:
    """Settings, file names of the records, and {film: why it was left out}; ValueError, which names the file, for
    anything that write_manifest does not write."""

    def refuse(got: str) -> InputError:
        return InputError(
            "a training set",
            f"must have the {MANIFEST} that `everanimate train precompute` wrote",
            "run that again into a new folder",
            f"{got.rstrip('.')} in {one_line(path)}",
        )

    facts = read_json(path, refuse)
    if isinstance(facts, dict) and facts.get("format", FORMAT) != FORMAT:
        raise refuse(f"format {shown(facts['format'])} instead of {FORMAT}")
    check_fields(facts, {"format": str, "settings": dict, "records": list, "skipped": dict}, refuse)
    later = {name: type(value) for name, value in _LATER.items() if name in facts["settings"]}
    settings = check_fields(facts["settings"], {**_SETTINGS, **later}, refuse)
    geometry = check_fields(settings["geometry"], _GEOMETRY, refuse)
    for name, value in {**settings, **geometry}.items():
        if type(value) is int and not 0 <= value <= _LARGEST:
            raise refuse(f"{name} {shown(value)}")
    for name in facts["records"]:
        if not isinstance(name, str) or not _RECORD.fullmatch(name):
            raise refuse(f"the record {shown(name)}, which is no file of the set (000000.safetensors),")
    check_fields(facts["skipped"], dict.fromkeys(facts["skipped"], str), refuse)
    try:
        geometry = dict(geometry)
        geometry["anchors"] = geometry.pop("identity")
        whole = SetSettings(**{**settings, "geometry": ChunkGeometry(**geometry)})
    except ValueError as error:
        raise refuse(f"settings that make no set ({error})") from error
    return whole, tuple(facts["records"]), facts["skipped"]
