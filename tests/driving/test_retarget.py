"""Retargeting: what must not matter, what must follow the reference exactly, and which frame is compared."""

import numpy as np
import pytest
from driving.bodies import (
    LEGS,
    bent,
    dance,
    keypoints,
    numbers,
    standing,
    stretched,
    stretched_on_both_sides,
    without,
)
from refusals import refusal

from everanimate_core.driving.keypoints import DRAWN, FACE, LEFT_HAND, POINTS, RIGHT_HAND, Keypoints
from everanimate_core.driving.pose import JOINT, LIMBS, pose_of
from everanimate_core.driving.retarget import letterboxed, retargeted

STARTS, ENDS = np.array(LIMBS).T
FOREARMS = [3, 5]
PARTS = ("joints", "left_hand", "right_hand")


def reference_body(**where):
    """Another person than standing(): longer legs, shorter arms, wider shoulders; 624x1104, feet on y = 1060."""
    body = stretched_on_both_sides(standing(tall=800, middle=300, crown=200, **where), "hip", "knee", 1.2)
    body = stretched_on_both_sides(body, "knee", "ankle", 1.2)
    body = stretched_on_both_sides(body, "elbow", "wrist", 0.9)
    for part, step in (("left shoulder", 12), ("right shoulder", -12)):
        body = moved_limb(body, part, step)
    return body


def moved_limb(body, part, step):
    """The body with an arm that starts `step` pixels further right."""
    arm = numbers(part) + [n for name in ("elbow", "wrist", "hand") for n in numbers(f"{part.split()[0]} {name}")]
    result = body.copy()
    result[arm, 0] += step
    return result


def reference(points=None):
    return keypoints(reference_body() if points is None else points, 624, 1104)


def lengths(joints):
    return np.linalg.norm(joints[..., ENDS, :] - joints[..., STARTS, :], axis=-1)


def assert_same(pose, expected, scale=1.0, shift=(0.0, 0.0), tolerance=1e-6):
    for part in PARTS:
        np.testing.assert_allclose(
            getattr(pose, part), getattr(expected, part) * scale + shift, rtol=0, atol=tolerance, err_msg=part
        )


@pytest.mark.parametrize("mode", ["fit", "proportions"])
def test_equal_bodies_change_nothing(mode):
    driver = keypoints(dance(40))
    result = retargeted(driver, keypoints(standing()), mode, template_frame=0)
    assert_same(result.pose, pose_of(driver))
    assert (result.pose.joint_scores >= DRAWN).all()
    np.testing.assert_array_equal(result.pose.left_scores, driver.scores[:, LEFT_HAND])
    np.testing.assert_array_equal(result.pose.right_scores, driver.scores[:, RIGHT_HAND])
    assert (result.template_frame, result.scale, result.measured) == (0, pytest.approx(1), "nose to ankles")
    assert (result.anchor, result.clamped) == ("ground", ())


@pytest.mark.parametrize("mode", ["fit", "proportions"])
def test_place_and_size_of_the_driver_do_not_matter(mode):
    clip = dance(40)
    plain = retargeted(keypoints(clip), reference(), mode)
    moved = retargeted(keypoints(np.add(clip, (37.5, -12.25))), reference(), mode)
    scaled = retargeted(keypoints(clip * 0.37, 178, 308), reference(), mode)
    assert_same(moved.pose, plain.pose)
    assert_same(scaled.pose, plain.pose)
    assert scaled.scale == pytest.approx(plain.scale / 0.37)
    assert (plain.pose.width, plain.pose.height) == (624, 1104)


@pytest.mark.parametrize("mode", ["fit", "proportions"])
def test_place_and_size_of_the_reference_are_followed(mode):
    driver = keypoints(dance(40))
    plain = retargeted(driver, reference(), mode)
    moved = retargeted(driver, reference(np.add(reference_body(), (20.5, -31))), mode)
    scaled = retargeted(driver, keypoints(reference_body() * 0.6, 375, 663), mode)
    assert_same(moved.pose, plain.pose, shift=(20.5, -31))
    assert_same(scaled.pose, plain.pose, scale=0.6)


def test_the_template_frame_has_the_references_limbs():
    result = retargeted(keypoints(dance(40)), reference(), template_frame=7)
    target = pose_of(reference()).joints[0]
    np.testing.assert_allclose(lengths(result.pose.joints[7]), lengths(target), rtol=1e-12)


