from fractions import Fraction

import numpy as np
import pytest

from everanimate_core.driving.keypoints import DRAWN, LEFT_HAND, RIGHT_HAND, Keypoints
from everanimate_core.driving.smooth import plausible_hands, smoothed, steadied, without_outliers

KNEE, FINGER = 13, 100


def clip(track, scores=None, point=KNEE):
    """Keypoints of a clip [N, 133] of which one point is there: track [N, 2], scores [N]; all of it unless given."""
    track = np.asarray(track, dtype=float)
    points, found = np.zeros((len(track), 133, 2)), np.zeros((len(track), 133))
    points[:, point] = track
    found[:, point] = 0.9 if scores is None else scores
    return Keypoints(points, found, 480, 832)


def line(frames):
    return np.stack([3.0 * np.arange(frames), 200 - 2.0 * np.arange(frames)], axis=1)


def parabola(frames):
    time = np.arange(frames) - frames / 2
    return np.stack([300 + 2 * time - 0.4 * time**2, 0.7 * time**2], axis=1)


def scores(frames, missing, value=0.9):
    result = np.full(frames, value)
    result[missing] = 0
    return result


def drawn(found, point=KNEE, **options):
    """The frames in which the point is drawn, and those in which it was filled in."""
    result, filled = steadied(found, 30, **options)
    assert ((result.scores == 0) | (result.scores >= DRAWN)).all()
    assert not filled[result.scores == 0].any()
    return np.flatnonzero(result.scores[:, point]).tolist(), np.flatnonzero(filled[:, point]).tolist()


# --- noise and outliers ----------------------------------------------------------------------------------------------


def test_a_parabola_passes_unchanged():
    track, rng = parabola(60), np.random.default_rng(0)
    result, filled = steadied(clip(track, rng.uniform(0.5, 1, 60)), 30)
    assert np.allclose(result.points[:, KNEE], track, rtol=0, atol=1e-9)
    assert not filled.any()


def test_the_filter_of_savitzky_and_golay():
    signal = pytest.importorskip("scipy.signal")
    track = np.random.default_rng(1).normal(0, 10, (50, 2))
    expected = signal.savgol_filter(track, 7, 2, axis=0)
    assert np.allclose(smoothed(track, np.full(50, 0.8), 3), expected, rtol=0, atol=1e-9)


def test_weights_of_the_fit():
    """The middle of seven frames, of which one lies off: what it moves falls with its weight, by hand.

    Of equal weights, the middle has 7/21 in the filter's table; with weight w it has w·h / (1 - h + w·h), h = 7/21.
    """
    track = np.zeros((7, 2))
    track[3] = 21, -42
    for weight in (1.0, 0.5, 0.25):
        weights = np.where(np.arange(7) == 3, weight, 1.0)
        share = weight / 3 / (2 / 3 + weight / 3)
        assert np.allclose(smoothed(track, weights, 3)[3], [21 * share, -42 * share], rtol=0, atol=1e-12)


def test_short_runs_are_fitted_as_well_as_they_can_be():
    for frames in (1, 2, 3):
        track = np.random.default_rng(frames).normal(0, 10, (frames, 2))
        assert np.allclose(smoothed(track, np.ones(frames), 3), track, rtol=0, atol=1e-9)
    # The parabola that fits 0, 1, 0, 1 best is the line 0.2, 0.4, 0.6, 0.8: of the square, they have nothing.
    track = np.array([[0, 0], [1, 2], [0, 0], [1, 2]], dtype=float)
    expected = np.array([[0.2, 0.4], [0.4, 0.8], [0.6, 1.2], [0.8, 1.6]])
    assert np.allclose(smoothed(track, np.ones(4), 3), expected, rtol=0, atol=1e-12)


def test_an_outlier_is_removed():
    # On a line, the median of the seven frames around the outlier is the next frame's place, 3 and 2 px off. Of that,
    # 7/21 is left, less in the frames around it.
    track = line(40)
    found = track.copy()
    found[20] += [40, -40]
    result, filled = steadied(clip(found), 30)
    off = np.abs(result.points[:, KNEE] - track)
    assert np.allclose(off[20], [1, 2 / 3], rtol=0, atol=1e-9)
    assert (off <= [1 + 1e-9, 2 / 3 + 1e-9]).all()
    assert not filled.any()
    untouched, _ = steadied(clip(found), 30, smoothing=False)
    assert np.array_equal(untouched.points[:, KNEE], found)


