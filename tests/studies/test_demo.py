"""The demo: a world, the embedded toy and the whole engine, nothing downloaded."""

import json
from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file

from everanimate_core.cli import main as cli
from everanimate_core.media.reader import VideoFrames
from everanimate_core.toy.network.engine import load_toy, roll_out
from everanimate_core.toy.world.world import World


@pytest.fixture
def demo(capsys):
    """demo(*arguments) -> (exit code, what was said, what was complained of)."""
    threads = torch.get_num_threads()
    yield lambda *arguments: (cli.main(["demo", *map(str, arguments)]), *capsys.readouterr())
    torch.set_num_threads(threads)


def test_the_demo_runs_and_goes_on(tmp_path, demo):
    folder = tmp_path / "new" / "demo"
    code, said, complaints = demo("--out", folder, "--seconds", "2", "--seed", "3")
    assert (code, complaints) == (0, "")
    lines = said.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == ["chunk 1/2: frames 0-32", "chunk 2/2: frames 33-49"]
    assert lines[3] == f"Wrote animation.mp4, comparison.mp4, drift.png and drift.json to {folder}"
    assert {path.name for path in folder.iterdir()} == {
        ".animation.run.lock",
        "animation.mp4",
        "animation.run",
        "comparison.mp4",
        "drift.json",
        "drift.png",
    }
    chunks = list(roll_out(load_toy(), World(3), 50))
    for chunk in chunks:
        kept = load_file(folder / "animation.run" / f"chunk_{chunk.index:04d}.safetensors")
        assert torch.equal(kept["latents"], chunk.latents)
    made = torch.cat([chunk.frames for chunk in chunks])
    with VideoFrames(folder / "animation.mp4") as video, VideoFrames(folder / "comparison.mp4") as beside:
        assert (video.frame_count, video.fps, video.width, video.height) == (50, Fraction(25), 64, 64)
        assert (video.read(range(50)) - made).abs().mean() < 0.02
        assert (beside.frame_count, beside.fps, beside.width, beside.height) == (50, Fraction(25), 768, 256)
        # Pose, animation and truth, four times as large.
        middle = beside.read([40])[0, 2::4, 2::4]
    world = World(3)
    for at, picture in enumerate((world.pose([40])[0], made[40], world.frame(40))):
        assert (middle[:, 64 * at : 64 * at + 64] - picture).abs().mean() < 0.03

    report = json.loads((folder / "drift.json").read_text())
    assert (report["frames"], report["joins"], report["compared_with"]) == (50, [33], "truth")
    assert json.loads(lines[2])["psnr"] == pytest.approx(report["numbers"]["psnr"], abs=1e-3)
    assert (folder / "drift.png").stat().st_size > 10_000

    # Nothing is sampled again.
    code, said, _ = demo("--out", folder, "--seconds", "2", "--seed", "3")
    assert (code, said.count(", kept, ")) == (0, 2)
    # Another world is another run.
    code, _, complaints = demo("--out", folder, "--seconds", "2", "--seed", "4")
    assert code == 2 and "world 4 (was 3)" in complaints


@pytest.mark.parametrize("seconds", ["0", "-1", "0.03"])
def test_less_than_a_frame_is_refused(tmp_path, demo, seconds):
    code, _, complaints = demo("--out", tmp_path / "demo", "--seconds", seconds)
    assert code == 2
    assert complaints == f"--seconds: must be at least 0.04 (60); got {float(seconds)}.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path, demo):
    (tmp_path / "file").write_text("in the way")
    code, _, complaints = demo("--out", tmp_path / "file" / "demo", "--seconds", "1")
    assert code == 1
    assert "Not a directory" in complaints
