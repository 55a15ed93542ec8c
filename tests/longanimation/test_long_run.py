"""A run of thirty windows takes the memory of one of three, whatever is kept on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

from peak_memory import linux_only

# In a process of its own, whose peak memory nothing else has raised. Frames, latents and ends of the thirty windows
# would be 85 MB.
COLOUR = """
import json, sys
from pathlib import Path

sys.path.append(sys.argv[1])
import torch
from colour_runs import SHORT, exact_window
from exact_parts import ExactCodec
from everanimate_core.longanimation.method import long_animation
from everanimate_core.longanimation.settings import Settings
from everanimate_core.runs.job import make_job
from everanimate_core.runs.run import run
from everanimate_core.runs.settings import RunSettings
from everanimate_core.runs.store import RunStore
from everanimate_core.runs.videos import NewestVideo
from peak_memory import peak_memory

WIDTH, HEIGHT, STRIDE = 256, 128, 8


class Lines:
    fps = None

    def __init__(self, count):
        self.frame_count = count

    def read(self, indices):
        numbers = torch.tensor(indices).view(-1, 1, 1, 1) % 7
        return (torch.arange(WIDTH).view(1, 1, -1, 1) % (numbers + 2)).clamp(0, 1).expand(-1, HEIGHT, -1, 3).float()


def peak(windows):
    lines, reference = Lines(17 + STRIDE * (windows - 1)), torch.rand(1, HEIGHT, WIDTH, 3)
    method = long_animation(lines, reference, Settings(**SHORT), WIDTH, HEIGHT)
    assert method.plan.chunk_count == windows
    job = make_job(method, RunSettings(), {"network": "tiny"}, [""])
    out = Path(sys.argv[2]) / f"{windows}.mp4"
    store = RunStore(out.with_suffix(".run"))
    run(job, store, exact_window, ExactCodec(), NewestVideo(out, store.folder))
    return peak_memory()


print(json.dumps([peak(3), peak(30)]))
"""


@linux_only
def test_memory_does_not_grow_from_3_to_30_windows(tmp_path):
    command = [sys.executable, "-c", COLOUR, str(Path(__file__).resolve().parents[1]), str(tmp_path)]
    # What is freed goes back to the system at once: else the peak says how the allocator fared, by up to 70 MB.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert found.returncode == 0, found.stderr
    few, many = json.loads(found.stdout)
    # MB. What is done beside the sampling falls together with it now and then: with three windows, perhaps not.
    assert many - few < 30