def test_outliers_by_hand():
    # The median of 0, 1, 2, x, 4, 5, 6 is 4, and that of the distances 4, 3, 2, x - 4, 0, 1, 2 is 2: the limit is
    # 3 · (1.4826 · 2 + 0.5) = 10.3956.
    for x, expected in ((14.39, 14.39), (14.40, 4.0)):
        track = np.array([0, 1, 2, x, 4, 5, 6])[:, None].repeat(2, axis=1)
        track[3, 1] = 3
        assert without_outliers(track, np.ones(7, dtype=bool), 3)[3].tolist() == [expected, 3]


def test_frames_that_are_missing_count_nowhere():
    track, known = line(30), np.ones(30, dtype=bool)
    missing = [10, 11, 12, 14, 15, 16]
    track[missing], known[missing] = 5000, False
    assert np.array_equal(without_outliers(track, known, 3), track)


def test_noise_on_a_dance_is_halved():
    """Sums of sines with kicks, 1.5 px of noise, 2 % of outliers: the error halves, the jitter is a sixth (the design
    measured 5.7 px, 2.7 px and 6.5)."""
    rng, frames, points = np.random.default_rng(0), np.arange(600), 40
    truth = np.zeros((600, points, 2))
    for rate, size in ((0.3, 60), (1, 40), (2, 20), (3.5, 8)):
        phase = rng.uniform(0, 2 * np.pi, (points, 2))
        truth += size * np.sin(2 * np.pi * rate * frames[:, None, None] / 30 + phase)
    for kick in rng.integers(60, 540, (4, points, 2)):
        truth += 70 * np.exp(-(((frames[:, None, None] - kick) / 2.5) ** 2))
    noisy = truth + rng.normal(0, 1.5, truth.shape)
    noisy += np.where(rng.random(truth.shape) < 0.02, rng.normal(0, 40, truth.shape), 0)
    found = clip(np.zeros((600, 2)))
    found.points[:, :points], found.scores[:, :points] = noisy, 0.9
    errors = [track - truth for track in (noisy, steadied(found, 30)[0].points[:, :points])]
    before, after = (np.sqrt(np.mean(error**2)) for error in errors)
    assert 5 < before < 7 and after < before / 2
    before, after = (np.sqrt(np.mean(np.diff(error, 3, axis=0) ** 2)) for error in errors)
    assert after < before / 6


