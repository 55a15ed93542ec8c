"""What all engines have: a name, a digest, and a state from which another one goes on."""

import numpy as np
import pytest

from everanimate_core.driving.engines import litert, onnx
from everanimate_core.driving.engines.engine import START, GivenEngine
from everanimate_core.driving.engines.regions import Region
from everanimate_core.driving.people import Person

NAMES = ("pose_detection", "pose_landmark_full", "hand_landmark_full", "face_landmark")
PICTURE = np.zeros((4, 4, 3), np.float32)


@pytest.fixture
def litert_engine(monkeypatch):
    """Makes one without networks."""
    monkeypatch.setattr(litert, "Network", lambda content, threads: None)
    return lambda **options: litert.LitertEngine(options.pop("weights", dict.fromkeys(NAMES, b"1")), **options)


def test_litert_keeps_its_regions_as_its_state(litert_engine):
    one, other = litert_engine(), litert_engine()
    assert one.name == "litert" and one.state.shape == (0, 4)
    one.regions = [Region(1.0, 2.5, 1 / 3, -0.1), Region(5.0, 6.0, 7.0, 8.0)]
    other.state = one.state
    assert other.regions == one.regions
    other.state = START
    assert other.regions == []


def test_the_digest_of_litert_is_that_of_weights_and_people(litert_engine):
    changed = dict.fromkeys(NAMES, b"1") | {"face_landmark": b"2"}
    engines = [litert_engine(), litert_engine(people=1), litert_engine(weights=changed)]
    assert len({engine.digest for engine in engines}) == 3
    assert litert_engine(threads=1).digest == engines[0].digest


@pytest.fixture
def onnx_engine(monkeypatch, tmp_path):
    """Makes one of two files without networks."""
    for name in ("detector", "pose"):
        (tmp_path / f"{name}.onnx").write_bytes(b"1")
    files = [onnx.Network(None, 1, 1, "", tmp_path / f"{name}.onnx") for name in ("detector", "pose")]
    monkeypatch.setattr(onnx, "networks_in", lambda folder: files)
    return lambda **options: onnx.OnnxEngine(tmp_path, **options)


def test_the_digest_of_onnx_is_that_of_files_and_people(onnx_engine, tmp_path):
    engines = [onnx_engine(), onnx_engine(people=1)]
    found = [engine.digest for engine in engines]
    assert found[0] != found[1] and onnx_engine().digest == found[0]
    for name in ("detector", "pose"):
        (tmp_path / f"{name}.onnx").write_bytes(b"2")
        found.append(onnx_engine().digest)
    # Weights that lie in a file beside it, which it names.
    (tmp_path / "pose.onnx").write_bytes(b"2 location pose_data.bin")
    for content in (b"1", b"2"):
        (tmp_path / "pose_data.bin").write_bytes(content)
        found.append(onnx_engine().digest)
    (tmp_path / "other.bin").write_bytes(b"1")
    assert len(set(found)) == 6 and onnx_engine().digest == found[-1]
    assert engines[0].name == "onnx" and engines[0].state.size == 0


def person(score):
    return Person(np.full((133, 2), score), np.full(133, score))


def test_given_people_are_handed_out_in_order():
    engine = GivenEngine([[person(0.5)], [], [person(0.6), person(0.7)]], "digest")
    found = [engine.find(PICTURE) for _ in range(3)]
    assert [[float(one.scores[0]) for one in there] for there in found] == [[0.5], [], [0.6, 0.7]]
    assert all(one.mask is None for there in found for one in there)
    assert (engine.name, engine.digest) == ("keypoints", "digest")


def test_frames_at_once_are_frames_one_after_the_other():
    people = [[person(0.5)], [], [person(0.6)]]
    one, other = GivenEngine(people, ""), GivenEngine(people, "")
    assert one.find_all(np.array([PICTURE] * 3)) == [other.find(PICTURE) for _ in range(3)]


def test_given_people_go_on_from_a_state():
    people = [[person(score)] for score in (0.5, 0.6, 0.7)]
    one, other = GivenEngine(people, ""), GivenEngine(people, "")
    one.find(PICTURE)
    other.state = one.state
    assert other.find(PICTURE)[0].scores[0] == 0.6
    other.state = START
    assert other.find(PICTURE)[0].scores[0] == 0.5
