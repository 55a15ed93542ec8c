"""What is drawn of a person: 20 joints, the 19 limbs between them, and two hands. The face is no part of it."""

from dataclasses import dataclass

import numpy as np

from .keypoints import JOINTS, LEFT_HAND, RIGHT_HAND, Keypoints

# The numbers of the joints, by name, and the two joints of each limb: limb i leads away from the neck, and every limb
# comes after the one that it hangs on. In the order in which limbs are drawn.
JOINT = {name: number for number, name in enumerate(JOINTS)}
LIMBS = (
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
    (13, 18),
    (10, 19),
)
# RGB of joint i, and of limb i before it is darkened.
COLOURS = (
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 255, 0),
    (170, 255, 0),
    (85, 255, 0),
    (0, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 255, 255),
    (0, 170, 255),
    (0, 85, 255),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (255, 0, 255),
    (255, 0, 170),
    (255, 0, 85),
    (200, 200, 0),
    (100, 100, 0),
)
LIMB_BRIGHTNESS = 0.6


@dataclass(frozen=True)
class Pose:
    """The drawn body in every frame of a clip. All arrays are float64; positions are x and y in pixels, and finite.

    joints: [N, 20, 2] in the order of keypoints.JOINTS. left_hand, right_hand: [N, 21, 2], the root at the wrist, then
    4 points each from thumb to little finger; left is the person's left. joint_scores: [N, 20], left_scores and
    right_scores: [N, 21], all in 0..1; 0 where a point is missing, and its position is then anything. width, height:
    of the frames that they lie in.
    """

    joints: np.ndarray
    joint_scores: np.ndarray
    left_hand: np.ndarray
    left_scores: np.ndarray
    right_hand: np.ndarray
    right_scores: np.ndarray
    width: int
    height: int

    def moved(self, scale: float, shift: np.ndarray, width: int, height: int) -> "Pose":
        """The pose in frames of width x height: every position times `scale`, plus `shift` [2] in new pixels."""
        return Pose(
            self.joints * scale + shift,
            self.joint_scores,
            self.left_hand * scale + shift,
            self.left_scores,
            self.right_hand * scale + shift,
            self.right_scores,
            width,
            height,
        )


def pose_of(keypoints: Keypoints) -> Pose:
    """The drawn part of the keypoints, at the same place and size."""
    points, scores = keypoints.points, keypoints.scores
    joints, joint_scores = keypoints.joints()
    return Pose(
        joints,
        joint_scores,
        points[:, LEFT_HAND],
        scores[:, LEFT_HAND],
        points[:, RIGHT_HAND],
        scores[:, RIGHT_HAND],
        keypoints.width,
        keypoints.height,
    )