@pytest.mark.parametrize("fps, length", [(12, 5), (24, 5), (30, 7), (Fraction(30000, 1001), 7), (50, 11)])
def test_the_window_follows_the_rate(fps, length):
    """One frame off the line by 1 px, too little for an outlier, moves as many frames as the window has."""
    found = line(60)
    found[30] += 1
    moved = np.abs(steadied(clip(found), fps)[0].points[:, KNEE] - line(60)).max(axis=1) > 1e-9
    assert np.flatnonzero(moved).tolist() == list(range(30 - length // 2, 31 + length // 2))


# --- gaps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [True, False])
def test_gaps_of_eight_are_filled(smoothing):
    time = np.arange(90) / 30
    track = 200 + 40 * np.stack([np.sin(2 * np.pi * time), np.cos(2 * np.pi * time)], axis=1)
    for start in range(20, 60):
        gap = list(range(start, start + 8))
        found = track.copy()
        found[gap] = 9999
        result, filled = steadied(clip(found, scores(90, gap)), 30, smoothing=smoothing)
        assert np.abs(result.points[:, KNEE] - track)[10:80].max() < 2
        assert np.flatnonzero(filled[:, KNEE]).tolist() == gap
        assert (result.scores[:, KNEE] == 0.9).all()


def test_gaps_of_nine_are_left_out():
    gap = list(range(20, 29))
    there = [*range(20), *range(29, 60)]
    assert drawn(clip(line(60), scores(60, gap))) == (there, [])
    assert drawn(clip(line(60), scores(60, gap)), max_gap=9) == (list(range(60)), gap)
    assert drawn(clip(line(60), scores(60, [30])), max_gap=0) == ([*range(30), *range(31, 60)], [])


def test_gaps_of_hands_are_shorter():
    finger = hands(60)
    for missing, filled in ((5, True), (6, False)):
        found = Keypoints(finger.points, finger.scores.copy(), 480, 832)
        found.scores[20 : 20 + missing, FINGER] = 0
        gap = list(range(20, 20 + missing))
        there = list(range(60)) if filled else [*range(20), *range(20 + missing, 60)]
        assert drawn(found, FINGER) == (there, gap if filled else [])


@pytest.mark.parametrize("fps, longest", [(15, 4), (24, 6), (60, 16)])
def test_gaps_follow_the_rate(fps, longest):
    for missing in (longest, longest + 1):
        gap = list(range(20, 20 + missing))
        _, filled = steadied(clip(line(80), scores(80, gap)), fps)
        assert np.flatnonzero(filled[:, KNEE]).tolist() == (gap if missing == longest else [])


def test_gaps_lie_between():
    """Before the first frame and after the last one nothing is filled."""
    gap = [0, 1, 2, 27, 28, 29]
    assert drawn(clip(line(30), scores(30, gap))) == (list(range(3, 27)), [])


def test_a_gap_is_a_cubic_through_two_frames_on_either_side():
    time = np.arange(30.0)
    track = np.stack([0.01 * (time - 12) ** 3 - time, 100 - time**2 / 9], axis=1)
    result, _ = steadied(clip(track, scores(30, range(10, 16))), 30, smoothing=False)
    assert np.allclose(result.points[:, KNEE], track, rtol=0, atol=1e-9)


def test_a_gap_beside_a_single_frame_is_a_line():
    found, given = parabola(20), scores(20, [8, 9, 11])
    result, _ = steadied(clip(found, given), 30, smoothing=False)
    known = np.flatnonzero(given)
    expected = np.stack([np.interp(np.arange(20), known, found[known, axis]) for axis in (0, 1)], axis=1)
    assert np.allclose(result.points[:, KNEE], expected, rtol=0, atol=1e-9)


def test_scores_of_filled_frames_lie_between():
    given = np.array([0.6] * 5 + [0.0] * 3 + [1.0] * 5)
    result, _ = steadied(clip(line(13), given), 30)
    assert np.allclose(result.scores[:, KNEE], [0.6] * 5 + [0.7, 0.8, 0.9] + [1.0] * 5)


# --- flicker ---------------------------------------------------------------------------------------------------------


def test_a_point_stays_while_its_score_holds_out():
    given = np.array([0.34] * 12 + [0.36, 0.49, 0.5, 0.4, 0.36] + [0.34] * 12 + [0.49] * 12)
    assert drawn(clip(line(len(given)), given)) == (list(range(12, 17)), [])
    result, _ = steadied(clip(line(len(given)), given), 30)
    assert (result.scores[12:17, KNEE] == 0.5).all()


@pytest.mark.parametrize("seen, shown", [([20, 21], []), ([20, 21, 22], [20, 21, 22]), ([20, 24], [])])
def test_fewer_than_three_frames_are_left_out(seen, shown):
    given = np.zeros(40)
    given[seen] = 0.9
    assert drawn(clip(line(40), given)) == (shown, [])


def test_every_second_frame_is_enough():
    given = np.where(np.arange(21) % 2, 0, 0.9)
    assert drawn(clip(line(21), given)) == (list(range(21)), list(range(1, 21, 2)))


@pytest.mark.parametrize("frames", [1, 2])
def test_clips_of_a_frame_or_two_keep_what_they_have(frames):
    result, filled = steadied(clip(line(frames)), 30)
    assert np.allclose(result.points[:, KNEE], line(frames), rtol=0, atol=1e-9)
    assert (result.scores[:, KNEE] == 0.9).all()
    assert filled.shape == (frames, 133) and not filled.any()


# --- whole clips and shots -------------------------------------------------------------------------------------------


def dance(frames, seed=0):
    """133 points with noise, gaps and outliers."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 3, (frames, 133, 2)).cumsum(axis=0) + rng.uniform(100, 400, (133, 2))
    found = np.where(rng.random((frames, 133)) < 0.2, 0.1, rng.uniform(0.3, 1, (frames, 133)))
    return Keypoints(steps, found, 480, 832)


def test_shots_know_nothing_of_each_other():
    found = dance(90)
    whole, filled = steadied(found, 30, cuts=[31, 60])
    for shot in (slice(0, 31), slice(31, 60), slice(60, 90)):
        part, gaps = steadied(Keypoints(found.points[shot], found.scores[shot], 480, 832), 30)
        assert part.scores.tobytes() == whole.scores[shot].tobytes()
        assert gaps.tobytes() == filled[shot].tobytes()
        there = part.scores > 0
        assert part.points[there].tobytes() == whole.points[shot][there].tobytes()


def test_a_cut_is_neither_smoothed_nor_filled():
    track = line(40)
    track[20:] += 500
    result, _ = steadied(clip(track), 30, cuts=[20])
    assert np.allclose(result.points[:, KNEE], track, rtol=0, atol=1e-9)
    without, _ = steadied(clip(track), 30)
    assert np.abs(without.points[:, KNEE] - track).max() > 50
    assert drawn(clip(track, scores(40, [18, 19])), cuts=[20]) == ([*range(18), *range(20, 40)], [])


@pytest.mark.parametrize("window", [1, 7, 16, 64, 100])
def test_windows_of_any_size_give_the_same(window):
    """Found keypoints are gathered window by window; only the whole clip is made steady."""
    found = dance(100)
    parts = [slice(start, start + window) for start in range(0, 100, window)]
    gathered = Keypoints(
        np.concatenate([found.points[part] for part in parts]),
        np.concatenate([found.scores[part] for part in parts]),
        480,
        832,
    )
    before = found.points.copy(), found.scores.copy()
    for one, other in zip(*(_flat(steadied(keypoints, 30)) for keypoints in (found, gathered)), strict=True):
        assert one.tobytes() == other.tobytes()
    assert np.array_equal(found.points, before[0]) and np.array_equal(found.scores, before[1])


def _flat(result):
    keypoints, filled = result
    return keypoints.points, keypoints.scores, filled


# --- hands -----------------------------------------------------------------------------------------------------------


def hands(frames, arm=100.0, off=0.0, span=50.0):
    """Arms that hang down, bones of `arm` px, with a hand `off` below each wrist whose box has a diagonal of `span`."""
    points, found = np.zeros((frames, 133, 2)), np.zeros((frames, 133))
    for side, (joints, hand) in enumerate((((5, 7, 9), LEFT_HAND), ((6, 8, 10), RIGHT_HAND))):
        x = 300 - 200 * side
        points[:, joints] = [(x, 100), (x, 100 + arm), (x, 100 + 2 * arm)]
        points[:, hand] = np.linspace(0, 1, 21)[:, None] * [0.6 * span, 0.8 * span] + [x, 100 + 2 * arm + off]
        found[:, list(joints)], found[:, hand] = 1, 1
    return Keypoints(points, found, 480, 832)


@pytest.mark.parametrize(
    "given, kept",
    [({}, True), ({"off": 35}, True), ({"off": 36}, False), ({"span": 119.9}, True), ({"span": 120.1}, False)],
)
def test_hands_that_belong_to_a_wrist(given, kept):
    found = hands(3, **given)
    result = plausible_hands(found, 30)
    assert (result[:, LEFT_HAND] == kept).all() and (result[:, RIGHT_HAND] == kept).all()
    assert np.array_equal(result[:, :91], found.scores[:, :91])


def test_each_hand_is_judged_by_its_own_wrist():
    found = hands(3)
    found.points[1, LEFT_HAND] = found.points[1, RIGHT_HAND]
    found.scores[2, 10] = 0.3
    result = plausible_hands(found, 30)
    assert (result[:, LEFT_HAND] == [[1], [0], [1]]).all()
    assert (result[:, RIGHT_HAND] == [[1], [1], [0]]).all()
    found.scores[0, LEFT_HAND.start] = 0.3
    assert not plausible_hands(found, 30)[0, LEFT_HAND].any()


def test_arms_that_point_at_the_camera_have_their_length():
    """The longest bone within half a second counts, 15 frames at 30 a second, but of the same shot."""
    found = hands(60, off=20)
    found.points[20:, 5:11] = found.points[20:, [9, 10, 9, 10, 9, 10]]
    kept = plausible_hands(found, 30)[:, LEFT_HAND.start]
    assert np.flatnonzero(kept).tolist() == list(range(20 + 15))
    kept = plausible_hands(found, 30, cuts=[25])[:, LEFT_HAND.start]
    assert np.flatnonzero(kept).tolist() == list(range(25))
    # One upper arm is enough.
    found.points[:, 5] = found.points[:, 9] + [0, 100]
    assert plausible_hands(found, 30)[:, LEFT_HAND.start].all()


def test_hands_in_the_wrong_place_are_not_drawn():
    result, filled = steadied(hands(20, off=36), 30)
    assert not result.scores[:, 91:].any() and not filled.any()
