"""Explicit restoration against a tint that persists, on the toy.

    python tests/benchmarks/bench_restoration.py [--worlds 4] [--strengths 1 2 4] [--schedules gaussian fixed exact]

One channel of chunk 2's latents is offset by one standard deviation before they are handed over, in a run where that
stays: latent carry, identity taken again from every last chunk. Measured over the 10 chunks that follow: `drift`, the
mean distance of the channel means from those of chunk 0, less that of the same run without tint; the share of it that
is left with restoration; the joint-region error (mean squared) against that without restoration. Beside them, without
any tint: PSNR in dB over all chunks of the default run (fixed identity), with restoration less without.
"""

import argparse
from dataclasses import replace
from statistics import mean

import torch

from everanimate_core.everanimate.context import METHOD
from everanimate_core.latents import channel_drift
from everanimate_core.toy.learning.films import STRIDE
from everanimate_core.toy.learning.scores import joint_region, psnr
from everanimate_core.toy.network.engine import load_toy, roll_out
from everanimate_core.toy.network.state import GEOMETRY, SETTINGS
from everanimate_core.toy.world.world import World

TINTED, FOLLOWING, CHANNEL = 2, 10, 0
CHUNKS = TINTED + 1 + FOLLOWING
RETAKEN = replace(METHOD, identity="last_chunk")
FIRST_SEED = 200


class Tinted:
    """The toy, but for one channel of one chunk."""

    def __init__(self, model):
        self.model, self.codec = model, model.codec

    def sample_chunk(self, request, noise_seed, *, sigmas):
        """The chunk's latents, tinted where it is its turn."""
        latents = self.model.sample_chunk(request, noise_seed, sigmas=sigmas)
        if request.index == TINTED:
            latents[:, CHANNEL] += latents[:, CHANNEL].std()
        return latents


def run(model, seed, policy, settings):
    """Mean drift and joint-region error of the chunks after the tinted one, and the PSNR of all."""
    world, frames = World(seed), GEOMETRY.frames + (CHUNKS - 1) * STRIDE
    chunks = list(roll_out(model, world, frames, settings, policy))
    drift = mean(channel_drift(chunk.latents, chunk.memory.statistics) for chunk in chunks[TINTED + 1 :])
    made, truth = torch.cat([chunk.frames for chunk in chunks]), world.frames(range(frames))
    after = range(GEOMETRY.frames + TINTED * STRIDE, frames)
    error = (made[after.start :] - truth[after.start :])[joint_region(world, after)].square().mean().item()
    return drift, error, psnr(made, truth)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--strengths", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--schedules", nargs="+", default=["gaussian", "fixed", "exact"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    toy, seeds = load_toy(), range(FIRST_SEED, FIRST_SEED + options.worlds)

    def measured(model, policy, settings=SETTINGS):
        return [mean(column) for column in zip(*(run(model, s, policy, settings) for s in seeds), strict=True)]

    floor = measured(toy, RETAKEN)[0]
    tinted, error, _ = measured(Tinted(toy), RETAKEN)
    default, clean = measured(Tinted(toy), METHOD), measured(toy, METHOD)
    print(f"drift of the run without tint {floor:.4f}, with tint {tinted:.4f}, joint-region error {error:.5f}")
    print(f"default run (fixed identity): drift {clean[0]:.4f}, with tint {default[0]:.4f}, PSNR {clean[2]:.2f}")
    print("| schedule | strength | drift | share of the added drift left | joint error | clean PSNR |")
    print("|---" * 6 + "|")
    for schedule in options.schedules:
        for strength in options.strengths:
            settings = replace(SETTINGS, restore_strength=strength, restore_schedule=schedule)
            drift, joints, _ = measured(Tinted(toy), RETAKEN, settings)
            change = measured(toy, METHOD, settings)[2] - clean[2]
            share = (drift - floor) / (tinted - floor)
            row = (schedule, f"{strength:g}", f"{drift:.4f}", f"{share:.2f}", f"{joints / error - 1:+.1%}")
            print(f"| {' | '.join(row)} | {change:+.2f} dB |", flush=True)


if __name__ == "__main__":
    main()
