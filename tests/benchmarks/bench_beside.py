"""How much of what is not sampling is hidden behind it: a run in line, the same run beside, and what can be reached.

    python tests/benchmarks/bench_beside.py [--chunks 12] [--repeat 1]

The sampler is a stand-in: it waits so many seconds a step and leaves the processor idle, as a GPU does, and then gives
latents that depend on all that it was told. Everything else is real: a pose and a face video are read with PyAV and
fitted, the toy's VAE encodes and decodes, H.264 is written, files are flushed to the disk. Runs in line and beside
take turns; medians are printed. A run that makes other latents or another video ends the benchmark.
"""

import argparse
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from statistics import median

import torch

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.method import ever_animate
from everanimate_core.everanimate.settings import CLIP_SOURCES, Settings
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.noise import draw_noise
from everanimate_core.runs.job import make_job
from everanimate_core.runs.progress import Making
from everanimate_core.runs.run import run
from everanimate_core.runs.settings import ALL_BESIDE, NOTHING_BESIDE, RunSettings
from everanimate_core.runs.store import RunStore
from everanimate_core.runs.videos import NewestVideo
from everanimate_core.toy.network.vae import ToyCodec, load_vae

WIDTH, HEIGHT, FRAMES, OVERLAP = 320, 176, 17, 4
# Sizes of the driving videos on disk.
POSE, FACE = (480, 272), (256, 256)
FPS = Fraction(25)
# Seconds that a step of the stand-in waits, by how many there are: sampling takes less than the rest, and more.
STEPS = {1: 0.8, 20: 0.1}
LEGEND = """\
in line: sampling + the rest. bound: the larger of the two; with last_frame decoding stays in line, and is added to the
larger of sampling and what is left. hidden: (in line - beside) / (in line - bound), all where beside is no longer than
the bound: it may be shorter, as two threads also share what is not sampling. All runs made the same latents and videos,
byte for byte."""


@dataclass
class Timed:
    """The toy's VAE, with the seconds that decoding took."""

    codec: ToyCodec = field(default_factory=lambda: ToyCodec(load_vae()))
    decoding: float = 0.0

    def encode(self, frames):
        return self.codec.encode(frames)

    def decode(self, latents):
        started = time.perf_counter()
        frames = self.codec.decode(latents)
        self.decoding += time.perf_counter() - started
        return frames


@dataclass
class Waiting:
    """A sample_chunk that waits; the host of a run, which catches up between the steps."""

    steps: int
    seconds: float
    sampling: float = 0.0
    making: Making | None = None

    def on_making(self, making):
        self.making = making

    def __call__(self, request, seed):
        started = time.perf_counter()
        for _ in range(self.steps):
            time.sleep(self.seconds)
            self.making.catch_up()
        self.sampling += time.perf_counter() - started
        y = request.context.y
        latents = 0.5 * draw_noise(request.latents_shape, seed) + 0.5 * y + request.clip_image.mean()
        return latents[:, :, request.anchors :] + 0.1 * request.pose_latents + request.face_pixels.mean()


@dataclass(frozen=True)
class Measured:
    """Seconds of a run: all of it, sampling, decoding; and what it made."""

    whole: float
    sampling: float
    decoding: float
    made: tuple


def write_driving(folder, frames):
    """Pictures that move, in two files."""
    paths = []
    for name, (width, height) in (("pose", POSE), ("face", FACE)):
        rows, columns = torch.arange(height).view(-1, 1, 1) / height, torch.arange(width).view(1, -1, 1) / width
        paths.append(folder / f"{name}.mp4")
        with VideoWriter(paths[-1], FPS, width, height) as video:
            for number in range(frames):
                phase = torch.tensor([0.0, 2.1, 4.2]) + number / 9
                video.write((0.5 + 0.5 * torch.sin(12 * rows + 9 * columns + phase))[None])
    return paths


def measured(folder, driving, clip_source, steps, seconds, beside):
    """One run in a new folder."""
    codec, sample = Timed(), Waiting(steps, seconds)
    settings = Settings(chunk_frames=FRAMES, overlap=OVERLAP, steps=steps, clip_source=clip_source)
    asked = RunSettings(width=WIDTH, height=HEIGHT, beside=beside)
    with ExitStack() as files:
        pose, face = (files.enter_context(VideoFrames(path)) for path in driving)
        reference = pose.read([0])
        method = ever_animate(reference, codec, Drivers(pose, face), settings, WIDTH, HEIGHT)
        job, store = make_job(method, asked, {"network": "a stand-in"}, [""]), RunStore(folder / "dance")
        out = NewestVideo(folder / "dance.mp4", store.folder)
        codec.decoding, started = 0.0, time.perf_counter()
        run(job, store, sample, codec, out, asked, on_making=sample.on_making)
        whole = time.perf_counter() - started
    chunks = sorted(store.folder.glob("chunks/*.safetensors")), sorted(store.folder.glob("chunks/*.mp4"))
    made = tuple((path.name, path.read_bytes()) for paths in chunks for path in paths)
    return Measured(whole, sample.sampling, codec.decoding, (*made, (folder / "dance.mp4").read_bytes()))


def compared(driving, clip_source, steps, seconds, repeat):
    """The medians of runs that take turns: in line and beside."""
    found = {NOTHING_BESIDE: [], ALL_BESIDE: []}
    for _ in range(repeat):
        for beside, runs in found.items():
            with tempfile.TemporaryDirectory() as folder:
                runs.append(measured(Path(folder), driving, clip_source, steps, seconds, beside))
    first = found[NOTHING_BESIDE][0]
    if any(other.made != first.made for runs in found.values() for other in runs):
        raise SystemExit("the runs differ")
    return found[NOTHING_BESIDE], found[ALL_BESIDE]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--chunks", type=int, default=12)
    options.add_argument("--repeat", type=int, default=1)
    options = options.parse_args()
    torch.set_num_threads(1)
    print(__doc__.split("\n\n")[2].replace("\n", " "))
    waits = ", ".join(f"{seconds} s a step where there are {steps}" for steps, seconds in STEPS.items())
    print(f"{options.chunks} chunks of {FRAMES} frames, {WIDTH}x{HEIGHT}; {waits}. Seconds of a run:\n")
    print("| clip_source | steps | sampling | the rest | in line | beside | bound | hidden |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        driving = write_driving(Path(folder), FRAMES + (options.chunks - 1) * (FRAMES - OVERLAP))
        for clip_source in CLIP_SOURCES:
            for steps, seconds in STEPS.items():
                in_line, beside = compared(driving, clip_source, steps, seconds, options.repeat)
                whole, other = median(one.whole for one in in_line), median(one.whole for one in beside)
                sampling = median(one.sampling for one in in_line)
                rest = whole - sampling
                # Where the next chunk looks at the last frame, it waits for the decoding.
                waited = median(one.decoding for one in in_line) if clip_source == "last_frame" else 0.0
                bound = waited + max(sampling, rest - waited)
                hidden = whole - other
                share = "all" if hidden >= whole - bound else f"{100 * hidden / (whole - bound):.0f} %"
                numbers = " | ".join(f"{value:.1f}" for value in (sampling, rest, whole, other, bound))
                print(f"| {clip_source} | {steps} | {numbers} | {share} |", flush=True)
    print(f"\n{LEGEND}")


if __name__ == "__main__":
    main()
