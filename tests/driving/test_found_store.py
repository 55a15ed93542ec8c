"""What was found, on disk: it comes back to the last bit, and only for the video and engine that it is of."""

from functools import partial

import numpy as np
import torch
from refusals import refusal

from everanimate_core.driving import found_store
from everanimate_core.driving.engines.engine import START
from everanimate_core.driving.found_store import Findings, FoundStore, packed, unpacked, windows
from everanimate_core.driving.people import Person
from everanimate_core.errors import InputError

WIDTH, HEIGHT = 13, 7
RANDOM = np.random.default_rng(0)
FRAMES = torch.from_numpy(RANDOM.integers(256, size=(3, HEIGHT, WIDTH, 3))).float() / 255
MASKS = RANDOM.random((3, HEIGHT, WIDTH)) < 0.5


def person(torso=None):
    return Person(RANDOM.normal(size=(133, 2)), RANDOM.random(133), torso)


def findings():
    """Two people in the first frame, nobody in the second, one in the third."""
    people = [[person(), person(np.array([0.0, 0.25, 1 / 3]))], [], [person(np.zeros(3))]]
    masks = [[packed(MASKS[0]), packed(MASKS[1])], [], [packed(MASKS[2])]]
    return Findings(people, masks, RANDOM.random((3, 64)), np.array([[1.5, 1 / 3]]))


def store(folder, engine="reader", weights="0123456789abcdef", masks="engine"):
    return FoundStore(folder, engine, weights, masks)


def assert_same(one, other):
    assert [len(there) for there in one.people] == [len(there) for there in other.people]
    for there, others in zip(one.people, other.people, strict=True):
        for mine, theirs in zip(there, others, strict=True):
            np.testing.assert_array_equal(mine.points, theirs.points)
            np.testing.assert_array_equal(mine.scores, theirs.scores)
            assert (mine.torso is None) == (theirs.torso is None)
            assert mine.torso is None or (mine.torso == theirs.torso).all()
    assert one.masks == other.masks
    np.testing.assert_array_equal(one.histograms, other.histograms)
    np.testing.assert_array_equal(one.state, other.state)


refused = partial(refusal, kind=InputError)


def test_it_comes_back_to_the_last_bit(tmp_path):
    found = findings()
    store(tmp_path).write(4, FRAMES, found)
    assert [path.name for path in tmp_path.iterdir()] == ["found_00004.safetensors"]
    assert_same(store(tmp_path).kept(4, FRAMES), found)
    assert_same(store(tmp_path).read(4), found)
    assert store(tmp_path).kept(3, FRAMES) is None


def test_windows_in_which_nobody_is(tmp_path):
    nobody = Findings([[], [], []], [[], [], []], np.zeros((3, 64)), START)
    store(tmp_path).write(0, FRAMES, nobody)
    assert_same(store(tmp_path).kept(0, FRAMES), nobody)


def test_masks_come_back(tmp_path):
    store(tmp_path).write(0, FRAMES, findings())
    there = store(tmp_path).read(0).masks
    for mask, content in zip(MASKS, [*there[0], *there[2]], strict=True):
        np.testing.assert_array_equal(unpacked(content, WIDTH, HEIGHT), mask)


def test_without_the_masks_that_are_wanted_it_is_not_found(tmp_path):
    found = findings()
    plain = Findings(found.people, [[], [], []], found.histograms, found.state)
    store(tmp_path, masks="").write(0, FRAMES, plain)
    assert store(tmp_path).kept(0, FRAMES) is None
    assert_same(store(tmp_path, masks="").kept(0, FRAMES), plain)
    store(tmp_path).write(0, FRAMES, found)
    assert_same(store(tmp_path, masks="").kept(0, FRAMES), found)
    assert store(tmp_path, masks="fedcba9876543210").kept(0, FRAMES) is None


def test_another_video_or_engine_is_refused_by_name(tmp_path):
    store(tmp_path).write(0, FRAMES, findings())
    other = FRAMES.clone()
    other[2, 6, 12, 2] = (other[2, 6, 12, 2] + 1 / 255) % 1
    for frames in (other, FRAMES[:2]):
        message = refused(store(tmp_path).kept, 0, frames)
        assert "must be of this video" in message and "found_00000.safetensors" in message
    message = refused(store(tmp_path, engine="onnx").kept, 0, FRAMES)
    assert "of the engine onnx" in message and "got the engine reader" in message
    message = refused(store(tmp_path, weights="fedcba9876543210").kept, 0, FRAMES)
    assert "with weights fedcba98 " in message and "with weights 01234567 " in message


def test_a_damaged_file_is_refused_by_name(tmp_path):
    one = store(tmp_path)
    one.write(0, FRAMES, findings())
    content = one.path(0).read_bytes()
    changed = [(b'"found"', b'"fount"'), (b'"points"', b'"pointy"'), (b'"state"', b'"stats"'), (b"133,2]", b"2,133]")]
    for damaged in (content[:-100], b"", *(content.replace(*pair) for pair in changed)):
        assert damaged != content
        one.path(0).write_bytes(damaged)
        for message in (refused(one.kept, 0, FRAMES), refused(one.read, 0)):
            assert "must be in whole files of this program" in message and "found_00000.safetensors" in message
    assert "which is not a file" in refused(one.read, 1)


def test_windows_hold_so_many_bytes(monkeypatch):
    monkeypatch.setattr(found_store, "WINDOW_BYTES", 4 * 12 * 6 * 5 + 11)
    assert list(windows(9, 6, 5)) == [slice(0, 4), slice(4, 8), slice(8, 9)]
    # A frame that is larger than a window is one.
    assert list(windows(2, 600, 500)) == [slice(0, 1), slice(1, 2)]


def test_a_window_has_about_256_mb():
    assert next(windows(1000, 832, 480)) == slice(0, 53)
    assert next(windows(1000, 1920, 1080)) == slice(0, 10)
