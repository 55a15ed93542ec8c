"""One person's keypoints over a clip, out of all people that were found in each frame.

Everybody is followed from frame to frame, and one of them is chosen once, over the whole clip. Whoever is largest in
one frame is not in the next where two people pass each other, and the animated figure would change with them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError, check_choice
from .keypoints import BODY, DRAWN, LEFT_HAND, POINTS, RIGHT_HAND, Keypoints

CHOICES = ("largest", "leftmost", "rightmost", "centre", "index")
# Each point's number on the other side of the body. The face has only a box, which is the same from both sides.
OTHER_SIDE = np.arange(POINTS)
OTHER_SIDE[1:17] = [2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
OTHER_SIDE[17:23] = [20, 21, 22, 17, 18, 19]
OTHER_SIDE[LEFT_HAND], OTHER_SIDE[RIGHT_HAND] = np.arange(112, 133), np.arange(91, 112)

# Distances are measured in a fifth of the body's diagonal: the width of the shoulders of somebody who stands.
_UNIT = 0.2
# RGB distance of two torsos, in 0..1, that weighs as much as one unit of distance in the picture.
_COLOUR_UNIT = 60 / 255
# A person who costs more than this is somebody else.
_LIMIT = 2.0
# By so much the guess of a hidden person becomes wider in each frame: distance counts less, colour counts more.
_WIDENING = 0.25
# Frames since somebody was seen, after a cut: where they were says next to nothing then.
_LOST = 1_000_000
# Shares of a new measurement in the velocity, and in torso colour and size.
_VELOCITY_GAIN, _LOOK_GAIN = 0.2, 0.05
# People seen in so many frames are matched first: one wrong pose must not take over the rest of a person's track.
_KNOWN_AFTER = 8
# The sides were swapped where the other side fits better by this factor, and the given one is off by so many units.
_SIDES_FACTOR, _SIDES_OFF = 2.0, 0.25
# Somebody alone stays the same one, whatever their colour, where neck and hips move by no more units than this.
_STAYED = 0.5
# Only people are chosen who are seen in this share of the frames of the one who is seen in most.
_OFTEN = 0.25


class Person(NamedTuple):
    """Somebody in one frame. points: [133, 2], pixels. scores: [133], 0..1. torso: [3], RGB in 0..1, or None."""

    points: np.ndarray
    scores: np.ndarray
    torso: np.ndarray | None = None


class Track(NamedTuple):
    """Somebody through a clip of N frames.

    places: [N], the person's number in each frame's list; -1 in frames in which they are hidden.
    swapped: [N], whether left and right have to change places there.
    """

    places: np.ndarray
    swapped: np.ndarray


def torso_colour(frame: np.ndarray, points: np.ndarray, scores: np.ndarray) -> np.ndarray | None:
    """What a person wears: the median colour between shoulders and hips, [3], RGB in 0..1.

    frame: [H, W, 3], RGB in 0..1. points: [133, 2], pixels. scores: [133]. None where a corner of the torso is missing,
    or all of it lies outside the frame.
    """
    if (scores[[5, 6, 11, 12]] < DRAWN).any():
        return None
    # A grid between the four corners, a tenth away from the edges, where arms and background begin.
    across, down = np.meshgrid(np.linspace(0.1, 0.9, 12), np.linspace(0.1, 0.9, 12))
    across, down = across[..., None], down[..., None]
    top, bottom = ((1 - across) * points[left] + across * points[right] for left, right in ((5, 6), (11, 12)))
    x, y = np.floor((1 - down) * top + down * bottom).astype(int).reshape(-1, 2).T
    inside = (x >= 0) & (y >= 0) & (x < frame.shape[1]) & (y < frame.shape[0])
    return np.median(frame[y[inside], x[inside]], axis=0) if inside.any() else None


def body(person: Person) -> np.ndarray:
    """The body's points, [17, 2], NaN where they are missing."""
    return np.where(person.scores[BODY, None] >= DRAWN, person.points[BODY], np.nan)


