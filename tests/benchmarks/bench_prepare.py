"""Real dancers through everanimate_core.driving.prepare, with the engine litert: a table, and pictures to look at.

    python tests/benchmarks/bench_prepare.py OUT --dancers DIR [--pose-models WHEEL] [--clips NAME ...]

DIR holds the template packages of ComfyUI, whose clips are animated WebP of 350 pixels; WHEEL has the networks:

    pip install --no-deps --target DIR comfyui-workflow-templates-media-video comfyui-workflow-templates-media-assets-01
    pip download mediapipe==0.10.21 --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64
    pip install ai-edge-litert

Without WHEEL they are those of an installed mediapipe 0.10.21. NAME is the name of a file without its ending;
`NAME:left` and `NAME:right` are the halves of one that shows two clips side by side. Every clip is enlarged twice.

In the table: the share of the frames in which at least half of the 17 points of the body are drawn, each hand, and the
face. Jitter: the root mean square of the second difference of the body's points from frame to frame, in pixels of the
enlarged clip, over all points that were found in three frames running; the motion itself is part of it. Seconds a
frame: of the search (pass 1), and of the rest, which ends with four written videos (pass 2).

OUT/NAME.png shows some frames of each clip: the frame, the pose over it, the face, and the background with its mask.
"""

import argparse
import json
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

from everanimate_core.driving.cuts import shots
from everanimate_core.driving.engines.litert import LitertEngine
from everanimate_core.driving.engines.weights import read_weights
from everanimate_core.driving.keypoints import BODY, DRAWN
from everanimate_core.driving.prepare import prepare
from everanimate_core.driving.settings import Settings
from everanimate_core.media.frames import FittedFrames, TensorFrames
from everanimate_core.media.reader import VideoFrames

CLIPS = (
    "video_wan2_2_14B_fun_control-1",
    "video_wan21_scail2_character_replacement-1",
    "video_wan_dancer-1",
    "video_wan_animate2_distilled-1:left",
    "video_wan_animate2-1:right",
    "video_wan_vace_14B_v2v-1",
    "video_bernini_r_video_editing-1:left",
    "api_runway_aleph2_video_edit-2",
)
ENLARGED = 2
SETTINGS = Settings(mode="replacement")
TILE, GAP = 350, 6
HEADING = (
    *("clip", "frames", "body", "left hand", "right hand", "face"),
    *("jitter found", "jitter smoothed", "pass 1", "pass 2"),
)


def opened(folder, name):
    """The clip of that name, enlarged."""
    name, _, half = name.partition(":")
    path = next(folder.rglob(f"{name}.webp"), None)
    if path is None:
        raise SystemExit(f"No {name}.webp in {folder}; the packages that hold it stand at the top of this file.")
    with VideoFrames(path) as video:
        images = video.read(range(video.frame_count))
    if half:
        images = images.tensor_split(2, dim=2)[("left", "right").index(half)]
    clip = TensorFrames(images, video.fps)
    return FittedFrames(clip, ENLARGED * clip.width, ENLARGED * clip.height, "stretch")


def prepared(video, engine, settings, folder):
    """The report, the keypoints {name: array}, and the seconds a frame of both passes."""
    times = {}
    begin = time.process_time()
    prepare(video, engine, settings, folder, progress=lambda done, total: times.update({done: time.process_time()}))
    searched = times[video.frame_count]
    seconds = [(end - start) / video.frame_count for start, end in ((begin, searched), (searched, time.process_time()))]
    return json.loads((folder / "report.json").read_text()), load_file(folder / "keypoints.safetensors"), seconds


def jitter(data, cuts):
    """Of the body, in pixels; the top of this file says how."""
    points, found = data["points"][:, BODY], (data["scores"][:, BODY] >= DRAWN) & ~data["filled"][:, BODY]
    squares = []
    for shot in shots(cuts, len(points)):
        there = found[shot]
        running = there[:-2] & there[1:-1] & there[2:]
        squares.append((np.diff(points[shot], n=2, axis=0) ** 2).sum(axis=-1)[running])
    return np.sqrt(np.concatenate(squares).mean())


def row(name, report, data, jitters, seconds):
    """A line of the table."""
    body = ((data["scores"][:, BODY] >= DRAWN).mean(axis=1) >= 0.5).mean()
    shares = [body, *(report["shares"][part] for part in ("left hand", "right hand", "face"))]
    cells = [name, report["frames"], *(f"{share:.0%}" for share in shares)]
    return [*cells, *(f"{value:.1f}" for value in jitters), *(f"{value:.3f}" for value in seconds)]


def sheet(video, folder, count):
    """A picture [H, W, 3], uint8: a column for each of `count` frames, as the top of this file says."""
    numbers = np.linspace(0, video.frame_count - 1, count).round().astype(int).tolist()
    films = {}
    for name in ("pose", "face", "background", "mask"):
        with VideoFrames(folder / f"{name}.mp4") as film:
            films[name] = film.read(numbers).numpy()
    frames = video.read(numbers).numpy()[:, : films["pose"].shape[1], : films["pose"].shape[2]]
    lit = films["pose"].max(axis=-1, keepdims=True) > 0.2
    over = np.where(lit, films["pose"], 0.4 * frames)
    # Red where the mask is: a black hole in a dark picture would not be seen.
    background = np.maximum(films["background"], films["mask"] * (0.5, 0, 0))
    width = round(TILE * frames.shape[2] / frames.shape[1])
    rows = [
        np.concatenate([tile(picture, width) for picture in pictures], axis=1)
        for pictures in (frames, over, films["face"], background)
    ]
    return (np.concatenate(rows).clip(0, 1) * 255).round().astype(np.uint8)


def tile(picture, width):
    """A picture in 0..1 as large as width x TILE pixels hold it, white on the right and below."""
    scale = min(width / picture.shape[1], TILE / picture.shape[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    right, below = width + GAP - small.shape[1], TILE + GAP - small.shape[0]
    return cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(1.0, 1.0, 1.0))


def print_row(*cells):
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--dancers", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pose-models", type=Path, metavar="WHEEL")
    parser.add_argument("--clips", nargs="+", default=CLIPS, metavar="NAME")
    parser.add_argument("--frames", type=int, default=6, help="frames in each picture")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    weights = read_weights(options.pose_models)
    print_row(*HEADING)
    print_row(*["---"] * len(HEADING))
    for name in options.clips:
        video, engine = opened(options.dancers, name), LitertEngine(weights)
        with tempfile.TemporaryDirectory() as folder:
            # The second call takes what the first one found.
            rough, found, (searching, _) = prepared(video, engine, replace(SETTINGS, smoothing=False), Path(folder))
            report, data, (_, writing) = prepared(video, engine, SETTINGS, Path(folder))
            jitters = jitter(found, rough["cuts"]), jitter(data, report["cuts"])
            print_row(*row(name, report, data, jitters, (searching, writing)))
            picture = sheet(video, Path(folder), options.frames)
        file = options.out / f"{re.sub(':', '_', name)}.png"
        cv2.imwrite(str(file), picture[..., ::-1])


if __name__ == "__main__":
    main()
