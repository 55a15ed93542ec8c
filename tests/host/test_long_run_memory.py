"""A long run on a base takes the memory of one chunk, at 300 frames and at 3000."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from base_folder import make_base_folder
from long_runs import BASES, knows_the_bases
from peak_memory import linux_only

__all__ = ["knows_the_bases"]
pytestmark = [pytest.mark.usefixtures("knows_the_bases"), linux_only]
SIZE, COUNTS = 128, (300, 3000)
# In a process of its own, whose peak memory nothing else has raised. The frames of the longer video would be 590 MB.
PEAKS = """
import json, os, sys
from pathlib import Path

host_tests, base_folder, name, *videos = sys.argv[1:]
sys.path[:0] = [os.environ["COMFYUI_PATH"]]
sys.path += [str(Path(host_tests).parents[1]), host_tests, str(Path(host_tests).parent)]
import torch
from in_process import InProcessHost

comfy = InProcessHost(Path(base_folder))
from comfy_api.latest import InputImpl
from exact_vae import ExactVae
from long_runs import long_run
from native_chain import ANIMATE2, SCAIL2
from peak_memory import peak_memory

base = {"animate2": ANIMATE2, "scail2": SCAIL2}[name]
size, peaks = int(os.environ["SIZE"]), []
with torch.inference_mode():
    for video in videos:
        footage = InputImpl.VideoFromFile(video)
        sizes = {"width": size, "height": size, "chunk_frames": 81, "steps": 1, "fit": "stretch"}
        long_run(comfy, base, Path(video).stem, 1, driving_video=footage, vae=ExactVae(), **sizes)
        peaks.append(peak_memory())
print(json.dumps(peaks))
"""


def write_footage(path, frames):
    """A video of so many frames, one in memory at a time."""
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(noise, number, axis=1), format="rgb24")))
        file.mux(stream.encode())


@BASES
def test_memory_is_alike_at_300_and_at_3000_frames(comfy, base, tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (make_base_folder(folder) / "models").symlink_to(comfy.base / "models", target_is_directory=True)
    videos = [tmp_path / f"frames_{count}.mp4" for count in COUNTS]
    for video, count in zip(videos, COUNTS, strict=True):
        write_footage(video, count)
    command = [sys.executable, "-c", PEAKS, str(Path(__file__).parent), str(folder), base.name, *map(str, videos)]
    # What is freed goes back to the system at once: else the peak says how the allocator fared.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "SIZE": str(SIZE)}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert found.returncode == 0, found.stderr[-3000:]
    few, many = json.loads(found.stdout.splitlines()[-1])
    # A sixth of what the frames would be; threads that decode and encode video hold more on a busy machine.
    assert many - few < 100  # MB
