"""Write face.mp4: the face of reference.jpg, swaying, nodding and coming closer a little."""

from pathlib import Path

import cv2
import numpy as np
import torch

from everanimate_core.media.writer import VideoWriter

SIZE, FPS, FRAMES = 128, 25, 200
CENTRE, SIDE = (129, 88), 104  # of the face in reference.jpg, in pixels


def crop(photo: np.ndarray, seconds: float) -> np.ndarray:
    """uint8 RGB [SIZE, SIZE, 3]."""
    turn = 6 * np.sin(2 * np.pi * seconds / 4)
    zoom = SIZE / SIDE * (1 + 0.04 * np.sin(2 * np.pi * seconds / 8))
    matrix = cv2.getRotationMatrix2D(CENTRE, turn, zoom)
    shift = np.array([4 * np.sin(2 * np.pi * seconds / 2), 3 * np.sin(2 * np.pi * seconds / 1.6)])
    matrix[:, 2] += SIZE / 2 - np.array(CENTRE) + shift
    return cv2.warpAffine(photo, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


if __name__ == "__main__":
    here = Path(__file__).parent
    photo = cv2.cvtColor(cv2.imread(str(here / "reference.jpg")), cv2.COLOR_BGR2RGB)
    with VideoWriter(here / "face.mp4", FPS, SIZE, SIZE, crf=26) as video:
        for number in range(FRAMES):
            video.write(torch.from_numpy(crop(photo, number / FPS)).float()[None] / 255)
