"""A driving video of any length costs the memory of one chunk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peak_memory import linux_only

from everanimate_core.media.writer import VideoWriter

FRAMES, SIZE = 10_000, 32

# In a process of its own, whose peak memory nothing else has raised. The whole video would be 123 MB of float32.
READ_EVERYTHING = """
import json, sys

sys.path.append(sys.argv[2])
from everanimate_core.media.frames import FittedFrames
from everanimate_core.media.reader import VideoFrames
from everanimate_core.plan import ChunkPlan
from peak_memory import peak_memory

source = FittedFrames(VideoFrames(sys.argv[1]), 32, 32, "error")
plan = ChunkPlan(source.frame_count, 77, 4)
peaks, seen = [], 0
for index in range(plan.chunk_count):
    seen += source.read(plan.source_indices(index, source.frame_count))[plan.kept(index)].shape[0]
    peaks.append(peak_memory())
print(json.dumps({"seen": seen, "chunks": plan.chunk_count, "first": peaks[4], "last": peaks[-1]}))
"""


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "pose.mp4"
    with VideoWriter(path, 25, SIZE, SIZE, crf=40) as video:
        for first in range(0, FRAMES, 500):
            video.write(torch.linspace(0, 1, 500).view(-1, 1, 1, 1).expand(-1, SIZE, SIZE, 3) * (1 - first / FRAMES))
    return path


@linux_only
def test_ten_thousand_frames_are_read_in_flat_memory(long_video):
    command = [sys.executable, "-c", READ_EVERYTHING, str(long_video), str(Path(__file__).resolve().parents[1])]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (found["seen"], found["chunks"]) == (FRAMES, 137)
    assert found["last"] - found["first"] < 12  # MB; a tenth of the video
