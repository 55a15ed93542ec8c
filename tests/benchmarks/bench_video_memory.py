"""What one more window costs when so many frames are to be remembered, on a tiny Video-XL, in three ways.

    python tests/benchmarks/bench_video_memory.py [--frames 100 300 650 1300] [--window 50] [--most 650]

    all anew     every frame is read again for each window, as the released script does it
    choosing     what was read is held in memory until there are more than --most frames; the default
    appending    each frame is read once, and the oldest are forgotten; memory_append

Printed for the window that follows after so many frames: tokens of frames that are read for it (the local memory's
among them), seconds, and MiB that a run hands on of the memory. `at full size`: MiB that Video-XL's own sizes make of
it, with keys and values in bf16 and pictures of 336 pixels.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from video_model_parts import video_model

from everanimate_core.longanimation.prompt import PREFIX
from everanimate_core.longanimation.remembering import Appending, Choosing
from everanimate_core.longanimation.settings import MemorySettings
from everanimate_core.longanimation.video_memory import MemoryOfVideo

MIB = 2**20
# Video-XL's: layers, width of the keys, beacons of a frame, side of a picture.
LAYERS, KV_WIDTH, BEACONS, SIDE = 28, 512, 18, 336


class AllAnew(Choosing):
    """Nothing is held."""

    def memory(self, state):
        self.held = None
        return super().memory(state)


WAYS = {"all anew": AllAnew, "choosing": Choosing, "appending": Appending}


def one_window(way, count, window):
    """Tokens and seconds of the window behind so many frames, and the state that it is handed."""
    state, seen, side = {}, [], way.side
    hook = way.of.model.vision.register_forward_hook(lambda _, __, features: seen.append(features.shape[:2].numel()))
    generator = torch.Generator().manual_seed(0)
    for start in range(0, count, window):
        seen.clear()
        begin = time.perf_counter()
        frames = torch.rand(min(window, count - start), side, side, 3, generator=generator)
        state = dict(way.after(state, frames))
        way.memory(state)
        spent = time.perf_counter() - begin
    hook.remove()
    return sum(seen), spent, state


def at_full_size(state):
    """MiB."""
    pictures = state["seen"].shape[0] * 3 * SIDE**2
    held = (state["past"].shape[2] - len(PREFIX)) // 2 * BEACONS + len(PREFIX) if "past" in state else 0
    return (pictures + 2 * LAYERS * held * KV_WIDTH * 2) / MIB


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 300, 650, 1300])
    parser.add_argument("--window", type=int, default=50, help="new frames of a window of the animation")
    parser.add_argument("--most", type=int, default=650, help="frames of the global memory")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = video_model()
    print("| frames so far | way | tokens read | seconds | MiB handed on | at full size |")
    print("|---|---|---|---|---|---|")
    for count in options.frames:
        for name, kind in WAYS.items():
            settings = MemorySettings(memory_frames=options.most, memory_append=kind is Appending)
            tokens, spent, state = one_window(kind(MemoryOfVideo(model, settings)), count, options.window)
            own = sum(value.numel() * value.element_size() for value in state.values()) / MIB
            print(f"| {count} | {name} | {tokens} | {spent:.2f} | {own:.2f} | {at_full_size(state):.0f} |", flush=True)


if __name__ == "__main__":
    main()
