"""The picture strip of README: what drifts in a minute, and what corrects it, on the toy.

    python tests/benchmarks/picture_drift.py OUT.jpg [--seeds 100 101] [--seconds 60]

A line for each world: the last frame of the truth and of three rows of `everanimate ablate`, from noise seed 0.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.network.engine import FPS, roll_out
from everanimate_core.toy.world.world import World

COLUMNS = {
    "baseline": "baseline",
    "baseline+restore": "with Restorative Sampler",
    "full": "EverAnimate",
}
SCALE, GAP, HEADING = 4, 8, 36


def last_frame(model, row, world, frames):
    """[64, 64, 3], the last frame of a roll-out."""
    for made in roll_out(model, world, frames, replace(row.settings, seed=0), row.policy):
        last = made.frames[-1]
    return last


def enlarged(frame):
    """As BGR of 8 bits, with a white gap on the right and below."""
    pixels = (frame.numpy()[..., ::-1] * 255).round().astype(np.uint8).repeat(SCALE, 0).repeat(SCALE, 1)
    return cv2.copyMakeBorder(pixels, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    frames = round(options.seconds * FPS)
    rows = [ROWS[name] for name in COLUMNS]
    models = [row.load(None) for row in rows]
    lines = []
    for world in map(World, options.seeds):
        pictures = [
            world.frame(frames - 1),
            *(last_frame(*pair, world, frames) for pair in zip(models, rows, strict=True)),
        ]
        lines.append(np.concatenate([enlarged(picture) for picture in pictures], axis=1))
    heading = np.full((HEADING, lines[0].shape[1], 3), 255, np.uint8)
    width = lines[0].shape[1] // (len(COLUMNS) + 1)
    for place, text in enumerate((f"truth, at {options.seconds:g} s", *COLUMNS.values())):
        cv2.putText(heading, text, (place * width, HEADING - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (40, 40, 40), 1, 16)
    picture = np.concatenate([heading, *lines])[:-GAP, :-GAP]
    cv2.imwrite(str(options.out), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
