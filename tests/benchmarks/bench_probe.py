"""A direct probe of Restorative Flow Matching, on the toy: does the network lead a drifted state back?

    python tests/benchmarks/bench_probe.py [--clips 64] [--noises 3] [--perturbation released] [--rows PLAIN OTHER ...]

The second chunk of an unseen world is perturbed as in training, encoded, mixed with noise up to sigma, and sampled from
there; the memory is that of the true first chunk. First table: PSNR of the result against the true chunk for the row of
`everanimate ablate` that plain flow matching trained, and what the others, trained as long by the restorative loss,
have more; ± is the standard error over the clips. Beside it the same from states of the clean clip, where restoring
should cost nothing.

Second table: the share of the drift that the clean estimate keeps at the first step, (x0~ - x0) d / d d over all clips,
for states of the perturbed and of the clean clip with the same noise, d the difference of the clips. The bounded target
(Eq. 10) asks for (1 - sigma) (1 - w sigma), the exact one for 0.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import torch

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.flow import clean_estimate, draw_noise, interpolate, shifted
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.everanimate.perturbation import RECIPES, apply, draw
from everanimate_core.everanimate.propagation import ChunkRequest, hand_over, request_chunk
from everanimate_core.everanimate.restoration import restoration_weight
from everanimate_core.everanimate.sampling import euler
from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.learning.films import STRIDE
from everanimate_core.toy.learning.scores import psnr
from everanimate_core.toy.network.engine import WorldFrames
from everanimate_core.toy.network.state import GEOMETRY, SETTINGS
from everanimate_core.toy.world.world import World

SIGMAS = (0.9, 0.8, 0.7, 0.6, 0.5)
SHIFT = 5.0
FIRST_SEED = 300
SIZE = 64
PLAIN_AND_OTHERS = ("even stage 1, as long as stage 2", "even stage 2", "even stage 2, exact target")


@dataclass(frozen=True)
class Clip:
    """What is asked of the network, the true frames [33, 64, 64, 3], and where it starts from: latents of the anchors
    with the clean and with the perturbed clip behind them, [1, 16, N + T, 8, 8]."""

    request: ChunkRequest
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
    perturbed = apply(draw(recipe, SIZE, SIZE, torch.Generator().manual_seed(seed)), truth)
    starts = [torch.cat([memory.identity, codec.encode(frames)], dim=2) for frames in (perturbed, truth)]
    return Clip(request_chunk(drivers.chunk(plan, 1), memory, codec, SETTINGS), truth, *starts)


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
def kept(model, clip, sigma):
    """(x0~ - x0) d, and d d."""
    velocity, level = model.velocity(clip.request), torch.tensor(sigma)
    drifted, clean = (
        clean_estimate(x, velocity(x, level), level)[:, :, clip.request.anchors :]
        for x in (clip.state(start, sigma, 0) for start in (clip.perturbed, clip.clean))
    )
    drift = (clip.perturbed - clip.clean)[:, :, clip.request.anchors :]
    return ((drifted - clean) * drift).sum(), drift.square().sum()


def print_row(*cells):
    print(f"| {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--noises", type=int, default=3)
    parser.add_argument("--perturbation", choices=RECIPES, default=RECIPES[0])
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
    print()
    print_row("sigma", "bounded target", *names)
    print_row(*["---"] * (2 + len(names)))
    for sigma in SIGMAS:
        asked = (1 - sigma) * (1 - sigma * restoration_weight(torch.tensor(sigma)).item())
        sums = [torch.tensor([kept(model, clip, sigma) for clip in clips]).sum(dim=0) for model in models]
        print_row(f"{sigma:g}", f"{asked:.3f}", *(f"{along / whole:.3f}" for along, whole in sums))


if __name__ == "__main__":
    main()
