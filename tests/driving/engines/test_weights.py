"""Where weights come from, and what is said when they are not there, with small files in their place."""

import hashlib
import sys
import zipfile

import pytest

from everanimate_core.driving.engines import weights
from everanimate_core.driving.engines.weights import COMMAND, FILES, MODULES, read_weights

CONTENTS = {file: f"weights of {file}".encode() for file in FILES}
NAMES = ["pose_detection", "pose_landmark_full", "hand_landmark_full", "face_landmark"]
WHEEL = "mediapipe-0.10.21-cp312-cp312-manylinux_2_28_x86_64.whl"


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Files of a few bytes are the right ones."""
    sums = {file: hashlib.sha256(content).hexdigest() for file, content in CONTENTS.items()}
    monkeypatch.setattr(weights, "FILES", sums)


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


def refused(source):
    with pytest.raises(ValueError) as caught:
        read_weights(source)
    assert str(caught.value).startswith("pose_models must be ")
    assert f"({COMMAND})" in str(caught.value)
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
    monkeypatch.syspath_prepend(unpacked(tmp_path))
    monkeypatch.delitem(sys.modules, "mediapipe", raising=False)
    assert list(read_weights().values()) == list(CONTENTS.values())
    assert "mediapipe" not in sys.modules


def test_nothing_is_installed(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    assert "got nothing, and no mediapipe is installed." in refused(None)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named_with_its_place(tmp_path, file):
    name = file.split("/")[1]
    rest = {other: content for other, content in CONTENTS.items() if other != file}
    assert f"{WHEEL}: There is no item named '{MODULES}/{file}'" in refused(wheel(tmp_path / WHEEL, rest))
    (tmp_path / WHEEL).unlink()
    assert f"got no {name} in {tmp_path}." in refused(flat(tmp_path, rest))


def test_another_file_under_the_same_name(tmp_path):
    wrong = CONTENTS | {"hand_landmark/hand_landmark_full.tflite": b"other"}
    said = refused(flat(tmp_path, wrong))
    assert "must be hand_landmark_full.tflite of mediapipe 0.10.21" in said
    assert f"another one, sha256 {hashlib.sha256(b'other').hexdigest()}, in {tmp_path}" in said


def test_no_zip_and_no_place(tmp_path):
    (tmp_path / "broken.whl").write_bytes(b"PK not a zip")
    assert f"{tmp_path / 'broken.whl'}: File is not a zip file." in refused(tmp_path / "broken.whl")
    assert f"no pose_detection.tflite in {tmp_path / 'nowhere'}" in refused(tmp_path / "nowhere")
