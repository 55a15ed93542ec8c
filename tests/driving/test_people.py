import numpy as np
import pytest

from everanimate_core.driving.keypoints import FACE, LEFT_HAND, RIGHT_HAND
from everanimate_core.driving.people import (
    OTHER_SIDE,
    Person,
    Track,
    at_point,
    body_distance,
    body_size,
    chosen,
    followed,
    keypoints,
    torso_colour,
)
from everanimate_core.errors import InputError

# A body of 17 points that faces the camera, about its nose: 56 wide, 188 high.
_HEAD = [(0, 0), (3, -3), (-3, -3), (7, 0), (-7, 0)]
_ARMS = [(20, 25), (-20, 25), (25, 60), (-25, 60), (28, 95), (-28, 95)]
_LEGS = [(12, 95), (-12, 95), (12, 140), (-12, 140), (12, 185), (-12, 185)]
STANDING = np.array([*_HEAD, *_ARMS, *_LEGS], dtype=float)
RED, BLUE, GREEN = np.array([0.8, 0.15, 0.15]), np.array([0.15, 0.25, 0.75]), np.array([0.15, 0.7, 0.2])


def person(x, y=100.0, torso=None, size=1.0, joints=STANDING):
    points, scores = np.zeros((133, 2)), np.zeros(133)
    points[:17], scores[:17] = joints * size + [x, y], 1
    return Person(points, scores, torso)


def turned(one):
    return Person(one.points[OTHER_SIDE], one.scores[OTHER_SIDE], one.torso)


def crossing(seed, frames=150, hidden=6):
    """Two people who cross in frame 75, the red one in front: 13 frames hide the blue one. In random order.

    Returns the people of each frame and the places of the red and of the blue one in them, as they should be found.
    """
    rng, people, places = np.random.default_rng(seed), [], np.full((2, frames), -1)
    for frame in range(frames):
        sway = np.stack([6 * np.sin(frame * 0.3 + np.arange(17)), 4 * np.cos(frame * 0.2 + np.arange(17))], axis=1)
        there = [
            person(
                start + step * frame, torso=torso + rng.normal(0, 0.05, 3), joints=joints + rng.normal(0, 1.5, (17, 2))
            )
            for start, step, torso, joints in ((60, 4, RED, STANDING + sway), (660, -4, BLUE, STANDING + sway[::-1]))
        ]
        order = [0] if abs(frame - 75) <= hidden else list(rng.permutation(2))
        people.append([there[who] for who in order])
        for place, who in enumerate(order):
            places[who, frame] = place
    return people, places


def walks(*lines):
    """The people of each frame; a line is a person's frames, None where they are not found."""
    return [[one for one in there if one is not None] for there in zip(*lines, strict=True)]


# --- followed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_two_people_cross(seed):
    people, places = crossing(seed)
    tracks = followed(people)
    assert len(tracks) == 2
    by_start = {people[0][track.places[0]].torso[0] > 0.5: track for track in tracks}
    assert by_start[True].places.tolist() == places[0].tolist()
    assert by_start[False].places.tolist() == places[1].tolist()
    assert np.flatnonzero(places[1] < 0).tolist() == list(range(69, 82))
    assert not any(track.swapped.any() for track in tracks)


def test_without_colours_a_constant_velocity_leads_through_a_short_meeting():
    people = walks(
        [person(60.0 + 5 * frame) for frame in range(40)],
        [person(260.0 - 5 * frame) if frame not in (19, 20, 21) else None for frame in range(40)],
    )
    there = np.array([1] * 19 + [-1] * 3 + [1] * 18)
    assert [track.places.tolist() for track in followed(people)] == [[0] * 40, there.tolist()]


def test_somebody_far_away_is_somebody_else():
    # Two units are 2 · 0.2 of the diagonal, 196.2 px: 78.5 px.
    for step, count in ((78, 1), (79, 2)):
        tracks = followed([[person(100)], [person(100 + step)]])
        assert len(tracks) == count


def test_a_torso_of_another_colour_is_somebody_else():
    for change, count in ((119, 2), (121, 3)):
        colours = np.array([0.1, 0.1, 0.1]), np.array([0.1, 0.1, 0.1 + change / 255])
        people = walks([person(100, torso=colour) for colour in colours], [person(500), person(500)])
        assert len(followed(people)) == count


