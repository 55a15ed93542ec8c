"""The demo: a world, the embedded toy and the whole engine, nothing downloaded."""

import json
from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file

from everanimate_core.cli import main as cli
from everanimate_core.media.reader import VideoFrames
from everanimate_core.runs.store import RunStore
from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.network.engine import roll_out
from everanimate_core.toy.world.world import World


@pytest.fixture
def demo(capsys):
    """demo(*arguments) -> (exit code, what was said, what was complained of)."""
    return lambda *arguments: (cli.main(["demo", *map(str, arguments)]), *capsys.readouterr())


def test_the_demo_runs_and_goes_on(tmp_path, demo):
    folder = tmp_path / "new" / "demo"
    code, said, complaints = demo("--out", folder, "--seconds", "2", "--seed", "3")
    assert (code, complaints) == (0, "")
    lines = said.splitlines()
    assert [line.split(": ")[0] for line in lines[:2]] == ["everanimate, chunk 1/2", "everanimate, chunk 2/2"]
    assert lines[2:4] == ["baseline, chunk 1/2", "baseline, chunk 2/2"]
    assert lines[4] == "Writing comparison.mp4: pose, baseline, everanimate and truth side by side"
    measured = [line for line in lines if ", measured " in line]
    assert measured[:2] == ["baseline, measured 8 of 50 frames", "baseline, measured 16 of 50 frames"]
    assert len(measured) == 14 and measured[-1] == "everanimate, measured 50 of 50 frames"
    assert lines[-1] == (
        f"Wrote baseline.mp4, everanimate.mp4, comparison.mp4, and .drift.png and .drift.json of both, to {folder}"
    )
    assert {path.name for path in folder.iterdir()} == {
        "baseline.drift.json",
        "baseline.drift.png",
        "baseline.mp4",
        "comparison.mp4",
        "everanimate.drift.json",
        "everanimate.drift.png",
        "everanimate.mp4",
        "everanimate.run",
    }
    made = {}
    for name, row in (("baseline", ROWS["baseline"]), ("everanimate", ROWS["full"])):
        chunks = list(roll_out(row.load(None), World(3), 50, row.settings, row.policy))
        made[name] = torch.cat([chunk.frames for chunk in chunks])
        with VideoFrames(folder / f"{name}.mp4") as video:
            assert (video.frame_count, video.fps, video.width, video.height) == (50, Fraction(25), 64, 64)
            assert (video.read(range(50)) - made[name]).abs().mean() < 0.02
    store = RunStore(folder / "everanimate.run")
    for chunk in chunks:
        kept = load_file(store.latents_path(store.read_take(1).chunks[chunk.index].key))
        assert torch.equal(kept["latents"], chunk.latents)
    with VideoFrames(folder / "comparison.mp4") as beside:
        assert (beside.frame_count, beside.fps, beside.width, beside.height) == (50, Fraction(25), 1024, 256)
        # Pose, both animations and truth, four times as large.
        middle = beside.read([40])[0, 2::4, 2::4]
    world = World(3)
    pictures = world.pose([40])[0], made["baseline"][40], made["everanimate"][40], world.frame(40)
    for at, picture in enumerate(pictures):
        assert (middle[:, 64 * at : 64 * at + 64] - picture).abs().mean() < 0.03

    numbers = [line for line in lines if ": {" in line]
    for line, name in zip(numbers, ("baseline", "everanimate"), strict=True):
        report = json.loads((folder / f"{name}.drift.json").read_text())
        assert (report["frames"], report["joins"], report["compared_with"]) == (50, [33], "truth")
        shown = json.loads(line.removeprefix(f"{name}: "))
        assert shown["psnr"] == pytest.approx(report["numbers"]["psnr"], abs=1e-3)
        assert (folder / f"{name}.drift.png").stat().st_size > 10_000
    assert (folder / "baseline.drift.json").read_text() != (folder / "everanimate.drift.json").read_text()

    # Nothing of the run is sampled again.
    code, said, _ = demo("--out", folder, "--seconds", "2", "--seed", "3")
    assert (code, said.count(", kept, ")) == (0, 2)
    # Another world makes another take; the video of this one stays in the run's folder.
    video = (folder / "everanimate.mp4").read_bytes()
    code, said, _ = demo("--out", folder, "--seconds", "2", "--seed", "4")
    assert (code, said.count(", kept, ")) == (0, 0)
    assert "take 2 is opened: the reference is another one, world was 3 and is 4" in said.splitlines()
    assert store.take_numbers() == [1, 2]
    assert (store.folder / "takes" / "00001.mp4").read_bytes() == video
    assert (folder / "everanimate.mp4").read_bytes() != video


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
