"""A picture of the toy at work, for MEASUREMENTS.md: unseen worlds, frames of the first seconds, the truth beneath.

    python tests/benchmarks/picture_toy.py OUT.jpg [--seeds 0 6 13 19]

Per world three rows: pose, animation, truth; the reference stands at the left.
"""

import argparse
from pathlib import Path

import cv2
import torch
from torch.nn.functional import interpolate

from everanimate_core.toy.network.engine import load_toy, roll_out
from everanimate_core.toy.world.world import World

FRAMES = (6, 14, 22, 30, 45, 60, 75, 90)
SCALE, GAP = 2, 6


def rows(model, seed):
    """[3 * 64 (+ gaps), width, 3] in 0..1 for one world."""
    world, count = World(seed), max(FRAMES) + 1
    made = torch.cat([chunk.frames for chunk in roll_out(model, world, count)])
    strips = [world.pose(FRAMES), made[list(FRAMES)], world.frames(FRAMES)]
    white = torch.ones(64, 64, 3)
    lines = []
    for first, strip in zip((white, world.reference(), white), strips, strict=True):
        lines.append(torch.cat([first, torch.ones(64, GAP, 3), *strip], dim=1))
    return torch.cat([*lines, torch.ones(GAP, lines[0].shape[1], 3)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 6, 13, 19])
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_toy()
    picture = torch.cat([rows(model, seed) for seed in options.seeds])[:-GAP]
    large = interpolate(picture.movedim(-1, 0)[None], scale_factor=SCALE, mode="nearest")[0].movedim(0, -1)
    pixels = cv2.cvtColor((large * 255).round().byte().numpy(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(options.out), pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