@pytest.mark.parametrize("mode", ["fit", "proportions"])
def test_the_template_frame_stands_where_the_reference_stands(mode):
    # The reference leans to the side: its hips are not below its neck.
    body = reference_body()
    body[:, 0] += 0.2 * (1104 - body[:, 1])
    result = retargeted(keypoints(dance(40)), reference(body), mode, template_frame=7)
    target, joints = pose_of(reference(body)).joints[0], result.pose.joints[7]
    hips, ankles = [JOINT["left hip"], JOINT["right hip"]], [JOINT["left ankle"], JOINT["right ankle"]]
    assert joints[hips, 0].mean() == pytest.approx(target[hips, 0].mean())
    assert joints[ankles, 1].max() == pytest.approx(target[ankles, 1].max())


def test_limbs_keep_their_directions():
    driver = pose_of(keypoints(dance(40))).joints
    result = retargeted(keypoints(dance(40)), reference()).pose.joints
    before, after = (joints[:, ENDS] - joints[:, STARTS] for joints in (driver, result))
    np.testing.assert_allclose(after / lengths(result)[..., None], before / lengths(driver)[..., None], atol=1e-9)


@pytest.mark.parametrize("mode", ["fit", "proportions"])
def test_steps_of_the_driver_are_scaled(mode):
    clip = dance(40)
    result = retargeted(keypoints(clip), reference(), mode)
    steps = np.diff(pose_of(keypoints(clip)).joints[:, JOINT["neck"]], axis=0)
    np.testing.assert_allclose(np.diff(result.pose.joints[:, JOINT["neck"]], axis=0), steps * result.scale, atol=1e-9)
    # Nose to ankles: 0.84 of 700 pixels, and 0.84 + 0.2 * 0.42 (longer legs) of 800, but for the legs' slant.
    assert result.scale == pytest.approx((0.84 + 0.084) * 800 / (0.84 * 700), rel=1e-3)


def test_fit_keeps_the_drivers_proportions():
    driver = keypoints(dance(40))
    result = retargeted(driver, reference(), "fit")
    before = pose_of(driver)
    shift = result.pose.joints[0, JOINT["neck"]] - result.scale * before.joints[0, JOINT["neck"]]
    assert_same(result.pose, before, result.scale, shift)


def test_hands_are_scaled_with_the_shoulders_and_hang_on_the_wrists():
    clip = dance(40)
    # Their roots are found a little beside the wrists.
    clip[:, LEFT_HAND] += (5, 3)
    clip[:, RIGHT_HAND] += (-2, 4)
    result = retargeted(keypoints(clip), reference(), template_frame=0)
    # Half the shoulders' breadth: 0.115 of 800 pixels and 12 more, and 0.115 of 700.
    growth = (0.115 * 800 + 12) / (0.115 * 700)
    for side, hand in (("left", LEFT_HAND), ("right", RIGHT_HAND)):
        points = getattr(result.pose, f"{side}_hand")
        np.testing.assert_allclose(points[:, 0], result.pose.joints[:, JOINT[f"{side} wrist"]], atol=1e-9)
        before = clip[:, hand] - clip[:, hand][:, :1]
        np.testing.assert_allclose(points - points[:, :1], growth * before, atol=1e-9)


def test_a_hand_without_its_root_is_left_out():
    driver = without(keypoints(dance(3)), numbers("left hand")[:1], 1)
    pose = retargeted(driver, reference()).pose
    assert not pose.left_scores[1].any()
    assert (pose.left_scores[[0, 2]] == 0.9).all() and (pose.right_scores == 0.9).all()


def test_a_foreshortened_first_frame_does_not_lengthen_the_arms():
    clip = dance(40)
    clip[0] = stretched_on_both_sides(clip[0], "elbow", "wrist", 0.2)
    result = retargeted(keypoints(clip), reference())
    target = lengths(pose_of(reference()).joints[0])
    assert result.template_frame != 0 and result.clamped == ()
    np.testing.assert_allclose(
        lengths(result.pose.joints[1:])[:, FOREARMS], target[FOREARMS] + np.zeros((39, 2)), rtol=0.1
    )
    # Compared in that frame, they come out too long, as far as the clamp lets them.
    first = retargeted(keypoints(clip), reference(), template_frame=0)
    assert first.clamped == ("right elbow to right wrist", "left elbow to left wrist")
    assert (lengths(first.pose.joints[1:])[:, FOREARMS] > 1.3 * target[FOREARMS]).all()


