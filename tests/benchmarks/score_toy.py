"""How good the embedded toy is on worlds that no training has seen.

    python tests/benchmarks/score_toy.py [--worlds 20]

PSNR in dB of the codec and of the first chunk against the truth; the joint-region error of the first chunk against what
the figure would look like in another world's pose, over that against the truth (mean squared errors).
"""

import argparse
from statistics import mean

import torch

from everanimate_core.toy.learning.scores import first_chunk_psnr, joint_errors
from everanimate_core.toy.learning.train_vae import psnr
from everanimate_core.toy.network.engine import load_toy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, seeds = load_toy(), range(options.worlds)
    for name, values in (
        ("codec", [psnr(model.codec.vae, seed) for seed in seeds]),
        ("first chunk", [first_chunk_psnr(model, seed) for seed in seeds]),
    ):
        print(f"{name}: PSNR {mean(values):.2f} dB on average, {min(values):.2f} at least")
    errors = [joint_errors(model, seed, seed + 500) for seed in seeds]
    ratio = sum(foreign for _, foreign in errors) / sum(own for own, _ in errors)
    clear = sum(foreign > 3 * own for own, foreign in errors)
    print(f"joint-region error: {ratio:.2f} times as large against another pose, above 3 in {clear} worlds")


if __name__ == "__main__":
    main()