def body_box(joints: np.ndarray) -> np.ndarray:
    """Left, top, right and bottom [4] of a body [17, 2] that has at least one point; NaN stands for a missing one."""
    return np.concatenate([np.nanmin(joints, axis=0), np.nanmax(joints, axis=0)])


def body_size(joints: np.ndarray) -> float:
    """The diagonal, in pixels, of a body [17, 2] that has at least one point; 1 or more, as sizes divide."""
    box = body_box(joints)
    return max(1.0, float(np.hypot(*(box[2:] - box[:2]))))


def body_distance(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The median distance of the joints that two bodies share, in pixels; infinite where they share none.

    ones, others: [..., 17, 2], NaN where a joint is missing. Returns [...].
    """
    distances = np.hypot(*np.moveaxis(ones - others, -1, 0))
    distances[np.isnan(distances).all(axis=-1)] = np.inf
    return np.nanmedian(distances, axis=-1)


class _Guess:
    """Where somebody should be in the frame that comes next, if they keep their velocity, and how they look."""

    def __init__(self, joints: np.ndarray, torso: np.ndarray, frames: int):
        self.joints, self.torso, self.size = joints, torso, body_size(joints)
        self.velocity = np.zeros(2)
        self.seen, self.since = 0, 1
        self.places, self.swapped = np.full(frames, -1), np.zeros(frames, dtype=bool)
        # The frame from which on the person has been seen without a break, for each frame: left and right are compared
        # within it, as a hidden person may turn.
        self.line = np.full(frames, -1)

    def go_on(self, cut: bool) -> None:
        """One frame further on."""
        if cut:
            self.velocity, self.since = np.zeros(2), _LOST
        self.joints = self.joints + self.velocity

    def see(self, frame: int, place: int, joints: np.ndarray, torso: np.ndarray, swapped: bool) -> None:
        """Put right what was guessed: the person stands in `place` of the frame's list."""
        self.places[frame], self.swapped[frame] = place, swapped
        self.line[frame] = self.line[frame - 1] if self.seen and self.since == 1 else frame
        off = joints - self.joints
        shared = ~np.isnan(off).any(axis=-1)
        shift = np.median(off[shared], axis=0) if shared.any() else np.zeros(2)
        # Over the frames in which somebody was hidden, the error has added up.
        self.velocity = self.velocity + _VELOCITY_GAIN * shift / self.since
        self.joints = np.where(np.isnan(joints), self.joints + shift, joints)
        # After a cut, light and distance are others.
        gain = 1.0 if self.since >= _LOST else _LOOK_GAIN
        self.size += gain * (body_size(joints) - self.size)
        mixed = self.torso + gain * (torso - self.torso)
        self.torso = np.where(np.isnan(self.torso), torso, np.where(np.isnan(torso), self.torso, mixed))
        self.seen, self.since = self.seen + 1, 1


def _costs(guesses: list[_Guess], bodies: np.ndarray, torsos: np.ndarray, alone: bool) -> tuple[np.ndarray, np.ndarray]:
    """What it costs to take each of P people for each guess [K, P], and whether their sides are swapped then [K, P].

    bodies: [P, 17, 2]. torsos: [P, 3]. NaN stands for what is missing; a colour that is missing costs nothing. alone:
    one person is seen now, and one was seen in the frame before.
    """
    expected = np.stack([guess.joints for guess in guesses])[:, None]
    since = np.array([guess.since for guess in guesses])[:, None]
    unit = _UNIT * np.array([guess.size for guess in guesses])[:, None]
    straight, mirrored = (body_distance(expected, side) for side in (bodies, bodies[:, OTHER_SIDE[BODY]]))
    swapped = _sides_swapped(expected, bodies, unit)
    moved = np.where(swapped, mirrored, straight) / (unit * (1 + _WIDENING * (since - 1)))
    colours = np.linalg.norm(np.stack([guess.torso for guess in guesses])[:, None] - torsos, axis=-1)
    if alone:
        # Who turns round may have a back of another colour. Neck and hips stay where they are then.
        stayed = (since == 1) & (_torso_distance(expected, bodies) <= _STAYED * unit)
        colours = np.where(stayed, 0, colours)
    return moved + np.nan_to_num(colours, nan=0.0) / _COLOUR_UNIT, swapped


def _sides_swapped(expected: np.ndarray, bodies: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Whether left and right of bodies [P, 17, 2] are confused, by where they are expected [K, 1, 17, 2]: [K, P].

    The means count, not the medians: somebody who turns round changes the sides of shoulders and hips, but not those of
    all joints, and arms and legs go on meanwhile. unit: [K, 1], pixels.
    """
    sides = bodies, bodies[:, OTHER_SIDE[BODY]]
    off = np.stack([np.hypot(*np.moveaxis(expected - side, -1, 0)) for side in sides])
    shared = ~np.isnan(off).any(axis=0)
    straight, mirrored = np.where(shared, off, 0).sum(axis=-1) / np.maximum(shared.sum(axis=-1), 1)
    return straight > np.maximum(_SIDES_FACTOR * mirrored, _SIDES_OFF * unit)


def _torso_distance(expected: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """How far neck or hips, whichever is farther, of bodies [P, 17, 2] lie from those expected [K, 1, 17, 2], [K, P].

    In pixels; NaN where a corner of the torso is missing. Both stay in place when somebody turns round.
    """
    off = expected - bodies
    ends = [off[..., pair, :].mean(axis=-2) for pair in ([5, 6], [11, 12])]
    return np.maximum(*(np.hypot(*np.moveaxis(end, -1, 0)) for end in ends))


def pairs(costs: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """Row and column of the cheapest pairs, the cheapest first: each row and column once, none above the limit."""
    found: list[tuple[int, int]] = []
    for number in np.argsort(costs, axis=None, kind="stable"):
        row, column = divmod(int(number), costs.shape[1])
        if costs[row, column] > limit:
            break
        if all(row != other and column != taken for other, taken in found):
            found.append((row, column))
    return found


def followed(people: Sequence[Sequence[Person]], cuts: Sequence[int] = ()) -> list[Track]:
    """The tracks of everybody, in the order in which they come in.

    people: of each frame, in any order. cuts: the numbers of frames with which a new shot begins. In the first frame of
    a shot that shows anybody, people are known again by their torsos alone, and whoever comes closest is taken, so that
    somebody alone stays the same one.
    A person is the one who costs least: median distance of the joints to where a constant velocity would have brought
    them, in units of the body, plus the distance of the torso colours. Above a limit the person is hidden, and the
    guess goes on. The colour of somebody alone may change while they stay where they are.
    """
    guesses: list[_Guess] = []
    unseen = False  # whether nobody was seen yet since the last cut
    for frame, there in enumerate(people):
        places = [place for place, person in enumerate(there) if (person.scores[BODY] >= DRAWN).any()]
        bodies = np.array([body(there[place]) for place in places]).reshape(-1, 17, 2)
        torsos = [there[place].torso for place in places]
        colours = np.array([np.full(3, np.nan) if torso is None else torso for torso in torsos]).reshape(-1, 3)
        unseen = unseen or frame in cuts
        free = list(range(len(places)))
        for guess in guesses:
            guess.go_on(frame in cuts)
        alone = len(places) == 1 and sum(guess.since == 1 for guess in guesses) == 1
        known = [guess for guess in guesses if guess.seen >= _KNOWN_AFTER]
        new = [guess for guess in guesses if guess.seen < _KNOWN_AFTER]
        for group in (known, new):
            if group and free:
                costs, swapped = _costs(group, bodies[free], colours[free], alone)
                taken = [(row, column, free[column]) for row, column in pairs(costs, np.inf if unseen else _LIMIT)]
                for row, column, one in taken:
                    sides = bool(swapped[row, column])
                    joints = bodies[one, OTHER_SIDE[BODY]] if sides else bodies[one]
                    group[row].see(frame, places[one], joints, colours[one], sides)
                    free.remove(one)
        for guess in guesses:
            guess.since += guess.places[frame] < 0
        for one in free:
            guesses.append(_Guess(bodies[one], colours[one], len(people)))
            guesses[-1].see(frame, places[one], bodies[one], colours[one], swapped=False)
        unseen = unseen and not places
    return [Track(guess.places, _voted(guess.swapped, guess.line)) for guess in guesses]


def _voted(swapped: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Which frames have to be swapped [N]: of each line of frames without a break, the smaller part.

    A line may begin with a frame in which the sides were wrong; then all others look swapped. line: [N], -1 for none.
    """
    result = swapped.copy()
    for start in np.unique(line[line >= 0]):
        if swapped[line == start].mean() > 0.5:
            result[line == start] ^= True
    return result


def chosen(
    tracks: Sequence[Track],
    people: Sequence[Sequence[Person]],
    width: int,
    height: int,
    choice: str = "largest",
    index: int = 0,
) -> Track:
    """One of the tracks, of people in frames of width x height pixels.

    choice: `largest` has the largest sum of body boxes over the clip; `leftmost`, `rightmost` and `centre` go by the
    mean place of the box; `index` counts from the left, from 0. Whoever is there for a small part of the clip is left
    out. Raises InputError for an unknown choice, an index that nobody has, and where there are no tracks.
    """
    check_choice("person", choice, CHOICES)
    if not tracks:
        raise InputError(
            "the driving video", "must show a person", "a body that is seen well", f"none in {len(people)} frames"
        )
    seen = [int((track.places >= 0).sum()) for track in tracks]
    often = [track for track, frames in zip(tracks, seen, strict=True) if frames >= _OFTEN * max(seen)]
    boxes = [_boxes(track, people) for track in often]
    middles = np.array([(box[:, :2] + box[:, 2:]).mean(axis=0) / 2 for box in boxes])
    if choice == "index":
        if not 0 <= index < len(often):
            rule = f"must be within 0..{len(often) - 1}: the people in this video, from the left"
            raise InputError("person_index", rule, "", index)
        return often[int(np.argsort(middles[:, 0], kind="stable")[index])]
    rank = {
        "largest": [-np.prod(box[:, 2:] - box[:, :2], axis=1).sum() for box in boxes],
        "leftmost": middles[:, 0],
        "rightmost": -middles[:, 0],
        "centre": np.hypot(*(middles - [width / 2, height / 2]).T),
    }[choice]
    return often[int(np.argmin(rank))]


def at_point(
    tracks: Sequence[Track], people: Sequence[Sequence[Person]], frame: int, x: float, y: float
) -> Track | None:
    """The track of whoever is at a point, in pixels, of a frame; None where nobody is seen in it.

    It is the one whose body's box holds the point or is nearest to it; of several whose boxes hold it, the one the mean
    of whose joints is nearest.
    """

    def distance(track: Track) -> tuple[float, float]:
        joints = body(people[frame][track.places[frame]])
        left, top, right, bottom = body_box(joints)
        outside = np.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))
        return float(outside), float(np.hypot(*(np.nanmean(joints, axis=0) - (x, y))))

    return min((track for track in tracks if track.places[frame] >= 0), key=distance, default=None)


def _boxes(track: Track, people: Sequence[Sequence[Person]]) -> np.ndarray:
    """Left, top, right and bottom of a person's body in the frames in which they are seen, [n, 4]."""
    seen = [there[place] for there, place in zip(people, track.places, strict=True) if place >= 0]
    return np.stack([body_box(body(person)) for person in seen])


def keypoints(track: Track, people: Sequence[Sequence[Person]], width: int, height: int) -> Keypoints:
    """A track's keypoints over the clip, sides put right; scores are 0 in frames in which the person is hidden."""
    points, scores = np.zeros((len(people), POINTS, 2)), np.zeros((len(people), POINTS))
    for frame, (there, place) in enumerate(zip(people, track.places, strict=True)):
        if place >= 0:
            order = OTHER_SIDE if track.swapped[frame] else slice(None)
            points[frame], scores[frame] = there[place].points[order], there[place].scores[order]
    return Keypoints(points, scores, width, height)
