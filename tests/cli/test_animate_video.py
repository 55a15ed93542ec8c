"""`everanimate animate --video`: the driving videos are made first, once, and what is animated is made of them."""

import json
import shlex

import pytest
import torch
from cli_parts import CHUNKING, DATA, HEIGHT, WIDTH, latents_of, state, write_dance
from wan_folder import save_wan

from everanimate_core.cli.command import Command
from everanimate_core.media.reader import VideoFrames

COUNT = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Wan-Animate at tiny size, dance.mp4 and keypoints.json."""
    folder = tmp_path_factory.mktemp("inputs")
    save_wan(folder / "model")
    write_dance(folder, COUNT)
    return folder


@pytest.fixture
def arguments(folder):
    """Of two chunks of a video."""
    model = ["--model", str(folder / "model"), "--device", "cpu", "--width", str(WIDTH), "--height", str(HEIGHT)]
    inputs = ["--reference", str(DATA / "reference.jpg"), "--retarget", "off"]
    dance = ["--video", str(folder / "dance.mp4"), "--keypoints", str(folder / "keypoints.json")]
    return ["animate", *inputs, *dance, *model, *CHUNKING, "--frames", "0"]


def test_both_steps_are_what_two_commands_do(arguments, folder, tmp_path, command):
    out = tmp_path / "dance.mp4"
    code, said, _ = command([*arguments, "--out", str(out), "--max-gap", "5"])
    assert code == 0
    lines = said.splitlines()
    assert lines[:2] == [f"looked at {COUNT} of {COUNT} frames", f"drew {COUNT} of {COUNT} frames"]
    assert lines[3].startswith("Wrote pose.mp4, face.mp4, ") and lines[-1] == f"Wrote {out}"

    made, other = tmp_path / "dance.driving", tmp_path / "other.driving"
    size = ["--width", str(WIDTH), "--height", str(HEIGHT), "--max-gap", "5"]
    keypoints = ["--keypoints", str(folder / "keypoints.json")]
    assert command(["prepare", str(folder / "dance.mp4"), *keypoints, *size, "--out", str(other)])[0] == 0
    for name in ("pose.mp4", "face.mp4", "keypoints.safetensors"):
        assert (made / name).read_bytes() == (other / name).read_bytes()
    rest = arguments[: arguments.index("--retarget")] + arguments[arguments.index("--model") :]
    drivers = ["--pose", str(other / "pose.mp4"), "--face", str(other / "face.mp4")]
    again = tmp_path / "again.mp4"
    assert command([*rest, *drivers, "--out", str(again)])[0] == 0
    for one, two in zip(latents_of(out, 2), latents_of(again, 2), strict=True):
        assert torch.equal(one, two)
    assert out.read_bytes() == again.read_bytes()
    with VideoFrames(out) as video:
        assert (video.frame_count, video.fps) == (COUNT, 30)


def stopping(monkeypatch, start):
    """Stop at the first line that starts so."""

    def say(self, line):
        if line.startswith(start):
            raise KeyboardInterrupt

    monkeypatch.setattr(Command, "say", say)


def test_it_goes_on_in_either_step(arguments, folder, tmp_path, command, monkeypatch):
    whole, out = tmp_path / "whole" / "dance.mp4", tmp_path / "dance.mp4"
    assert command([*arguments, "--out", str(whole)])[0] == 0
    for start, kept in (("looked at", "what was found is kept"), ("chunk 1/2", "finished chunks are kept")):
        with monkeypatch.context() as patched:
            stopping(patched, start)
            code, _, complaints = command([*arguments, "--out", str(out)])
        assert code == 1
        words, _, again = complaints.partition(" Go on with: everanimate ")
        assert words.endswith(f"Stopped; {kept}.")
        assert shlex.split(again) == [*arguments, "--out", str(out)]
    before = state(tmp_path / "dance.driving")
    code, said, _ = command([*arguments, "--out", str(out)])
    assert code == 0
    assert said.splitlines()[0] == f"The driving videos in {tmp_path / 'dance.driving'} are kept"
    chunks = [line for line in said.splitlines() if line.startswith("chunk ")]
    assert [", kept, " in line for line in chunks[:2]] == [True, False]
    assert state(tmp_path / "dance.driving") == before
    assert out.read_bytes() == whole.read_bytes()


def test_other_inputs_make_other_driving_videos(arguments, tmp_path, command):
    out = tmp_path / "dance.mp4"
    assert command([*arguments, "--out", str(out)])[0] == 0
    made = tmp_path / "dance.driving"
    before = json.loads((made / "made.json").read_text())
    # Nothing; a file that is another one; a record that cannot be read.
    changes = [(None, True), (made / "face.mp4", False), (made / "made.json", False)]
    for changed, kept in changes:
        if changed is not None:
            changed.write_bytes(b"")
        code, said, _ = command([*arguments, "--out", str(out)])
        assert (code, said.startswith("The driving videos")) == (0, kept)
        assert json.loads((made / "made.json").read_text()) == before
    _, said, _ = command([*arguments, "--out", str(out), "--no-smoothing"])
    assert said.startswith("looked at")
    assert json.loads((made / "made.json").read_text()) != before


REFUSED = [
    (["--pose", str(DATA / "pose.mp4")], "--video or --pose must be given, one of them (any video of a person, or "),
    (["--model", "toy"], "--model: must be given with --video: the embedded toy knows no real person (a diffusers "),
    (["--model", "none"], "--model: must be a folder or file that is there; got none."),
    (["--face", str(DATA / "face.mp4")], "--face: must be left out where --video is given, of which it is made; got "),
    (["--mask", "none.mp4"], "--mask: must be left out where --video is given, of which it is made; got none.mp4."),
    (["--video", "none.mp4"], "--video: must be a readable video; got none.mp4"),
    (
        ["--keypoints", "none.json"],
        "--keypoints: must be POSE_KEYPOINT as JSON, a list of frames (openpose.json); got ",
    ),
    (["--prompts", "none.txt"], "--prompts: must be a file that is there (prompts.txt); got none.txt."),
    (["--lora", "none.safetensors"], "a LoRA is read from a .safetensors file (stage2_480p.safetensors); got none"),
    (["--device", "abacus"], "--device: must be one that torch has here"),
    (["--person", "index", "--person-index", "-1"], "--person-index: must be between 0 and 99 (0); got -1."),
    (["--reference", "none.png"], "--reference: must be a readable picture; got none.png"),
    (["--out", "{folder}/dance.mp4"], "--out: must be another file than the inputs, which it would replace"),
]


@pytest.mark.parametrize(("more", "message"), REFUSED)
def test_what_cannot_serve_is_said_before_anything_is_looked_at(arguments, folder, tmp_path, command, more, message):
    more = [part.format(folder=folder) for part in more]
    code, said, complaints = command([*arguments, "--out", str(tmp_path / "dance.mp4"), *more])
    assert (code, said) == (2, "")
    assert message in complaints and complaints.count("\n") == 1
    assert not state(tmp_path) and not (folder / "dance.driving").exists()


@pytest.mark.parametrize(
    "more", [["--retarget", "fit"], ["--engine", "litert"], ["--keypoints", "a.json"], ["--no-smoothing"]]
)
def test_without_a_video_nothing_is_prepared(tmp_path, command, more):
    drivers = ["--reference", str(DATA / "reference.jpg"), "--pose", str(DATA / "pose.mp4")]
    code, said, complaints = command(["animate", *drivers, "--out", str(tmp_path / "dance.mp4"), *more])
    assert (code, said) == (2, "")
    assert complaints.startswith(f"{more[0].replace('no-', '')}: can only be given with --video; got ")


def test_a_face_that_ends_early_is_said(arguments, folder, tmp_path, command):
    keypoints, size = ["--keypoints", str(folder / "keypoints.json")], ["--width", "32", "--height", "16"]
    made = tmp_path / "made"
    assert command(["prepare", str(folder / "dance.mp4"), *keypoints, *size, "--out", str(made)])[0] == 0
    rest = arguments[: arguments.index("--retarget")] + arguments[arguments.index("--model") :]
    drivers = ["--pose", str(DATA / "pose.mp4"), "--face", str(made / "face.mp4"), "--frames", "19"]
    code, said, _ = command([*rest, *drivers, "--out", str(tmp_path / "dance.mp4")])
    assert code == 0
    line = "--face ends before the pose, after 14 of 22 frames; from there it goes on by --continuation pingpong."
    assert line in said.splitlines()
