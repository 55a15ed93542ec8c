"""The demo: inputs that are drawn, the whole engine on them, nothing downloaded."""

import json
from fractions import Fraction

import pytest
import torch

from everanimate_core import cli
from everanimate_core.demo import DEMO_SETTINGS, pose_frame, reference_frame, write_inputs
from everanimate_core.video import VideoFrames


@pytest.fixture
def demo(capsys):
    """demo(*arguments) -> (exit code, what was said, what was complained of)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield lambda *arguments: (cli.main(["demo", *map(str, arguments)]), *capsys.readouterr())
    torch.set_num_threads(threads)


def test_the_demo_runs_and_goes_on(tmp_path, demo):
    folder = tmp_path / "new" / "demo"
    code, said, complaints = demo("--out", folder, "--seconds", "1")
    assert (code, complaints) == (0, "")
    lines = said.splitlines()
    assert "random weights" in lines[0]
    assert lines[1].startswith("chunk 1/1: frames 0-24, ")
    assert lines[2:] == [f"Wrote {folder / 'animation.mp4'}"]
    with VideoFrames(folder / "animation.mp4") as video:
        assert (video.frame_count, video.fps, video.width, video.height) == (25, Fraction(25), 64, 64)
        frames = video.read(range(25))
    assert frames.std() > 0.01
    settings = json.loads((folder / "animation.run" / "manifest.json").read_text())["run"]["settings"]
    # The released geometry, at a small size.
    assert (settings["chunk_frames"], settings["overlap"], settings["identity_latents"]) == (77, 4, 4)

    # The inputs are drawn anew, and are what they were: nothing is sampled again.
    code, said, _ = demo("--out", folder, "--seconds", "1")
    assert (code, said.count(", kept, ")) == (0, 1)


@pytest.mark.parametrize("seconds", ["0", "-1", "0.03", "nan"])
def test_less_than_a_frame_is_refused(tmp_path, demo, seconds):
    code, _, complaints = demo("--out", tmp_path / "demo", "--seconds", seconds)
    assert code == 2
    assert complaints == f"demo: --seconds must be at least 0.04 (60); got {float(seconds)}.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path, demo):
    (tmp_path / "file").write_text("in the way")
    code, _, complaints = demo("--out", tmp_path / "file" / "demo", "--seconds", "1")
    assert code == 1
    assert "Not a directory" in complaints


def test_the_inputs_are_as_long_as_asked(tmp_path):
    reference, pose = write_inputs(tmp_path, 1.5)
    with VideoFrames(pose) as video, VideoFrames(reference) as image:
        assert (video.frame_count, video.fps, video.width, video.height) == (38, Fraction(25), 64, 64)
        # A video codec and its colours are between them.
        assert (video.read([7]) - pose_frame(7)).abs().mean() < 0.05
        assert torch.equal((image.read([0])[0] * 255).round().to(torch.uint8), torch.from_numpy(reference_frame()))
    assert DEMO_SETTINGS[:4] == ("--width", "64", "--height", "64")


def test_the_figure_walks_in_place():
    frames = torch.cat([pose_frame(number) for number in range(64)])
    assert frames.shape == (64, 64, 64, 3)
    assert (frames.min(), frames.max()) == (0, 1)
    assert torch.equal(frames[:32], frames[32:])
    moving = (frames != frames[:1]).flatten(1).any(1)
    # It stands as in frame 0 twice a period, where both steps cross.
    assert moving.logical_not().nonzero().flatten().tolist() == [0, 16, 32, 48]
    assert (frames[:, 0] == 0).all()