def test_the_back_of_somebody_alone_may_have_another_colour():
    line = [
        person(100.0, torso=RED if frame < 15 else GREEN, joints=STANDING * [np.cos(np.pi * frame / 30), 1])
        for frame in range(31)
    ]
    assert [track.places.tolist() for track in followed(walks(line))] == [[0] * 31]
    # Whoever comes after somebody who has gone is told by the colour, and so is whoever stands elsewhere: by more than
    # half a unit, 19.6 px.
    assert len(followed(walks([*line[:15], None, *line[15:]]))) == 2
    for step, count in ((19, 1), (20, 2)):
        assert len(followed([[person(100, torso=RED)], [person(100 + step, torso=GREEN)]])) == count


def test_light_may_change_slowly():
    line = [person(100, torso=np.array([0.1 + frame / 150, 0.1, 0.1])) for frame in range(120)]
    assert [track.places.tolist() for track in followed(walks(line))] == [[0] * 120]


def test_one_wrong_pose_does_not_take_a_track_over():
    line = [person(100.0 + frame) if frame != 20 else person(400.0) for frame in range(40)]
    tracks = followed(walks(line))
    assert [np.flatnonzero(track.places == 0).tolist() for track in tracks] == [[*range(20), *range(21, 40)], [20]]


def test_somebody_who_leaps_is_the_same_one_and_no_newcomer():
    line = [person(100.0 if frame < 20 else 190.0) for frame in range(40)]
    tracks = followed(walks(line))
    assert [np.flatnonzero(track.places == 0).tolist() for track in tracks] == [[*range(20), *range(21, 40)], [20]]


def test_joints_that_are_not_seen_are_guessed_on():
    line = [person(100.0 + frame**2) for frame in range(30)]
    for one in line[10:20]:
        one.scores[11:17] = 0
    for one in line[20:]:
        one.scores[:11] = 0
    assert [track.places.tolist() for track in followed(walks(line))] == [[0] * 30]


def test_whoever_comes_back_after_a_long_time_is_known_by_the_torso():
    away = [None] * 90
    here = [person(100.0, torso=RED) for _ in range(20)]
    back = [person(500.0, torso=RED) for _ in range(20)]
    (track,) = followed(walks([*here, *away, *back]))
    assert track.places.tolist() == [0] * 20 + [-1] * 90 + [0] * 20
    other = [person(500.0, torso=BLUE) for _ in range(20)]
    assert len(followed(walks([*here, *away, *other]))) == 2


def test_a_cut_keeps_people_by_their_torsos_wherever_they_stand():
    people = walks(
        [person(100.0 if frame < 10 else 600.0, torso=RED) for frame in range(20)],
        [person(600.0 if frame < 10 else 100.0, torso=BLUE) for frame in range(20)],
    )
    assert [track.places.tolist() for track in followed(people, cuts=[10])] == [[0] * 20, [1] * 20]
    # Without the cut, the places say who is who: nobody stands where somebody in such clothes was.
    assert len(followed(people)) == 4


def test_somebody_alone_stays_the_same_one_over_a_cut_in_other_clothes():
    line = [person(100.0 if frame < 10 else 600.0, torso=RED if frame < 10 else BLUE) for frame in range(20)]
    assert [track.places.tolist() for track in followed(walks(line), cuts=[10])] == [[0] * 20]


@pytest.mark.parametrize("unseen", [[10], [9, 10, 11], [10, 11, 12]])
def test_somebody_alone_stays_the_same_one_where_nobody_is_found_about_the_cut(unseen):
    line = [
        None if frame in unseen else person(100.0, torso=RED) if frame < 10 else person(500.0, torso=BLUE)
        for frame in range(20)
    ]
    (track,) = followed(walks(line), cuts=[10])
    assert np.flatnonzero(track.places < 0).tolist() == unseen


def test_a_cut_ends_a_velocity():
    line = [person(60.0 * frame if frame < 10 else 900.0 - 30 * frame) for frame in range(20)]
    assert [track.places.tolist() for track in followed(walks(line), cuts=[10])] == [[0] * 20]


def test_a_body_without_a_point_is_nobody():
    faceless = Person(np.zeros((133, 2)), np.full(133, 0.49))
    assert [track.places.tolist() for track in followed([[faceless, person(100)], [faceless], []])] == [[1, -1, -1]]
    assert followed([[faceless], []]) == []


# --- sides -----------------------------------------------------------------------------------------------------------


def test_each_point_changes_places_with_the_one_across():
    assert np.array_equal(OTHER_SIDE[OTHER_SIDE], np.arange(133))
    assert np.array_equal(OTHER_SIDE[FACE], np.arange(23, 91))
    assert np.array_equal(OTHER_SIDE[LEFT_HAND], np.arange(133)[RIGHT_HAND])
    assert OTHER_SIDE[[0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 18, 19]].tolist() == [
        0,
        2,
        4,
        6,
        8,
        10,
        12,
        14,
        16,
        20,
        21,
        22,
    ]


