"""A made-up person whose 133 points are known, and what it can do: stand, bend its limbs, be cut off, dance."""

import numpy as np

from everanimate_core.driving.keypoints import FACE, FEET, LEFT_HAND, POINTS, RIGHT_HAND, Keypoints

# The person's left side seen from the front, in heights of the body: x from its middle, y downwards from the crown.
LEFT_SIDE = {
    "eye": (0.018, 0.085),
    "ear": (0.040, 0.095),
    "shoulder": (0.115, 0.190),
    "elbow": (0.150, 0.360),
    "wrist": (0.170, 0.510),
    "hip": (0.070, 0.520),
    "knee": (0.075, 0.740),
    "ankle": (0.080, 0.940),
}
NOSE = (0.0, 0.100)
LEFT_TOES_AND_HEEL = ((0.110, 0.985), (0.125, 0.975), (0.080, 0.970))
# The numbers of the points of COCO-WholeBody, left and right.
SIDES = {
    "eye": (1, 2),
    "ear": (3, 4),
    "shoulder": (5, 6),
    "elbow": (7, 8),
    "wrist": (9, 10),
    "hip": (11, 12),
    "knee": (13, 14),
    "ankle": (15, 16),
}
NOSE_POINT, LEFT_FOOT, RIGHT_FOOT = 0, [17, 18, 19], [20, 21, 22]


def numbers(part):
    """The numbers of the points of a part: of "left hand", "right foot", "left knee", and so on."""
    side, name = part.split()
    left = side == "left"
    if name == "hand":
        return list(range(POINTS))[LEFT_HAND if left else RIGHT_HAND]
    if name == "foot":
        return LEFT_FOOT if left else RIGHT_FOOT
    return [SIDES[name][0 if left else 1]]


def _beyond(part):
    """The points that move when the person moves `part` ("left elbow"), which is one of them."""
    side, name = part.split()
    chains = (["shoulder", "elbow", "wrist", "hand"], ["hip", "knee", "ankle", "foot"])
    chain = next(chain for chain in chains if name in chain)
    return [number for each in chain[chain.index(name) :] for number in numbers(f"{side} {each}")]


def standing(tall=700.0, middle=240.0, crown=80.0):
    """A person that stands and looks at the camera: [133, 2] in pixels; tall from crown to soles."""
    points = np.zeros((POINTS, 2))
    points[NOSE_POINT] = NOSE
    for name, (x, y) in LEFT_SIDE.items():
        left, right = SIDES[name]
        points[left], points[right] = (x, y), (-x, y)
    points[LEFT_FOOT] = LEFT_TOES_AND_HEEL
    # A ring of points about the nose: only their extent matters.
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points[FACE] = np.stack([0.035 * np.cos(angle), 0.1 + 0.05 * np.sin(angle)], axis=1)
    x, y = LEFT_SIDE["wrist"]
    fingers = [(x + 0.008 * (2 - finger), y + 0.02 + 0.012 * bone) for finger in range(5) for bone in range(4)]
    points[LEFT_HAND] = [(x, y), *fingers]
    points[RIGHT_FOOT], points[RIGHT_HAND] = points[LEFT_FOOT] * (-1, 1), points[LEFT_HAND] * (-1, 1)
    return points * tall + (middle, crown)


def bent(points, part, degrees):
    """The body with everything beyond `part` turned about it, clockwise on the picture."""
    about, angle = points[numbers(part)[0]], np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    result = points.copy()
    result[_beyond(part)] = (points[_beyond(part)] - about) @ turn + about
    return result


def stretched(points, start, end, factor):
    """The body with the limb from `start` to `end` ("left elbow", "left wrist") `factor` times as long."""
    result = points.copy()
    result[_beyond(end)] += (factor - 1) * (points[numbers(end)[0]] - points[numbers(start)[0]])
    return result


def stretched_on_both_sides(points, start, end, factor):
    for side in ("left", "right"):
        points = stretched(points, f"{side} {start}", f"{side} {end}", factor)
    return points


def dance(frames, points=None):
    """[frames, 133, 2]: the person steps from side to side and moves arms and legs; the limbs keep their lengths.

    Frame 0 is the body as it is given, standing().
    """
    points = standing() if points is None else points
    clip = []
    for frame in range(frames):
        swing = np.sin(0.3 * frame)
        body = bent(bent(points, "left shoulder", -60 * swing), "left elbow", -45 * swing)
        body = bent(bent(body, "right shoulder", 40 * swing), "right elbow", 70 * swing)
        body = bent(bent(body, "left hip", -15 * swing), "left knee", 10 * swing)
        clip.append(np.add(body, (30 * swing, 4 * abs(swing))))
    return np.array(clip)


def keypoints(points, width=480, height=832, score=0.9):
    """Keypoints of a clip [N, 133, 2], or of one frame [133, 2]; every point has the same score."""
    clip = points.reshape(-1, POINTS, 2).copy()
    return Keypoints(clip, np.full(clip.shape[:2], score), width, height)


def without(person, points, frames=slice(None)):
    """The keypoints without these points, which lie at the picture's corner with a score of 0."""
    places, scores = person.points.copy(), person.scores.copy()
    for number in points:
        places[frames, number], scores[frames, number] = 0, 0
    return Keypoints(places, scores, person.width, person.height)


# Everything below the hips.
LEGS = [13, 14, 15, 16, *range(POINTS)[FEET]]
