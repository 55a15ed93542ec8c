"""Where the weights of the litert engine come from: MediaPipe 0.10.21, the last release with these files.

They are read in place from its wheel, which is a zip, from an installed package, or from a folder. Nothing of MediaPipe
is imported, and nothing is fetched.
"""

import hashlib
import zipfile
from importlib.util import find_spec
from pathlib import Path

from ...errors import InputError, one_line

COMMAND = (
    "pip download mediapipe==0.10.21 --no-deps --only-binary=:all: --python-version 3.12 "
    "--platform manylinux_2_28_x86_64"
)
MODULES = "mediapipe/modules"
# SHA-256 of MODULES/NAME/FILE. They are the same in the wheels of all platforms.
FILES = {
    "pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark/pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "hand_landmark/hand_landmark_full.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    "face_landmark/face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}


def read_weights(source: str | Path | None = None) -> dict[str, bytes]:
    """The four tflite files by their names without folder and ending: {"pose_detection": ..., ...}.

    source: MediaPipe's wheel; or a folder that holds the wheel, an unpacked one, or the files themselves; None for the
    installed package. Raises InputError, which names the file, the place and the command to get it, when a file is
    missing or is not the one of MediaPipe 0.10.21.
    """
    place = _installed() if source is None else _wheel_in(Path(source))
    contents = _from_wheel(place) if place.is_file() else _from_folder(place)
    for file, content in contents.items():
        found = hashlib.sha256(content).hexdigest()
        if found != FILES[file]:
            raise _refusal(
                f"{Path(file).name} of mediapipe 0.10.21", f"another one, sha256 {found}, in {_shown(place)}"
            )
    return {Path(file).stem: content for file, content in contents.items()}


def _installed() -> Path:
    # Found without being imported: that would bring in all that MediaPipe needs.
    spec = find_spec("mediapipe")
    if spec is None or spec.origin is None:
        raise _refusal("a mediapipe wheel, or a folder with its tflite files", "nothing, and no mediapipe is installed")
    return Path(spec.origin).parents[1]


def _wheel_in(source: Path) -> Path:
    """The wheel in a folder, where there is one; else `source` as it is."""
    return next(iter(sorted(source.glob("mediapipe-0.10.21-*.whl"))), source)


def _from_wheel(wheel: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {file: archive.read(f"{MODULES}/{file}") for file in FILES}
    except zipfile.BadZipFile as error:
        raise _refusal("a mediapipe wheel, or a folder with its tflite files", f"{_shown(wheel)}: {error}") from error
    except KeyError as error:
        raise _refusal("the wheel of mediapipe 0.10.21", f"{_shown(wheel)}: {error.args[0]}") from error


def _from_folder(folder: Path) -> dict[str, bytes]:
    contents = {}
    for file in FILES:
        name = Path(file).name
        path = next((path for path in (folder / name, folder / MODULES / file) if path.is_file()), None)
        if path is None:
            raise _refusal(f"a mediapipe wheel, or a folder with {name}", f"no {name} in {_shown(folder)}")
        contents[file] = path.read_bytes()
    return contents


def _refusal(rule: str, got: str) -> InputError:
    return InputError("pose_models", f"must be {rule}", COMMAND, got)


def _shown(path: Path) -> str:
    return one_line(path)