@pytest.mark.parametrize("wrong", [[5], [5, 6, 7], [19], [0], [0, 1, 2]])
def test_swapped_sides_are_put_right(wrong):
    """Also where the clip begins with them: most frames are right."""
    line = [person(100.0 + frame) for frame in range(20)]
    given = [turned(one) if frame in wrong else one for frame, one in enumerate(line)]
    people = walks(given)
    (track,) = followed(people)
    assert np.flatnonzero(track.swapped).tolist() == wrong
    result = keypoints(track, people, 480, 832)
    assert np.array_equal(result.points, np.stack([one.points for one in line]))


def test_somebody_who_turns_round_is_left_alone():
    line = [person(100.0, joints=STANDING * [np.cos(np.pi * frame / 30), 1]) for frame in range(31)]
    (track,) = followed(walks(line))
    assert not track.swapped.any()


def test_somebody_who_turns_round_between_two_frames_is_left_alone():
    """Shoulders and hips change sides. Arms and legs do not: they go on, and some are hidden."""
    before, after = STANDING.copy(), STANDING.copy()
    before[[15, 16]] = (60, 185), (-60, 185)
    after[[5, 6, 11, 12]] = before[[6, 5, 12, 11]]
    after[[9, 13, 15, 16]] = before[[9, 13, 15, 16]] + (20, 0)
    line = [person(100.0, joints=before if frame < 14 else after) for frame in range(20)]
    for one in line:
        one.scores[[0, 1, 2, 3, 4, 7, 8, 10, 14]] = 0
    (track,) = followed(walks(line))
    assert not track.swapped.any()


def test_in_profile_the_sides_say_nothing():
    line = [person(100.0, joints=STANDING * [0.1, 1]) for _ in range(20)]
    line[10] = turned(line[10])
    (track,) = followed(walks(line))
    assert not track.swapped.any()


def test_somebody_hidden_may_have_turned_round():
    line = [person(100.0) if frame < 10 else None if frame < 15 else turned(person(100.0)) for frame in range(25)]
    (track,) = followed(walks(line))
    assert track.places.tolist() == [0] * 10 + [-1] * 5 + [0] * 10
    assert not track.swapped.any()


# --- chosen ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def three():
    """Larger than anybody in the last frame, else small; steady; in the middle; and a glimpse at the left."""
    return walks(
        [person(100.0, torso=RED, size=0.5 if frame < 11 else 2.0) for frame in range(12)],
        [person(700.0, torso=BLUE) for _ in range(12)],
        [person(430.0, torso=GREEN, size=0.5) for _ in range(12)],
        [person(5.0, torso=BLUE) if frame < 2 else None for frame in range(12)],
    )


@pytest.mark.parametrize(
    "choice, index, expected",
    [
        ("largest", 0, 1),
        ("leftmost", 0, 0),
        ("rightmost", 0, 1),
        ("centre", 0, 2),
        ("index", 0, 0),
        ("index", 1, 2),
        ("index", 2, 1),
    ],
)
def test_one_is_chosen_over_the_clip(three, choice, index, expected):
    tracks = [Track(np.full(12, place), np.zeros(12, dtype=bool)) for place in range(3)]
    tracks.append(Track(np.array([3, 3] + [-1] * 10), np.zeros(12, dtype=bool)))
    assert chosen(tracks, three, 832, 480, choice, index) is tracks[expected]


def test_largest_is_not_largest_in_each_frame():
    """Two who pass each other in depth: the larger one changes in frame 20, the chosen one does not."""
    people = walks(
        [person(150.0, torso=RED, size=1.5 - frame / 40) for frame in range(30)],
        [person(600.0, torso=BLUE, size=0.5 + frame / 40) for frame in range(30)],
    )
    track = chosen(followed(people), people, 832, 480)
    assert track.places.tolist() == [0] * 30
    sizes = [[body_size(one.points[:17]) for one in there] for there in people]
    assert np.argmax(sizes, axis=1).tolist() == [0] * 21 + [1] * 9


def test_choices_that_nobody_fits(three):
    tracks = followed(three)
    with pytest.raises(InputError, match=r"person_index must be within 0\.\.\d.*got 9"):
        chosen(tracks, three, 832, 480, "index", 9)
    with pytest.raises(InputError, match="person_index"):
        chosen(tracks, three, 832, 480, "index", -1)
    with pytest.raises(InputError, match=r"person must be one of largest, leftmost.*got 'tallest'"):
        chosen(tracks, three, 832, 480, "tallest")
    with pytest.raises(InputError, match=r"must show a person.*none in 2 frames"):
        chosen(followed([[], []]), [[], []], 832, 480)


