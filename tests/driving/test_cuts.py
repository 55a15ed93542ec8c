import numpy as np
import pytest

from everanimate_core.driving.cuts import found_cuts, histogram, shots
from everanimate_core.driving.people import Person

# Six frames, and where the colours change for good.
STILL, CUT = np.zeros((6, 1), dtype=int), np.array([[0], [0], [0], [1], [1], [1]])


def colours(numbers):
    """Histograms of frames of one colour each."""
    return np.eye(64)[np.asarray(numbers).ravel()]


def person(x):
    points, scores = np.zeros((133, 2)), np.zeros(133)
    # A box of 30 x 40: its diagonal is 50.
    points[:4], scores[:4] = [(x, 0), (x + 30, 0), (x, 40), (x + 30, 40)], 1
    return Person(points, scores)


def test_histogram():
    frame = np.zeros((8, 8, 3), dtype=np.float32)
    frame[:, 4:] = 1.0, 0.5, 0.25
    expected = np.zeros(64)
    expected[0], expected[3 * 16 + 2 * 4 + 1] = 0.5, 0.5
    assert np.array_equal(histogram(frame), expected)


@pytest.mark.parametrize("step, cuts", [(25, []), (26, [3])])
def test_a_jump_of_half_a_body_in_other_colours_is_a_cut(step, cuts):
    people = [[person(0)]] * 3 + [[person(step)]] * 3
    assert found_cuts(people, colours(CUT)) == cuts
    assert found_cuts(people, colours(STILL)) == []


@pytest.mark.parametrize("share, cuts", [(0.25, []), (0.35, [3])])
def test_a_third_of_the_colours_has_to_change(share, cuts):
    histograms = (1 - share * CUT) * colours(STILL) + share * CUT * colours(STILL + 5)
    assert found_cuts([[person(0)]] * 3 + [[person(200)]] * 3, histograms) == cuts


def test_somebody_who_stays_is_in_the_same_shot():
    people = [[person(0), person(100)]] * 3 + [[person(300), person(105)]] * 3
    assert found_cuts(people, colours(CUT)) == []


def test_nobody_seen_at_the_break():
    unseen = [[person(0)]] * 2 + [[], []]
    assert found_cuts([*unseen, [person(5)], [person(5)]], colours(CUT)) == []
    assert found_cuts([*unseen, [person(80)], [person(80)]], colours(CUT)) == [3]
    assert found_cuts([[]] * 6, colours(CUT)) == [3]


def test_shots():
    assert shots([], 5) == [slice(0, 5)]
    assert shots([3, 1], 5) == [slice(0, 1), slice(1, 3), slice(3, 5)]
