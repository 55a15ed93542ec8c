"""Memory of a training step: arithmetic against counted bytes of tiny networks, and what it says of the 14B network.

    python tests/benchmarks/bench_training_memory.py

The tiny networks are those of the tests. Of the 14B network there are sizes only; nothing of it is loaded.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tensor_bytes import TensorBytes
from tiny_steps import CASES, Learner

from everanimate_core.backends.wan_checkpoint import empty_transformer
from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.training.memory_need import Step, step_need

SIZES = {"832x480": (832, 480), "1280x720": (1280, 720)}
# What is asked of a card, and the options that ask it.
WAYS = {
    "float32, activations kept": {"half": False, "checkpointing": False},
    "bfloat16, activations kept": {"checkpointing": False},
    "as by default": {},
    "`--offload`": {"offload": True},
    "`--quantised int8`": {"quantised": True},
    "`--quantised int8 --offload`": {"quantised": True, "offload": True},
    "`8x80gb.yaml`": {"shards": 8},
    "`8x80gb.yaml`, `--offload`": {"shards": 8, "offload": True},
    "`1x24gb.yaml`, `--offload`": {"offload": True, "offload_weights": True},
}


def off(said, counted):
    return f"{100 * (said / counted - 1):+.1f} %"


def main():
    torch.set_num_threads(1)
    print("| tiny network | a step needs | counted | off by | saved, off by |\n|---|---|---|---|---|")
    for name, case in CASES.items():
        learner = Learner(*case)
        with TensorBytes(learner.held()) as counted:
            learner.take()
        said = learner.need.total + sum(learner.need.main.values())
        kept = "" if learner.step.offload else off(learner.need.device["activations"], learner.saved())
        sizes = f"{said / 1e6:.2f} MB | {counted.peak / 1e6:.2f} MB"
        print(f"| {name} | {sizes} | {off(said, counted.peak)} | {kept} |")

    outline = empty_transformer({"added_kv_proj_dim": 5120})
    for rank in (32, 128):
        print(f"\n| GB of a GPU, GB of main memory; rank {rank} | {' | '.join(SIZES)} |\n|---|---|---|")
        for way, options in WAYS.items():
            needs = [
                step_need(Step(outline, ChunkGeometry(), *size, rank=rank, encodes=True, **options))
                for size in SIZES.values()
            ]
            cells = [f"{need.total / 1e9:.1f}, {sum(need.main.values()) / 1e9:.0f}" for need in needs]
            print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
