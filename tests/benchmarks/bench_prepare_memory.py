"""Peak memory of everanimate_core.driving.prepare for drivers of 832x480 of several lengths, without networks.

For Linux.

    python tests/benchmarks/bench_prepare_memory.py [--frames 300 1000 3000]

Mode replacement, which writes four videos. The drivers are videos from a file. A person who stands is found in every
frame by a stand-in for an engine, with a mask, so that the memory is that of prepare alone. Prints for each length the
largest memory that a process of its own has had, and its CPU seconds.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[2])]
from driving.bodies import standing  # noqa: E402
from peak_memory import peak_memory  # noqa: E402

from everanimate_core.driving.engines.engine import FrameByFrame  # noqa: E402
from everanimate_core.driving.engines.found import Found  # noqa: E402
from everanimate_core.driving.prepare import prepare  # noqa: E402
from everanimate_core.driving.settings import Settings  # noqa: E402
from everanimate_core.media.reader import VideoFrames  # noqa: E402
from everanimate_core.media.writer import VideoWriter  # noqa: E402

WIDTH, HEIGHT, FPS = 832, 480, Fraction(30)
BODY = standing(tall=400.0, middle=416.0, crown=40.0)


class Stander(FrameByFrame):
    """Finds somebody in the middle of every frame; their mask is the box of their body."""

    name, digest, state = "stander", "0123456789abcdef", np.zeros(0)

    def find(self, frame):
        mask = np.zeros(frame.shape[:2], dtype=bool)
        (left, top), (right, bottom) = BODY.min(axis=0).astype(int), BODY.max(axis=0).astype(int)
        mask[top:bottom, left:right] = True
        return [Found(BODY, np.full(len(BODY), 0.9), mask)]


def write_driver(path, frames):
    """A video of coloured noise, as coarse as real footage is, which moves to the right."""
    noise = torch.rand(1, 3, HEIGHT // 16, WIDTH // 16, generator=torch.Generator().manual_seed(0))
    picture = torch.nn.functional.interpolate(noise, (HEIGHT, WIDTH), mode="bicubic").permute(0, 2, 3, 1)
    picture = (picture.clamp(0, 1) * 255).byte()
    with VideoWriter(path, FPS, WIDTH, HEIGHT) as video:
        for number in range(frames):
            video.write(picture.roll(2 * number, dims=2))


def measure(path, out):
    """Prepare a driver in this process; print its peak memory and its seconds."""
    with VideoFrames(path) as video:
        made = prepare(video, Stander(), Settings(mode="replacement"), out)
        assert made.report["frames"] == video.frame_count and made.report["shares"]["body"] == 1
    print(f"{made.report['frames']} frames: {peak_memory():.1f} MiB, {time.process_time():.0f} CPU seconds", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 1000, 3000])
    parser.add_argument("--driver", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.driver:
        measure(options.driver, options.driver.with_suffix(".driving"))
        return
    for frames in options.frames:
        with tempfile.TemporaryDirectory() as folder:
            driver = Path(folder) / "driver.mp4"
            write_driver(driver, frames)
            subprocess.run([sys.executable, str(HERE), "--driver", str(driver)], check=True)


if __name__ == "__main__":
    main()
