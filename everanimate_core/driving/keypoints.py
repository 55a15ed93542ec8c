"""Keypoints of a person over a clip: the 133 points of COCO-WholeBody, and the 20 joints that are drawn of them.

Left is the person's left. A score of DRAWN or more says that a point is there, whatever found it.
"""

from dataclasses import dataclass

import numpy as np

POINTS, DRAWN = 133, 0.5
BODY, FEET, FACE = slice(0, 17), slice(17, 23), slice(23, 91)
LEFT_HAND, RIGHT_HAND = slice(91, 112), slice(112, 133)
# The joints of a drawn body, by name, and of which points each is the mean.
JOINTS = {
    "nose": (0,),
    "neck": (5, 6),
    "right shoulder": (6,),
    "right elbow": (8,),
    "right wrist": (10,),
    "left shoulder": (5,),
    "left elbow": (7,),
    "left wrist": (9,),
    "right hip": (12,),
    "right knee": (14,),
    "right ankle": (16,),
    "left hip": (11,),
    "left knee": (13,),
    "left ankle": (15,),
    "right eye": (2,),
    "left eye": (1,),
    "right ear": (4,),
    "left ear": (3,),
    "left toe": (17, 18),
    "right toe": (20, 21),
}


@dataclass(frozen=True)
class Keypoints:
    """A person in every frame of a clip.

    points: [N, 133, 2], x and y in pixels, float64, finite; anything where the score is 0. scores: [N, 133] in 0..1,
    float64; 0 where a point is missing. width, height: of the frames that they lie in.
    """

    points: np.ndarray
    scores: np.ndarray
    width: int
    height: int

    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """The drawn body: [N, 20, 2] in pixels and [N, 20], in the order of JOINTS.

        A joint is the mean of its points, and so is its score; 0 where one of them is missing, which may lie anywhere.
        """
        groups = [list(group) for group in JOINTS.values()]
        points = np.stack([self.points[:, group].mean(axis=1) for group in groups], axis=1)
        scores = [self.scores[:, group] for group in groups]
        return points, np.stack([own.mean(axis=1) * own.all(axis=1) for own in scores], axis=1)
