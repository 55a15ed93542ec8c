"""Write pose.mp4: a figure in OpenPose colours that walks on the spot, turns a little and waves, with a quiet tone."""

import tempfile
import wave
from pathlib import Path

import cv2
import numpy as np
import torch

from everanimate_core.media.writer import VideoWriter

WIDTH, HEIGHT, FPS, FRAMES = 256, 384, 25, 200
# The 18 joints: 0 nose, 1 neck, 2-4 right arm, 5-7 left arm, 8-10 right leg, 11-13 left leg, 14-15 eyes, 16-17 ears.
BONES = [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)]
BONES += [(1, 0), (0, 14), (14, 16), (0, 15), (15, 17)]
HUES = np.array([[[half_degrees, 255, 255]] for half_degrees in range(0, 180, 10)], np.uint8)
COLOURS = cv2.cvtColor(HUES, cv2.COLOR_HSV2RGB)[:, 0].tolist()


def forwards(angle: float) -> np.ndarray:
    """Direction of a limb that hangs down at 0 and points ahead at pi/2."""
    return np.array([0, -np.cos(angle), np.sin(angle)])


def sideways(angle: float, side: int) -> np.ndarray:
    """Direction of a limb that hangs down at 0 and points up at pi, on its own side."""
    return np.array([side * np.sin(angle), -np.cos(angle), 0.15])


def blend(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    mixed = (1 - share) * start + share * end
    return mixed / np.linalg.norm(mixed)


def joints(seconds: float) -> np.ndarray:
    """[18, 3] in body heights: x to the figure's left, y up, z ahead."""
    step = 2 * np.pi * seconds
    bob = 0.012 * np.cos(2 * step)
    wave_share = 0.5 - 0.5 * np.cos(2 * np.pi * np.clip((seconds - 1) / 6, 0, 1))
    wave_share = wave_share * wave_share * (3 - 2 * wave_share)
    points = np.zeros((18, 3))
    points[0], points[1] = (0, 0.90, 0.06), (0, 0.80, 0)
    points[14], points[15] = (-0.02, 0.925, 0.05), (0.02, 0.925, 0.05)
    points[16], points[17] = (-0.05, 0.91, 0), (0.05, 0.91, 0)
    for side, shoulder, hip, phase in ((-1, 2, 8, step), (1, 5, 11, step + np.pi)):
        points[shoulder] = (side * 0.12, 0.79, 0)
        upper, lower = forwards(-0.4 * np.sin(phase)), forwards(0.35 - 0.4 * np.sin(phase))
        if side < 0:
            upper = blend(upper, sideways(1.75, side), wave_share)
            lower = blend(lower, sideways(3.0 + 0.35 * np.sin(1.5 * step), side), wave_share)
        points[shoulder + 1] = points[shoulder] + 0.16 * upper
        points[shoulder + 2] = points[shoulder + 1] + 0.15 * lower
        points[hip] = (side * 0.065, 0.52, 0)
        thigh = 0.45 * np.sin(phase)
        knee = 0.1 + 0.5 * max(0.0, np.cos(phase)) ** 2
        points[hip + 1] = points[hip] + 0.24 * forwards(thigh)
        points[hip + 2] = points[hip + 1] + 0.24 * forwards(thigh - knee)
    points[:, 1] += bob
    turn = 0.5 * np.sin(2 * np.pi * seconds / 8)
    cos, sin = np.cos(turn), np.sin(turn)
    return points @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def draw(points: np.ndarray) -> np.ndarray:
    """uint8 RGB [HEIGHT, WIDTH, 3]."""
    scale = 0.88 * HEIGHT
    flat = np.stack([WIDTH / 2 + scale * points[:, 0], 0.95 * HEIGHT - scale * points[:, 1]], axis=-1)
    flat = [tuple(int(value) for value in np.rint(16 * point)) for point in flat]  # sixteenths of a pixel
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for (start, end), colour in zip(BONES, COLOURS, strict=False):
        cv2.line(image, flat[start], flat[end], [round(0.6 * value) for value in colour], 6, cv2.LINE_AA, shift=4)
    for point, colour in zip(flat, COLOURS, strict=True):
        cv2.circle(image, point, 4 * 16, colour, -1, cv2.LINE_AA, shift=4)
    return image


def write_tone(path: Path, seconds: float, rate: int = 48000) -> None:
    """A quiet 440 Hz as 16-bit mono."""
    samples = 1000 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        tone = Path(folder) / "tone.wav"
        write_tone(tone, FRAMES / FPS)
        with VideoWriter(Path(__file__).with_name("pose.mp4"), FPS, WIDTH, HEIGHT, crf=26, audio_from=tone) as video:
            for number in range(FRAMES):
                video.write(torch.from_numpy(draw(joints(number / FPS))).float()[None] / 255)