def test_ratios_are_clamped_about_their_median_and_named():
    target = stretched_on_both_sides(standing(), "elbow", "wrist", 3.0)
    target = stretched_on_both_sides(target, "shoulder", "elbow", 0.3)
    result = retargeted(keypoints(standing()), keypoints(target))
    before, after = lengths(pose_of(keypoints(standing())).joints[0]), lengths(result.pose.joints[0])
    expected = np.ones(19)
    expected[[2, 4]], expected[FOREARMS] = 0.67, 1.5
    np.testing.assert_allclose(after, expected * before, rtol=1e-12)
    assert result.clamped == (
        "right shoulder to right elbow",
        "right elbow to right wrist",
        "left shoulder to left elbow",
        "left elbow to left wrist",
    )


def test_sides_share_the_larger_ratio_and_the_head_the_mean():
    target = stretched(stretched(standing(), "left elbow", "left wrist", 1.2), "right elbow", "right wrist", 0.9)
    # The left ear moves away from its eye, to 1.4 times the distance.
    target[3] = target[1] + 1.4 * (target[3] - target[1])
    result = retargeted(keypoints(standing()), keypoints(target))
    ratios = lengths(result.pose.joints[0]) / lengths(pose_of(keypoints(standing())).joints[0])
    np.testing.assert_allclose(ratios[FOREARMS], 1.2)
    np.testing.assert_allclose(ratios[[14, 16]], 1.2)


def test_a_missing_limb_takes_its_mirrors_ratio_or_the_median():
    # Legs 1.2 times as long would change what the height is, so that arms are tried: forearms 1.2, upper arms 0.9.
    target = stretched_on_both_sides(standing(), "elbow", "wrist", 1.2)
    target = stretched_on_both_sides(target, "shoulder", "elbow", 0.9)
    before = lengths(pose_of(keypoints(standing())).joints[0])
    one = retargeted(keypoints(standing()), without(keypoints(target), numbers("left wrist")))
    np.testing.assert_allclose((lengths(one.pose.joints[0]) / before)[[2, 3, 4, 5]], [0.9, 1.2, 0.9, 1.2])
    wrists = numbers("left wrist") + numbers("right wrist")
    both = retargeted(keypoints(standing()), without(keypoints(target), wrists))
    np.testing.assert_allclose((lengths(both.pose.joints[0]) / before)[[2, 3, 4, 5]], [0.9, 1, 0.9, 1])
    assert one.clamped == both.clamped == ()
    # In the driver, the wrists are missing in the template frame only.
    driver = without(keypoints(dance(5)), wrists, 0)
    there = retargeted(driver, keypoints(target), template_frame=0)
    ratios = lengths(there.pose.joints) / lengths(pose_of(keypoints(dance(5))).joints)
    np.testing.assert_allclose(ratios[1:, FOREARMS], 1)


def test_toes_are_at_most_half_a_shin_long():
    clip = dance(2)
    # The left foot is as long as the shin in frame 1, and longer than half of it.
    ankle = clip[1, numbers("left ankle")]
    clip[1, [17, 18], 0] = ankle[0, 0]
    clip[1, [17, 18], 1] = ankle[0, 1] + np.linalg.norm(ankle - clip[1, numbers("left knee")])
    result = retargeted(keypoints(clip), keypoints(standing()), template_frame=0)
    after, before = lengths(result.pose.joints), lengths(pose_of(keypoints(clip)).joints)
    left_foot, right_foot, left_shin = 17, 18, 11
    assert after[1, left_foot] == pytest.approx(0.5 * before[1, left_shin])
    np.testing.assert_allclose(after[1, right_foot], before[1, right_foot])
    np.testing.assert_allclose(after[0], before[0])
    np.testing.assert_allclose(result.pose.joints[1, JOINT["left toe"], 0], ankle[0, 0])


