"""Time of a step of stage 2 against stage 1, on the toy, the same batch: what perturbing and encoding anew costs.

    python tests/benchmarks/bench_stages.py --data SET [--steps 40] [--batch 8] [--rank 32]

SET: a training set that `everanimate train precompute --data toy --films 256 --model toy` made. Steps of the
two stages take turns, so that both meet the same company on a busy machine; medians are printed, and how much of them
goes into the samples.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, median

import torch

from everanimate_core.cli.toy_training import toy_parts
from everanimate_core.toy.network.state import MEMORY_WEIGHTS
from everanimate_core.training.network import Network, batch_loss
from everanimate_core.training.recipe import Recipe
from everanimate_core.training.records import FilmSet
from everanimate_core.training.samples import choose, join, make_sample


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--rank", type=int, default=32)
    options = options.parse_args()
    torch.set_num_threads(1)
    films, parts = FilmSet.open(options.data), toy_parts(MEMORY_WEIGHTS)
    network = Network(parts.network("cpu", torch.float32), films.settings.geometry.anchors, options.rank, 0)
    optimiser = torch.optim.AdamW(network.trained().values(), lr=1e-4)
    codec = parts.codec()
    spent = {1: [], 2: []}
    making = {1: [], 2: []}
    for step in range(options.steps):
        for stage in (1, 2):
            recipe = Recipe(stage, batch=options.batch)
            begin = time.perf_counter()
            numbers = range(step * options.batch, (step + 1) * options.batch)
            batch = join([make_sample(recipe, films, number, codec) for number in numbers])
            made = time.perf_counter()
            batch_loss(network, batch, "gaussian" if stage == 2 else "none").backward()
            optimiser.step()
            optimiser.zero_grad()
            spent[stage].append(time.perf_counter() - begin)
            making[stage].append(made - begin)
    draws = [choose(Recipe(2), films.settings, number) for number in range(options.steps * options.batch)]
    for stage in (1, 2):
        print(
            f"stage {stage}: {1000 * median(spent[stage]):.0f} ms a step, {1000 * median(making[stage]):.0f} ms samples"
        )
    print(f"ratio {median(spent[2]) / median(spent[1]):.3f}")
    print(
        f"perturbed {mean(draw.perturbation is not None for draw in draws):.2f} of the samples, "
        f"augmented {mean(draw.affine is not None for draw in draws):.2f}"
    )


if __name__ == "__main__":
    main()
