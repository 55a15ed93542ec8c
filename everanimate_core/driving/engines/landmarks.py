"""MediaPipe's points as the 133 of COCO-WholeBody: 33 of the body, 21 of each hand, and 468 of the face."""

import numpy as np

from ..keypoints import BODY, FACE, FEET, LEFT_HAND, POINTS, RIGHT_HAND

# MediaPipe's point for each of the 17 of the body: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
BODY_FROM = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
# And for the feet: big toe, small toe and heel of the left, then of the right one. It has one point for both toes.
FEET_FROM = [31, 31, 29, 32, 32, 30]
# And of the face for iBUG's 68. Chosen from the chains of points in mediapipe/python/solutions/face_mesh_connections.py
# (MediaPipe 0.10.21, Apache-2.0), from the person's right to their left:
FACE_FROM = [
    # Jaw: of the oval's points from the height of the eyes to the chin, those nearest to eight equal steps along it,
    # measured on faces seen from the front.
    *(127, 234, 132, 58, 172, 136, 149, 176, 152, 400, 378, 365, 397, 288, 361, 454, 356),
    # The upper edges of the eyebrows.
    *(70, 63, 105, 66, 107),
    *(336, 296, 334, 293, 300),
    # Nose: its bridge from between the eyes to the tip, in three equal steps, and its lower edge.
    *(168, 197, 195, 4),
    *(98, 97, 2, 326, 327),
    # Eyes: both corners, and the points at a third and two thirds of each lid.
    *(33, 160, 158, 133, 153, 144),
    *(362, 385, 387, 263, 373, 380),
    # Mouth: outer edge of the upper and the lower lip, then the inner one.
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),
    *(78, 81, 13, 311, 308, 402, 14, 178),
]


def whole_body(
    body: np.ndarray, body_scores: np.ndarray, hands: list[tuple[np.ndarray, float]], face: tuple[np.ndarray, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Points [133, 2] and scores [133], float64.

    body: [33 or more, 2] and body_scores, of the same length. hands: the left and the right one, [21, 2] and the score
    of all its points. face: [468, 2], and likewise. Points stay in their unit.
    """
    points, scores = np.empty((POINTS, 2)), np.empty(POINTS)
    points[BODY], scores[BODY] = body[BODY_FROM], body_scores[BODY_FROM]
    points[FEET], scores[FEET] = body[FEET_FROM], body_scores[FEET_FROM]
    points[FACE], scores[FACE] = face[0][FACE_FROM], face[1]
    (points[LEFT_HAND], scores[LEFT_HAND]), (points[RIGHT_HAND], scores[RIGHT_HAND]) = hands
    return points, scores