@pytest.mark.parametrize("cut", ["driver", "reference", "legs outside of the picture"])
def test_half_a_body_is_placed_by_its_neck(cut):
    driver, target = keypoints(dance(40)), reference()
    if cut == "driver":
        driver = without(driver, LEGS)
    elif cut == "reference":
        target = without(target, LEGS)
    else:
        target = Keypoints(target.points, target.scores, 624, 900)
    result = retargeted(driver, target)
    assert result.anchor == "neck"
    neck = JOINT["neck"]
    np.testing.assert_allclose(result.pose.joints[result.template_frame, neck], pose_of(target).joints[0, neck])
    assert result.measured == ("nose to ankles" if cut == "legs outside of the picture" else "nose to hips")


def test_ankles_that_are_just_hidden_still_give_the_ground():
    driver = keypoints(dance(40))
    driver.scores[:, [15, 16]] = 0.45
    result = retargeted(driver, reference())
    assert (result.measured, result.anchor) == ("nose to hips", "ground")


def test_a_portrait_gives_place_and_size_by_neck_and_shoulders():
    head_and_shoulders = [0, 1, 2, 3, 4, 5, 6]
    target = without(reference(), [number for number in range(POINTS) if number not in head_and_shoulders])
    without_face = without(target, [0])
    for portrait in (target, without_face):
        result = retargeted(keypoints(dance(40)), portrait)
        assert (result.measured, result.anchor) == ("shoulders", "neck")
        joints, expected = result.pose.joints[result.template_frame], pose_of(target).joints[0]
        for joint in ("neck", "left shoulder", "right shoulder"):
            np.testing.assert_allclose(joints[JOINT[joint]], expected[JOINT[joint]])


def test_from_behind_the_neck_stands_in_for_the_nose():
    head = [0, 1, 2, 3, 4]
    result = retargeted(without(keypoints(dance(10)), head), reference())
    assert (result.measured, result.anchor) == ("neck to ankles", "ground")
    # Neck to ankles: 0.75 of the height, and 0.2 * 0.42 more with longer legs.
    assert result.scale == pytest.approx((0.75 + 0.084) * 800 / (0.75 * 700), rel=1e-3)
    # Without its legs, neck to hips: 0.33 of both heights.
    half = retargeted(without(keypoints(dance(10)), head + LEGS), reference())
    assert (half.measured, half.anchor) == ("neck to hips", "neck")
    assert half.scale == pytest.approx(800 / 700)


def squatting(body):
    """The knees bent to the sides: all limbs as long as ever, but half a head less high."""
    for side, sign in (("left", -1), ("right", 1)):
        body = bent(bent(body, f"{side} hip", sign * 40), f"{side} knee", -sign * 80)
    return body


def turned(body, share):
    """The body turned about its upright axis: all that is beside the nose comes nearer to it."""
    return (body - body[0]) * (share, 1) + body[0]


def test_of_frames_that_serve_equally_the_first_is_taken():
    """Their sums differ by rounding, and by the noise of detection: neither may choose where the clip stands."""
    clip = dance(40)
    clip[30] = stretched(clip[30], "left elbow", "left wrist", 1.02)
    assert retargeted(keypoints(clip), reference()).template_frame == 0


def test_the_template_is_upright():
    clip = np.array([squatting(standing()), standing(), squatting(standing())])
    result = retargeted(keypoints(clip), reference())
    assert result.template_frame == 1


def test_the_template_is_frontal_and_shows_the_limbs_in_full():
    raised = bent(standing(), "left shoulder", -90)
    towards_camera = stretched(raised, "left elbow", "left wrist", 0.4)
    from_behind = turned(standing(), -1)
    in_profile = stretched_on_both_sides(turned(standing(), 0.3), "elbow", "wrist", 1.1)
    clip = np.array([in_profile, from_behind, towards_camera, raised, towards_camera])
    assert retargeted(keypoints(clip), reference()).template_frame == 3
    # If no frame is frontal, any serves.
    assert retargeted(keypoints(clip[:2]), reference()).template_frame in (0, 1)


def test_one_wrong_frame_is_no_template():
    clip = dance(40)
    clip[20] = stretched_on_both_sides(clip[20], "knee", "ankle", 1.6)
    assert retargeted(keypoints(clip), reference()).template_frame != 20
    # Ankles that one frame in ten shows are made up: the hips are measured.
    driver = without(keypoints(dance(10)), LEGS, slice(1, None))
    assert retargeted(driver, reference()).measured == "nose to hips"


