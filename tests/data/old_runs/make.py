"""Writes the run folders of 0.1.0 that later versions must go on with. They were written at commit fd0b004 by

    PYTHONPATH=tests:. python tests/data/old_runs/make.py core cli
    COMFYUI_PATH=... python -m pytest tests/data/old_runs/make_host.py    (with ComfyUI's interpreter)

and must never be written again: they are what that version left on its users' disks.
"""

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from everanimate_core.fingerprint import digest, weights_digest
from everanimate_core.memory import build_memory
from everanimate_core.propagation import Drivers
from everanimate_core.run import Job, run
from everanimate_core.run_store import RunStore
from everanimate_core.toy.vae import ToyCodec
from exact_parts import ExactCodec, exact_pictures, exact_sampler

from everanimate_core import cli
from everanimate_core.plan import ChunkPlan

HERE = Path(__file__).parent


class Frames:
    fps = None

    def __init__(self, frames):
        self.frames, self.frame_count = frames, len(frames)

    def read(self, indices):
        return self.frames[list(indices)]


class Stopped(Exception):
    pass


def seeded_network():
    """A tiny network, the same on every machine."""
    generator = torch.Generator().manual_seed(7)
    return {
        f"{name}.{part}": torch.randint(-99, 99, shape, generator=generator) / 128
        for name in ("blocks.0.q", "blocks.0.k", "head")
        for part, shape in (("weight", (8, 8)), ("bias", (8,)))
    }


def write_video(path, frames, fps=25):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=Fraction(fps))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        for frame in (frames * 255).round().to(torch.uint8).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def core():
    """A run of six chunks that was stopped after it had sampled the fifth (index 4), before that was decoded."""
    folder = HERE / "core"
    folder.mkdir()
    job = Job(
        ChunkPlan(32, 9, 4),
        build_memory(exact_pictures(1), ExactCodec()),
        Drivers(pose=Frames(exact_pictures(60, seed=1))),
        settings={"network": weights_digest(seeded_network().items()), "sigmas": [1.0, 0.5, 0.0]},
        prompts=[digest("")],
        fps=Fraction(24000, 1001),
    )

    class Stopping(ExactCodec):
        decoded = 0

        def decode(self, latents):
            self.decoded += 1
            if self.decoded == 5:
                raise Stopped
            return super().decode(latents)

    try:
        run(job, RunStore(folder / "dance"), exact_sampler, Stopping(), folder / "dance.mp4")
    except Stopped:
        return


def command_line():
    """A finished run of the toy by `everanimate animate`, with a face, at 25 fps."""
    folder = HERE / "cli"
    folder.mkdir()
    write_video(folder / "pose.mov", exact_pictures(20, seed=1))
    write_video(folder / "reference.mov", exact_pictures(1))
    ToyCodec.encode = lambda self, frames: ExactCodec().encode(frames)
    arguments = ["animate", "--reference", folder / "reference.mov", "--pose", folder / "pose.mov"]
    arguments += ["--out", folder / "dance.mp4", "--width", 32, "--height", 16]
    arguments += ["--chunk-frames", 9, "--overlap", 4, "--steps", 2]
    if cli.main([str(part) for part in arguments]):
        raise SystemExit("the run failed")


for what in sys.argv[1:]:
    {"core": core, "cli": command_line}[what]()
