"""The demo of a dancer: a real video file, its keypoints, the toy's figure, and the whole engine."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from cli_parts import write_dance
from driving.dancers import painted
from safetensors.torch import load_file

from everanimate_core.driving.pose_keypoint import keypoints_of
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.sound import FileSound
from everanimate_core.runs.store import RunStore
from everanimate_core.studies.dance_demo import TOY_ONLY, make_dance_demo
from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.network.engine import WorldFrames, roll_out
from everanimate_core.toy.world.dancer import figure_points
from everanimate_core.toy.world.pose import draw_pose
from everanimate_core.toy.world.world import World

COUNT = 40


def test_the_figure_dances_and_the_demo_goes_on(tmp_path):
    dancer = keypoints_of(write_dance(tmp_path, COUNT))
    folder, said = tmp_path / "demo", []

    def make():
        # The video is one of 30 frames a second: what is shown at 25.
        with VideoFrames(tmp_path / "dance.mp4", Fraction(25)) as video, FileSound(tmp_path / "dance.mp4") as sound:
            make_dance_demo(folder, dancer, video, sound, 3, said.append)
            return video.frame_count

    shown = make()
    assert shown == 34
    assert {path.name for path in folder.iterdir()} == {"dance.mp4", "dance.run", "comparison.mp4"}
    assert [line.split(": ")[0] for line in said[:2]] == ["dance, chunk 1/2", "dance, chunk 2/2"]
    assert said[2:] == [f"Wrote dance.mp4, and comparison.mp4 with dancer, pose and figure, to {folder}", TOY_ONLY]

    world, row = World(3), ROWS["full"]
    points, found = figure_points(dancer, world.body)
    pose = WorldFrames(lambda indices: draw_pose(points[list(indices)], found[list(indices)]), shown)
    chunks = list(roll_out(row.load(None), world, shown, row.settings, row.policy, pose))
    store = RunStore(folder / "dance.run")
    for chunk in chunks:
        kept = load_file(store.latents_path(store.read_take(1).chunks[chunk.index].key))
        assert torch.equal(kept["latents"], chunk.latents)
    made = torch.cat([chunk.frames for chunk in chunks])
    with VideoFrames(folder / "dance.mp4") as video:
        assert (video.frame_count, video.fps, video.width, video.height) == (shown, 25, 64, 64)
        assert (video.read(range(shown)) - made).abs().mean() < 0.02
    for name in ("dance.mp4", "comparison.mp4"):
        with av.open(str(folder / name)) as container:
            stream = container.streams.audio[0]
            assert float(stream.duration * stream.time_base) == pytest.approx(shown / 25, abs=0.03)
    with VideoFrames(folder / "comparison.mp4") as beside:
        assert (beside.frame_count, beside.fps, beside.width, beside.height) == (shown, 25, 768, 256)
        picture = beside.read([30])[0]
    # The dancer, 128 x 96 pixels, in the middle of a square; frame 36 of 30 a second.
    dancing = torch.from_numpy(np.repeat(np.repeat(painted(36), 2, axis=0), 2, axis=1)) / 255
    assert (picture[32:224, :256] - dancing).abs().mean() < 0.03
    assert (picture[2::4, 258:512:4] - pose.read([30])[0]).abs().mean() < 0.03
    assert (picture[2::4, 514::4] - made[30]).abs().mean() < 0.03

    # Nothing is sampled again.
    said.clear()
    make()
    assert [", kept, " in line for line in said[:2]] == [True, True]


def test_the_words():
    assert "no measure of the real network" in TOY_ONLY