def test_a_body_that_lies_down_is_measured_along():
    lying = (standing() - (240, 400))[:, ::-1] * (1, -1) + (400, 240)
    result = retargeted(keypoints(lying, 832, 480), keypoints(standing()), "fit")
    assert (result.scale, result.measured) == (pytest.approx(1), "nose to ankles")


@pytest.mark.parametrize("gone", [["left shoulder"], ["left shoulder", "right shoulder", "left elbow", "right knee"]])
def test_missing_joints_move_nothing_else(gone):
    clip = np.repeat(bent(standing(), "left elbow", -60)[None], 5, axis=0)
    whole = retargeted(keypoints(clip), reference()).pose
    driver = without(keypoints(clip), [number for part in gone for number in numbers(part)], 2)
    pose = retargeted(driver, reference()).pose
    assert_same(pose, whole)
    hidden = {JOINT[name] for name in ["neck", *gone]}
    np.testing.assert_array_equal(pose.joint_scores[2] < DRAWN, [joint in hidden for joint in range(20)])


def test_a_strict_profile_keeps_the_drivers_proportions():
    """Seen from the side, shoulders fall together: their distance tells nothing about the body."""
    seen = [0, 5, 6, 15, 16]
    profile = without(keypoints(turned(standing(), 0)), [number for number in range(POINTS) if number not in seen])
    # Neck and nose are 60 pixels apart, and 63 in the driver; without the nose, no limb at all has a length.
    profile.points[0, [5, 6]] = profile.points[0, 0] + (0, 60)
    before = lengths(pose_of(keypoints(standing())).joints[0])
    for target, ratio in ((profile, 60 / 63), (without(profile, [0]), 1)):
        result = retargeted(keypoints(standing()), target)
        np.testing.assert_allclose(lengths(result.pose.joints[0]), before * result.scale * ratio)


def test_the_face_does_not_matter():
    driver, target = keypoints(dance(5)), reference()
    faceless = retargeted(without(driver, range(POINTS)[FACE]), without(target, range(POINTS)[FACE]))
    assert_same(faceless.pose, retargeted(driver, target).pose, tolerance=0)


def test_a_reference_without_a_person_is_refused():
    nobody = without(reference(), range(POINTS))
    no_shoulders = without(reference(), numbers("left shoulder") + numbers("right shoulder"))
    # Two shoulders at one place, and nothing else, have no size.
    point = without(keypoints(turned(standing(), 0)), [number for number in range(POINTS) if number not in (5, 6)])
    for target in (nobody, no_shoulders, point):
        message = refusal(retargeted, keypoints(dance(5)), target)
        assert message.startswith("the reference must show a person")
        assert "fit" in message and "full-body picture" in message and "retarget to off" in message


def test_a_driver_without_the_person_is_refused():
    driver = keypoints(dance(5))
    assert refusal(retargeted, without(driver, range(POINTS)), reference()).startswith("the driving video must show")
    gone = without(driver, range(POINTS), 3)
    message = refusal(retargeted, gone, reference(), template_frame=3)
    assert message.startswith("template_frame must show") and "frame 3" in message
    assert retargeted(gone, reference()).template_frame != 3


def test_settings_out_of_range_are_refused():
    driver = keypoints(dance(5))
    for frame in (-2, 5):
        message = refusal(retargeted, driver, reference(), template_frame=frame)
        assert message == f"template_frame must be -1, for automatic, or within 0..4; got {frame}."
    assert refusal(retargeted, driver, reference(), "off") == "retarget must be one of fit, proportions; got 'off'."


def test_letterboxed_by_hand():
    pose = pose_of(keypoints(dance(3), 480, 832))
    # 480x832 in 832x480: 480 / 832 of the size, and bars of (832 - 276.92) / 2 pixels left and right.
    wide = letterboxed(pose, 832, 480)
    scale = 480 / 832
    assert_same(wide, pose, scale, ((832 - 480 * scale) / 2, 0), tolerance=1e-9)
    assert (wide.width, wide.height) == (832, 480)
    # Twice as large, with bars of 100 pixels above and below.
    assert_same(letterboxed(pose, 960, 1864), pose, 2, (0, 100), tolerance=1e-9)
    assert_same(letterboxed(pose, 480, 832), pose, tolerance=0)
    np.testing.assert_array_equal(wide.joint_scores, pose.joint_scores)
