"""Where the weights of the litert engine come from: MediaPipe 0.10.21, the last release with these files.

They are read in place from its wheel, which is a zip, from an installed package, or from a folder. Nothing of MediaPipe
is imported, and nothing is fetched.
"""

import hashlib
import zipfile
from importlib.util import find_spec
from pathlib import Path

from ...downloads import cache_folder
from ...errors import InputError, one_line
from .fetch import WHEEL, install_command

MODULES = "mediapipe/modules"
WHEELS = "mediapipe-0.10.21-*.whl"
# SHA-256 of MODULES/NAME/FILE. They are the same in the wheels of all platforms.
FILES = {
    "pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark/pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "hand_landmark/hand_landmark_full.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    "face_landmark/face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}


def read_weights(source: str | Path | None = None) -> dict[str, bytes]:
    """The four tflite files by their names without folder and ending: {"pose_detection": ..., ...}.

    source: MediaPipe's wheel; or a folder that holds the wheel, an unpacked one, or the files themselves. Where it has
    none of them, and for None, the user's cache is looked at, then an installed package. Raises InputError, which names
    the file, the place and the command to get it, when a file is missing or is not the one of MediaPipe 0.10.21.
    """
    given = None if source is None else Path(source)
    places = [*([] if given is None else [given]), cache_folder(), *_installed()]
    place = next((found for place in places if (found := _with_files(place)) is not None), None)
    if place is None:
        looked = ", ".join(f"none in {one_line(path)}" for path in places)
        raise _refusal(f"MediaPipe's networks, {WHEEL.megabytes}", f"{looked}, and no package mediapipe", given)
    contents = _from_wheel(place, given) if place.is_file() else _from_folder(place, given)
    for file, content in contents.items():
        actual = hashlib.sha256(content).hexdigest()
        if actual != FILES[file]:
            what = f"{Path(file).name} of mediapipe 0.10.21"
            raise _refusal(what, f"another one, sha256 {actual}, in {one_line(place)}", given)
    return {Path(file).stem: content for file, content in contents.items()}


def _installed() -> list[Path]:
    """The folder with the installed package mediapipe, if there is one."""
    # Found without being imported: that would bring in all that MediaPipe needs.
    spec = find_spec("mediapipe")
    return [] if spec is None or spec.origin is None else [Path(spec.origin).parents[1]]


def _with_files(place: Path) -> Path | None:
    """What of a place is read: a file itself, the wheel in a folder, or a folder with one of the files; else None."""
    if place.is_file():
        return place
    wheel = next(iter(sorted(place.glob(WHEELS))), None)
    return wheel or (place if any(_in_folder(place, file) for file in FILES) else None)


def _in_folder(folder: Path, file: str) -> Path | None:
    """Where one of FILES lies in a folder, by itself or in an unpacked wheel."""
    return next((path for path in (folder / Path(file).name, folder / MODULES / file) if path.is_file()), None)


def _from_wheel(wheel: Path, given: Path | None) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {file: archive.read(f"{MODULES}/{file}") for file in FILES}
    except zipfile.BadZipFile as error:
        raise _refusal("a whole mediapipe wheel", f"{one_line(wheel)}: {error}", given) from error
    except KeyError as error:
        raise _refusal("the wheel of mediapipe 0.10.21", f"{one_line(wheel)}: {error.args[0]}", given) from error


def _from_folder(folder: Path, given: Path | None) -> dict[str, bytes]:
    contents = {}
    for file in FILES:
        path = _in_folder(folder, file)
        if path is None:
            name = Path(file).name
            raise _refusal(f"{name} beside the other networks", f"no {name} in {one_line(folder)}", given)
        contents[file] = path.read_bytes()
    return contents


def _refusal(what: str, got: str, given: Path | None) -> InputError:
    """given: the place that the user named; the command fetches into its folder."""
    folder = given.parent if given is not None and given.is_file() else given
    return InputError("pose_models", f"must hold {what}", f"get what is missing with: {install_command(folder)}", got)
