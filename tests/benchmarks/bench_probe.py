"""A direct probe of Restorative Flow Matching, on the toy: does the network lead a drifted state back?

    python tests/benchmarks/bench_probe.py --weights DIR [--clips 64] [--noises 3] [--perturbation light]
        [--rows PLAIN OTHER ...]

DIR holds the networks of `everanimate train-toy` that are not shipped.

The second chunk of an unseen world is perturbed as in training, encoded, mixed with noise up to sigma, and sampled from
there; the memory is that of the true first chunk. First table: PSNR of the result against the true chunk for the row of
`everanimate ablate` that plain flow matching trained, and what the others, trained as long by the restorative loss,
have more; ± is the standard error over the clips. Beside it the same from states of the clean clip, where restoring
should cost nothing.

Second table: the share of the drift that the clean estimate keeps at the first step, (x0~ - x0) d / d d over all clips,
for states of the perturbed and of the clean clip with the same noise, d the difference of the clips. The bounded target
(Eq. 10) asks for (1 - sigma) (1 - w sigma), the exact one for 0.

Third table: the same share where the state is clean, and the motion memory has the drift.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import clean_estimate, interpolate, shifted
from everanimate_core.everanimate.memory import build_memory, motion_memory
from everanimate_core.everanimate.perturbation import RECIPES, apply, draw
from everanimate_core.everanimate.propagation import ChunkRequest, hand_over, request_chunk
from everanimate_core.everanimate.restoration import restoration_weight
from everanimate_core.everanimate.sampling import euler
from everanimate_core.noise import draw_noise
from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.learning.films import STRIDE
from everanimate_core.toy.learning.scores import psnr
from everanimate_core.toy.network.engine import WorldFrames
from everanimate_core.toy.network.state import GEOMETRY, SETTINGS
from everanimate_core.toy.world.world import World

SIGMAS = (0.9, 0.8, 0.7, 0.6, 0.5)
# Where sampling begins: pure noise.
FIRST_STEP = 1.0
SHIFT = 5.0
FIRST_SEED = 300
SIZE = 64
PLAIN_AND_OTHERS = ("memory_longer", "memory_rfm_light", "memory_exact_light", "memory_motion", "full")


@dataclass(frozen=True)
class Clip:
    """What is asked of the network, the same from a perturbed motion memory, the true frames [33, 64, 64, 3], and where
    it starts from: latents of the anchors with the clean and with the perturbed clip behind them, [1, 16, N + T, 8, 8].
    """

    request: ChunkRequest
    misled: ChunkRequest
    truth: torch.Tensor
    perturbed: torch.Tensor
    clean: torch.Tensor

    def state(self, start, sigma, seed):
        """The latents `start` at noise level sigma."""
        return interpolate(start, draw_noise(self.request.latents_shape, seed), sigma)


@torch.no_grad()
def make_clip(seed, codec, recipe):
    """The second chunk of the world of that seed."""
    world = World(seed)
    plan = SETTINGS.plan(GEOMETRY.frames + STRIDE)
    drivers = Drivers(pose=WorldFrames(world.pose, plan.total_frames))
    memory = build_memory(world.reference()[None], codec, GEOMETRY.anchors, GEOMETRY.motion)
    first = codec.encode(world.frames(range(GEOMETRY.frames)))
    memory = hand_over(drivers.chunk(plan, 0), memory, first, codec, replace(SETTINGS, seed=seed)).memory
    truth = world.frames(range(STRIDE, STRIDE + GEOMETRY.frames))
    drift = draw(recipe, SIZE, SIZE, torch.Generator().manual_seed(seed))
    starts = [torch.cat([memory.identity, codec.encode(frames)], dim=2) for frames in (apply(drift, truth), truth)]
    before = codec.encode(apply(drift, world.frames(range(GEOMETRY.frames))))
    misled = replace(memory, motion=motion_memory(before, GEOMETRY.motion))
    requests = [request_chunk(drivers.chunk(plan, 1), each, codec, SETTINGS) for each in (memory, misled)]
    return Clip(*requests, truth, *starts)


def levels(sigma):
    """From sigma to 0 in as many steps as the toy takes, spaced like the released levels."""
    u = sigma / (SHIFT - (SHIFT - 1) * sigma)
    return shifted(torch.linspace(u, 0, SETTINGS.steps + 1), SHIFT)


@torch.no_grad()
def score(model, clip, start, sigma, noises):
    """PSNR in dB, the mean over the noises."""
    velocity, values = model.velocity(clip.request), []
    for seed in range(noises):
        latents = euler(velocity, clip.state(start, sigma, seed), levels(sigma))[:, :, clip.request.anchors :]
        values.append(psnr(model.codec.decode(latents), clip.truth))
    return mean(values)


@torch.no_grad()
def kept(model, clip, sigma, by_memory):
    """(x0~ - x0) d, and d d. by_memory: the drift is in the motion memory, else in the state."""
    level = torch.tensor(sigma)

    def estimate(request, start):
        x = clip.state(start, sigma, 0)
        return clean_estimate(x, model.velocity(request)(x, level), level)[:, :, request.anchors :]

    clean = estimate(clip.request, clip.clean)
    drifted = estimate(clip.misled, clip.clean) if by_memory else estimate(clip.request, clip.perturbed)
    drift = (clip.perturbed - clip.clean)[:, :, clip.request.anchors :]
    return ((drifted - clean) * drift).sum(), drift.square().sum()


def print_row(*cells):
    print(f"| {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--noises", type=int, default=3)
    parser.add_argument("--perturbation", choices=RECIPES, default="light")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", default=PLAIN_AND_OTHERS)
    parser.add_argument("--weights", type=Path, help="networks of `everanimate train-toy`, beside those shipped")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.rows
    models = [ROWS[name].load(options.weights) for name in names]
    seeds = range(FIRST_SEED, FIRST_SEED + options.clips)
    clips = [make_clip(seed, models[0].codec, options.perturbation) for seed in seeds]
    print_row("sigma", "start", f"{names[0]} (dB)", *(f"{name}, gain (dB)" for name in names[1:]))
    print_row(*["---"] * (2 + len(names)))
    for sigma in SIGMAS:
        for start in ("perturbed", "clean"):
            plain, *others = (
                [score(model, clip, getattr(clip, start), sigma, options.noises) for clip in clips] for model in models
            )
            gains = [[b - a for a, b in zip(plain, other, strict=True)] for other in others]
            cells = [f"{mean(gain):+.3f} ± {stdev(gain) / len(gain) ** 0.5:.3f}" for gain in gains]
            print_row(f"{sigma:g}", start, f"{mean(plain):.2f}", *cells)
    for by_memory in (False, True):
        print()
        print_row("sigma", *([] if by_memory else ["bounded target"]), *names)
        print_row(*["---"] * (1 + (not by_memory) + len(names)))
        for sigma in (FIRST_STEP, *SIGMAS) if by_memory else SIGMAS:
            asked = (1 - sigma) * (1 - sigma * restoration_weight(torch.tensor(sigma)).item())
            sums = [
                torch.tensor([kept(model, clip, sigma, by_memory) for clip in clips]).sum(dim=0) for model in models
            ]
            shares = [f"{along / whole:.3f}" for along, whole in sums]
            print_row(f"{sigma:g}", *([] if by_memory else [f"{asked:.3f}"]), *shares)


if __name__ == "__main__":
    main()
