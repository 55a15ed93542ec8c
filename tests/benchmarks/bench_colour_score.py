"""Whether the colour distance tells good windows from bad ones: candidates for windows of the colouring toy.

    python tests/benchmarks/bench_colour_score.py [--worlds 4] [--first-world 100] [--windows 3] [--candidates 4]

Each window is made so many times with other seeds; the one with the smallest colour distance goes on, as in a run.
Printed for each world and as a mean, each of all candidates, of the one with the smallest distance, and of the best
there was: how far the mean colour lies from the truth's (units of Lab), and PSNR against the truth (dB).
"""

import argparse
from dataclasses import replace
from statistics import mean

import torch

from everanimate_core.evaluation.frame_metrics import to_lab
from everanimate_core.longanimation.method import long_animation
from everanimate_core.runs.start import CANDIDATE_STEP
from everanimate_core.toy.learning.scores import psnr
from everanimate_core.toy.network.colour_dit import load_colour
from everanimate_core.toy.network.colour_state import SETTINGS
from everanimate_core.toy.network.engine import WorldFrames
from everanimate_core.toy.world.raster import SIZE
from everanimate_core.toy.world.world import World


def colour_shift(frames, truth):
    """How far the mean colours lie apart, in Lab."""
    means = [to_lab(shown).flatten(0, 2).mean(dim=0) for shown in (frames, truth)]
    return float((means[0] - means[1]).norm())


def candidates(model, method, truth, state, index, count):
    """(colour distance, colour shift, PSNR, what was sampled, frames) of each."""
    chunk = method.chunk(index)
    request = method.request(state, chunk, model.codec)
    shown = truth.read(list(method.plan.output_range(index)))
    for number in range(count):
        seed = method.noise_seed(index) + number * CANDIDATE_STEP
        sampled = model.sample_window(request, seed, settings=method.settings)
        frames = method.decode(state, sampled.latents, model.codec)
        own = frames[method.plan.kept(index)]
        yield (method.score(state, chunk, sampled, frames), colour_shift(own, shown), psnr(own, shown), sampled, frames)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--first-world", type=int, default=100)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, rows = load_colour(), []
    print("| world | shift: all | smallest distance | best | PSNR: all | smallest distance | best |")
    print("|---|---|---|---|---|---|---|")
    for number in range(options.first_world, options.first_world + options.worlds):
        world = World(number)
        total = SETTINGS.window_frames + (options.windows - 1) * SETTINGS.plan(1).stride
        method = long_animation(
            WorldFrames(world.lineart, total), world.reference()[None], replace(SETTINGS, seed=0), SIZE, SIZE
        )
        truth = WorldFrames(world.frames, total)
        state, found = method.start(), []
        for index in range(method.plan.chunk_count):
            made = list(candidates(model, method, truth, state, index, options.candidates))
            scores, shifts, values, *_ = zip(*made, strict=True)
            best = scores.index(min(scores))
            found.append((mean(shifts), shifts[best], min(shifts), mean(values), values[best], max(values)))
            *_, sampled, frames = made[best]
            state = method.hand_over(state, method.chunk(index), sampled, frames, model.codec)
        rows.append([mean(column) for column in zip(*found, strict=True)])
        print(f"| {number} | " + " | ".join(f"{value:.2f}" for value in rows[-1]) + " |", flush=True)
    print("| mean | " + " | ".join(f"{mean(column):.2f}" for column in zip(*rows, strict=True)) + " |")


if __name__ == "__main__":
    main()
