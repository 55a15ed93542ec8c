"""Draw the sample inputs of the graphs anew.

    python tests/benchmarks/samples/make.py OUT [--only NAME ...] [--processes 2]

OUT is workflows/inputs for the files that the pack ships. Everything in them is drawn by the scripts beside this one:
a person made of capsules who dances, and a second one in a photograph. It takes an hour or two on two cores. The same
machine makes the same files.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from dance import BEAT, BEATS, dancing, standing
from figure import Look, body_of
from render import Camera, draw, edges, shrunk
from scenes import backdrop, park, room

from everanimate_core.driving.draw import draw_pose
from everanimate_core.driving.keypoints import JOINTS
from everanimate_core.driving.pose import Pose
from everanimate_core.media.sound import SampledSound
from everanimate_core.media.writer import VideoWriter

DANCER = Look(
    skin=(0.8, 0.58, 0.46), hair=(0.16, 0.1, 0.07), shirt=(0.1, 0.48, 0.52), trousers=(0.16, 0.17, 0.22),
    shoes=(0.85, 0.85, 0.86), lips=(0.72, 0.32, 0.32), eyes=(0.25, 0.16, 0.09),
)  # fmt: skip
PERSON = Look(
    skin=(0.62, 0.42, 0.31), hair=(0.05, 0.04, 0.04), shirt=(0.75, 0.24, 0.16), trousers=(0.22, 0.32, 0.5),
    shoes=(0.32, 0.2, 0.13), lips=(0.55, 0.26, 0.24), eyes=(0.14, 0.09, 0.06), long_hair=False, long_sleeves=True,
    stripe=(0.95, 0.9, 0.8),
)  # fmt: skip
DRAWN = Look(
    skin=(0.98, 0.83, 0.72), hair=(0.36, 0.2, 0.46), shirt=(0.95, 0.95, 0.97), trousers=(0.2, 0.24, 0.42),
    shoes=(0.3, 0.2, 0.2), lips=(0.85, 0.45, 0.45), eyes=(0.2, 0.45, 0.65), stripe=(0.85, 0.25, 0.3), large_eyes=True,
)  # fmt: skip
PORTRAIT = Camera(480, 832)
CARTOON = Camera(1024, 576, aim=(0.0, 1.28), view=1.25)
FPS, FRAMES = 25, round(25 * BEATS * BEAT)
# A window of LongAnimation, at the frame rate that it was trained with.
LINE_FPS, LINE_FRAMES = 24, 81


def eight_bit(picture):
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def dance_frame(number):
    """A frame of the dance [h, w, 3]."""
    return eight_bit(shrunk(draw(dancing(number / FPS), DANCER, PORTRAIT, room).colour, PORTRAIT))


def line_frame(number):
    """A frame of the cartoon, in lines and in colours, both [h, w, 3]."""
    drawn = draw(dancing(number / LINE_FPS), DRAWN, CARTOON, backdrop, flat=True)
    lines = shrunk(edges(drawn), CARTOON)
    colours = shrunk(drawn.colour, CARTOON) * (1 - lines[..., None])
    return eight_bit(1 - np.repeat(lines[..., None], 3, axis=2)), eight_bit(colours)


def true_pose():
    """Where the dancer's joints are in the picture, in every frame."""
    bodies = [body_of(dancing(number / FPS)) for number in range(FRAMES)]

    def seen(places):
        return np.stack([PORTRAIT.pixels(np.array(own)) for own in places]).astype(float)

    hands = {side: seen([body.hands[side] for body in bodies]) for side in ("left", "right")}
    sure, sure_hand = np.ones((FRAMES, len(JOINTS))), np.ones((FRAMES, 21))
    joints = seen([[joint_place(body, name) for name in JOINTS] for body in bodies])
    return Pose(joints, sure, hands["left"], sure_hand, hands["right"], sure_hand, PORTRAIT.width, PORTRAIT.height)


def joint_place(body, name):
    """ "right elbow" is called "elbow right" in the figure."""
    side, _, part = name.partition(" ")
    return body.points[f"{part} {side}"] if part else body.points[name]


def beat_sound(rate=44100):
    """A drum on every beat, a hat between two, and four low notes: [1, samples]."""
    time = np.arange(round(rate * BEAT * BEATS)) / rate
    since = time % BEAT
    drum = np.sin(2 * np.pi * (48 * since - 4 * np.exp(-30 * since))) * np.exp(-9 * since)
    after = (time + BEAT / 2) % BEAT
    hat = np.random.default_rng(0).normal(size=len(time)) * np.exp(-70 * after)
    notes = np.array([55.0, 65.4, 82.4, 73.4])[(time // (2 * BEAT)).astype(int) % 4]
    bass = np.sin(2 * np.pi * notes * time) * np.exp(-2.5 * ((time + BEAT / 2) % BEAT))
    return torch.from_numpy(0.35 * drum + 0.04 * hat + 0.16 * bass).float()[None]


def write_video(path, frames, fps, crf, sound=None):
    height, width = frames[0].shape[:2]
    with VideoWriter(path, fps, width, height, crf=crf, audio_from=sound) as video:
        for frame in frames:
            video.write(torch.from_numpy(frame.copy()).float()[None] / 255)


def write_picture(path, picture, quality):
    cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def person(out, _):
    write_picture(out / "everanimate_person.jpg", person_picture(), 92)


def person_picture():
    return eight_bit(shrunk(draw(standing(), PERSON, PORTRAIT, park).colour, PORTRAIT))


def dance(out, processes):
    frames = list(processes.map(dance_frame, range(FRAMES)))
    write_video(out / "everanimate_dance.mp4", frames, FPS, 27, SampledSound(beat_sound(), 44100))


def pose(out, _):
    drawn = true_pose()
    sound = SampledSound(beat_sound(), 44100)
    write_video(out / "everanimate_pose.mp4", [draw_pose(drawn, number) for number in range(FRAMES)], FPS, 24, sound)


def lines(out, processes):
    drawn, coloured = zip(*processes.map(line_frame, range(LINE_FRAMES)), strict=True)
    write_video(out / "everanimate_lineart.mp4", drawn, LINE_FPS, 27)
    write_picture(out / "everanimate_coloured.jpg", coloured[0], 92)


WORKS = {"person": person, "pose": pose, "dance": dance, "lines": lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.processes) as processes:
        for name in options.only:
            WORKS[name](options.out, processes)


if __name__ == "__main__":
    main()
