"""A long driver takes the memory of a short one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from peak_memory import linux_only

# In a process of its own, whose peak memory nothing else has raised. The 700 frames more would be 129 MB in 8 bits.
PREPARE = """
import json, sys
from fractions import Fraction
from pathlib import Path

sys.path.append(sys.argv[1])
import numpy as np
import torch
from driving.bodies import standing
from everanimate_core.driving import found_store
from everanimate_core.driving.engines.engine import FrameByFrame
from everanimate_core.driving.engines.found import Found
from everanimate_core.driving.prepare import prepare
from everanimate_core.driving.settings import Settings
from peak_memory import peak_memory

WIDTH, HEIGHT, WINDOW = 320, 192, 50


class Wall:
    fps = Fraction(30)

    def __init__(self, count):
        self.frame_count = count

    def read(self, indices):
        return torch.full((len(indices), HEIGHT, WIDTH, 3), 0.5)


class Engine(FrameByFrame):
    name, digest, state = "still", "0123456789abcdef", np.zeros(0)

    def find(self, frame):
        return [Found(standing(150.0, x, 20.0), np.full(133, 0.9), frame[..., 0] > 0) for x in (100.0, 220.0)]


def peak(count):
    settings = Settings(mode=sys.argv[3], width=64, height=48)
    made = prepare(Wall(count), Engine(), settings, Path(sys.argv[2]) / str(count))
    assert made.report["frames"] == count and made.report["people"] == 2
    return peak_memory()


found_store.WINDOW_BYTES = WINDOW * 12 * WIDTH * HEIGHT
print(json.dumps([peak(300), peak(1000)]))
"""


@linux_only
@pytest.mark.parametrize("mode", ["animation", "replacement"])
def test_memory_does_not_grow_from_300_to_1000_frames(tmp_path, mode):
    command = [sys.executable, "-c", PREPARE, str(Path(__file__).resolve().parents[1]), str(tmp_path), mode]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    few, many = json.loads(found.stdout)
    # Of each frame only keypoints stay in memory: about 10 KB, with the copies that their filters make.
    assert many - few < 25  # MB
