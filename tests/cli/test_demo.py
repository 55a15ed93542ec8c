"""`everanimate demo`: what it hands to the demo, and numbers that cannot serve."""

from pathlib import Path

import pytest
from cli_parts import write_dance
from driving.dancers import HEIGHT, WIDTH, Reader

from everanimate_core.driving.pose_keypoint import keypoints_of, load_pose_keypoint


@pytest.fixture
def handed(monkeypatch):
    """What the demo is called with, without making it."""
    calls = []
    for name in ("make_demo", "make_colour_demo"):
        monkeypatch.setattr(
            f"everanimate_core.cli.demo.{name}", lambda *inputs, name=name: calls.append((name, *inputs))
        )
    return calls


def test_without_options(command, handed):
    assert command(["demo"]) == (0, "", "")
    ((*inputs, say),) = handed
    assert inputs == ["make_demo", Path("demo"), 60.0, 0]
    assert callable(say)


def test_with_every_option(command, handed):
    more = ["--method", "colour", "--out", "there", "--seconds", "2.5", "--seed", "7"]
    assert command(["demo", *more]) == (0, "", "")
    assert handed[0][:4] == ("make_colour_demo", Path("there"), 2.5, 7)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400"])
def test_seconds_are_finite(command, handed, value):
    code, said, complaints = command(["demo", f"--seconds={value}"])
    assert (code, said) == (2, "")
    assert complaints == f"--seconds: must be a number, not NaN or infinity (60); got {float(value)}.\n"
    assert not handed


@pytest.mark.parametrize("seconds", ["0", "-1", "0.01"])
def test_less_than_a_frame_is_refused_and_nothing_is_written(command, tmp_path, seconds):
    code, said, complaints = command(["demo", "--out", str(tmp_path / "demo"), f"--seconds={seconds}"])
    assert (code, said) == (2, "")
    assert complaints == f"--seconds: must be at least 0.04 (60); got {float(seconds)}.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def danced(monkeypatch, tmp_path):
    """What the demo of a dancer is called with, without making it, and a dancer of 40 frames at 30 a second."""
    calls = []
    write_dance(tmp_path, 40)
    monkeypatch.chdir(tmp_path)

    def make_dance_demo(folder, dancer, video, sound, seed, say):
        assert video.read([video.frame_count - 1]).shape == (1, HEIGHT, WIDTH, 3) and sound.source == Path("dance.mp4")
        calls.append((folder, len(dancer.points), video.frame_count, video.fps, seed))

    monkeypatch.setattr("everanimate_core.cli.demo.make_dance_demo", make_dance_demo)
    return calls


DANCE = ["demo", "--video", "dance.mp4", "--keypoints", "keypoints.json"]


def test_a_dancer_is_looked_at_once(command, danced):
    code, said, complaints = command(DANCE)
    assert (code, complaints) == (0, "")
    folder = Path("demo") / "dance.driving"
    assert said.splitlines()[-1].endswith(f" and report.json to {folder}")
    assert keypoints_of(load_pose_keypoint(folder / "openpose.json")).points.shape == (33, 133, 2)
    assert command([*DANCE, "--seed", "4"]) == (0, f"The driving videos in {folder} are kept\n", "")
    assert danced == [(Path("demo"), 33, 34, 25, seed) for seed in (0, 4)]


def test_a_dance_lasts_as_long_as_it_does_or_as_is_said(command, danced):
    assert command([*DANCE, "--out", "there", "--seconds", "0.5"])[0] == 0
    # Keypoints are those of the whole video.
    assert danced == [(Path("there"), 33, 13, 25, 0)]


def test_without_keypoints_no_more_is_looked_at_than_is_shown(command, danced, monkeypatch):
    engine = Reader()
    monkeypatch.setattr("everanimate_core.cli.driving.chosen_engine", lambda *_: engine)
    assert command(["demo", "--video", "dance.mp4", "--seconds", "0.5"])[0] == 0
    assert max(engine.read) == 13
    assert danced == [(Path("demo"), 12, 13, 25, 0)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "colour"], "--method: must be animate where --video is given; got colour."),
        (["--video", "none.mp4"], "--video: must be a readable video; got none.mp4 (No such file or directory)."),
        (["--keypoints", "none.json"], "--keypoints: must be POSE_KEYPOINT as JSON, a list of frames (openpose."),
        (["--seconds", "0.01"], "--seconds: must be at least 0.04 (60); got 0.01."),
    ],
)
def test_a_dance_that_cannot_be(command, danced, more, message):
    code, said, complaints = command([*DANCE, *more])
    assert (code, said) == (2, "")
    assert complaints.startswith(message)
    assert not danced and not Path("demo").exists()


@pytest.mark.parametrize("more", [["--engine", "litert"], ["--keypoints", "a.json"], ["--pose-models", "there"]])
def test_without_a_video_nobody_is_looked_for(command, handed, more):
    code, said, complaints = command(["demo", *more])
    assert (code, said) == (2, "")
    assert complaints == f"{more[0]}: can only be given with --video; got {more[1]}.\n"
    assert not handed
