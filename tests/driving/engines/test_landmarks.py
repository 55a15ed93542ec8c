"""MediaPipe's points among the 133: each where its name says, and nothing twice but the toes."""

import numpy as np

from everanimate_core.driving.engines.landmarks import BODY_FROM, FACE_FROM, FEET_FROM, whole_body

# MediaPipe's 33, by their names: left and right are the person's.
SIDES = ("left", "right")
BODY = [
    *("nose", "left eye inner", "left eye", "left eye outer", "right eye inner", "right eye", "right eye outer"),
    *(f"{side} {part}" for part in ("ear", "mouth", "shoulder", "elbow", "wrist") for side in SIDES),
    *(f"{side} {part}" for part in ("pinky", "index", "thumb", "hip", "knee", "ankle") for side in SIDES),
    *(f"{side} {part}" for part in ("heel", "foot index") for side in SIDES),
]


def test_body_and_feet_by_name():
    parts = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    sides = [f"{side} {part}" for part in parts for side in SIDES]
    assert [BODY[number] for number in BODY_FROM] == ["nose", *sides]
    feet = [f"{side} {part}" for side in SIDES for part in ("foot index", "foot index", "heel")]
    assert [BODY[number] for number in FEET_FROM] == feet


# The same points on the other side of iBUG's face.
MIRRORED = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31]
MIRRORED += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
MIRRORED += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
# MediaPipe's points on the right side with those on the left, as its chains in face_mesh_connections.py have them.
RIGHT = [127, 234, 132, 58, 172, 136, 149, 176, 70, 63, 105, 66, 107, 98, 97, 33, 160, 158, 133, 153, 144]
RIGHT += [61, 40, 37, 84, 91, 78, 81, 178]
LEFT = [356, 454, 361, 288, 397, 365, 378, 400, 300, 293, 334, 296, 336, 327, 326, 263, 387, 385, 362, 380, 373]
LEFT += [291, 270, 267, 314, 321, 308, 311, 402]


def test_the_face_is_the_same_on_both_sides():
    other = dict(zip(RIGHT, LEFT, strict=True)) | dict(zip(LEFT, RIGHT, strict=True))
    assert [other.get(number, number) for number in FACE_FROM] == [FACE_FROM[number] for number in MIRRORED]
    assert len(set(FACE_FROM)) == len(FACE_FROM) == 68


def test_parts_come_to_their_places_with_their_scores():
    body, face = np.arange(78.0).reshape(39, 2), 1000 + np.arange(936.0).reshape(468, 2)
    left, right = 2000 + np.arange(42.0).reshape(21, 2), 3000 + np.arange(42.0).reshape(21, 2)
    points, scores = whole_body(body, np.arange(39) / 100, [(left, 0.6), (right, 0.7)], (face, 0.8))
    assert points[[0, 9, 10, 22], 0].tolist() == [0, 30, 32, 60]
    assert scores[[0, 9, 10, 22]].tolist() == [0, 0.15, 0.16, 0.3]
    assert points[31].tolist() == [1000 + 2 * 152, 1001 + 2 * 152]  # the chin
    np.testing.assert_array_equal(points[91:112], left)
    np.testing.assert_array_equal(points[112:133], right)
    assert [sorted(set(part.tolist())) for part in (scores[23:91], scores[91:112], scores[112:])] == [
        [0.8],
        [0.6],
        [0.7],
    ]