# Of the three in the last frame: the right one's box is 672..728 wide, 97..285 high, the middle one's 416..444.
@pytest.mark.parametrize(
    "x, y, expected",
    [
        (700, 200, 1),
        (430, 140, 2),
        (672, 97, 1),
        # Beside a box, whoever is nearer; below, too.
        (557, 150, 2),
        (559, 150, 1),
        (700, 479, 1),
        (0, 0, 0),
    ],
)
def test_whoever_is_at_a_point(three, x, y, expected):
    tracks = [Track(np.full(12, place), np.zeros(12, dtype=bool)) for place in range(3)]
    assert at_point(tracks, three, 11, x, y) is tracks[expected]


def test_whoever_is_at_a_point_of_that_frame():
    people = walks([person(100.0 if frame < 6 else 600.0) for frame in range(12)], [person(350.0) for _ in range(12)])
    tracks = [Track(np.full(12, place), np.zeros(12, dtype=bool)) for place in range(2)]
    assert at_point(tracks, people, 5, 100, 200) is tracks[0] and at_point(tracks, people, 6, 200, 200) is tracks[1]


def test_of_people_whose_boxes_hold_a_point_the_one_whose_joints_are_about_it():
    # A hand of the first one reaches over the second.
    reaching = STANDING.copy()
    reaching[9] = (150, 25)
    people = [[person(100.0, joints=reaching), person(200.0)]]
    tracks = [Track(np.array([place]), np.zeros(1, dtype=bool)) for place in range(2)]
    assert at_point(tracks, people, 0, 200, 180) is tracks[1] and at_point(tracks, people, 0, 110, 180) is tracks[0]


def test_whoever_is_hidden_is_at_no_point():
    people = [[person(100.0)], [person(100.0)], []]
    tracks = [Track(np.array([0, -1, -1]), np.zeros(3, dtype=bool)), Track(np.array([-1, 0, -1]), np.zeros(3, bool))]
    assert [at_point(tracks, people, frame, 400, 100) for frame in range(3)] == [*tracks, None]


def test_keypoints_of_a_track():
    people = [[person(1), person(2)], [], [person(3)]]
    track = Track(np.array([1, -1, 0]), np.array([False, False, True]))
    found = keypoints(track, people, 832, 480)
    assert (found.points.shape, found.scores.shape, found.width, found.height) == ((3, 133, 2), (3, 133), 832, 480)
    assert np.array_equal(found.points[0], people[0][1].points)
    assert np.array_equal(found.points[2], people[2][0].points[OTHER_SIDE])
    assert found.scores.sum(axis=1).tolist() == [17, 0, 17]


# --- measures --------------------------------------------------------------------------------------------------------


def test_distance_of_bodies():
    moved = STANDING + np.array([3, 4])
    moved[0] = np.nan
    assert body_distance(STANDING, moved) == 5
    # Of the sixteen joints that both have, seven are far off, then one more by 15: the median is 5, then (5 + 15) / 2.
    moved[1:8] = 500
    assert body_distance(STANDING, moved) == 5
    moved[8] = STANDING[8] + [9, 12]
    assert body_distance(STANDING, moved) == 10
    assert np.array_equal(body_distance(STANDING[None], np.stack([STANDING, moved * np.nan])), [0, np.inf])
    assert body_size(STANDING) == np.hypot(56, 188)
    assert body_size(np.where(np.arange(17)[:, None] == 3, STANDING, np.nan)) == 1


def test_torso_colour():
    frame = np.zeros((300, 200, 3), dtype=np.float32)
    one = person(100)
    # Shoulders at 80 and 120, 125; hips at 88 and 112, 195.
    frame[125:196, 88:113] = 0.25, 0.5, 0.75
    frame[150:155] = 1  # a belt covers less than half
    assert torso_colour(frame, one.points, one.scores).tolist() == [0.25, 0.5, 0.75]
    # Half of the torso lies outside: the other half counts.
    assert torso_colour(frame[:, :100], one.points, one.scores).tolist() == [0.25, 0.5, 0.75]
    assert torso_colour(frame[:100], one.points, one.scores) is None
    for corner in (5, 6, 11, 12):
        scores = one.scores.copy()
        scores[corner] = 0.49
        assert torso_colour(frame, one.points, scores) is None
