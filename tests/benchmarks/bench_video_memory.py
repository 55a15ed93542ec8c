"""What remembering a growing animation costs, on a tiny Video-XL: all frames read anew for each window, and read once.

    python tests/benchmarks/bench_video_memory.py [--frames 100 300 650] [--window 64] [--most 650]

The frames come in windows of the animation, and after each window all so far are remembered. Printed for each length:
tokens of frames that were read (the local memory's among them), seconds, MiB of what is held from one window to the
next, and MiB of the crops that a run keeps. `full size`: MiB that Video-XL's own sizes make of what is held, in bf16.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from video_model_parts import video_model

from everanimate_core.longanimation.prompt import PREFIX
from everanimate_core.longanimation.settings import MemorySettings
from everanimate_core.longanimation.video_memory import MemoryOfVideo

MIB = 2**20
# Video-XL's: layers, width of the keys, beacons of a frame.
LAYERS, KV_WIDTH, BEACONS = 28, 512, 18


def run(memory, crops, window, keeps):
    """Tokens that were read, seconds, and what is held at the end. keeps: whether that is handed on."""
    held, seen = None, []
    hook = memory.model.vision.register_forward_hook(lambda _, __, features: seen.append(features.shape[:2].numel()))
    begin = time.perf_counter()
    for end in range(window, len(crops) + window, window):
        _, held = memory.remember(crops[:end], held if keeps else None)
    spent = time.perf_counter() - begin
    hook.remove()
    return sum(seen), spent, held


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 300, 650])
    parser.add_argument("--window", type=int, default=64, help="new frames of a window of the animation")
    parser.add_argument("--most", type=int, default=650, help="frames of the global memory")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = video_model()
    pictures = torch.rand(max(options.frames), 32, 32, 3, generator=torch.Generator().manual_seed(0))
    crops = model.crops(pictures)
    print("| frames | way | tokens read | seconds | MiB held | full size | MiB of crops |")
    print("|---|---|---|---|---|---|---|")
    for count in options.frames:
        for way, keeps in (("anew", False), ("append", True)):
            memory = MemoryOfVideo(model, MemorySettings(memory_frames=options.most, memory_append=True))
            tokens, spent, held = run(memory, crops[:count], options.window, keeps)
            own = held.past.numel() * held.past.element_size() / MIB if keeps else 0
            places = len(PREFIX) + min(held.frames, options.most) * BEACONS
            full = 2 * LAYERS * places * KV_WIDTH * 2 / MIB if keeps else 0
            kept = crops[:count].numel() / MIB
            print(f"| {count} | {way} | {tokens} | {spent:.2f} | {own:.2f} | {full:.0f} | {kept:.2f} |", flush=True)


if __name__ == "__main__":
    main()
