"""How the driver's pose comes into another picture: letterboxed as it is, or retargeted to the person of a reference.

After Wan2.2's retarget_pose.py, with its known faults left out. Two bodies are compared in one frame each: the
reference, and one frame of the driver, the template. `fit` gives the driver the reference's size and place;
`proportions` also the length of its limbs. Size, lengths and place hold for the whole clip.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError, check_choice
from .keypoints import DRAWN, Keypoints
from .pose import JOINT, LIMBS, Pose, pose_of

RETARGETS = ("fit", "proportions")
AUTOMATIC = -1

NECK = JOINT["neck"]
SHOULDERS = [JOINT["right shoulder"], JOINT["left shoulder"]]
HIPS = [JOINT["right hip"], JOINT["left hip"]]
ANKLES = [JOINT["right ankle"], JOINT["left ankle"]]
LEFT_WRIST, RIGHT_WRIST = JOINT["left wrist"], JOINT["right wrist"]

# What tells the size of a body, best first: how far it is from a joint to the middle of a pair of joints, by name.
SIZES = {
    "nose to ankles": (JOINT["nose"], ANKLES),
    "nose to hips": (JOINT["nose"], HIPS),
    "neck to ankles": (NECK, ANKLES),
    "neck to hips": (NECK, HIPS),
}
# And how far they are apart, for a body of which a portrait shows no more.
LAST_SIZE = "shoulders"

# Limbs of the right side and their mirrors; sides share the larger ratio, but on the head, which turns, the mean.
MIRRORED, MIRRORED_ON_HEAD = ((0, 1), (2, 4), (3, 5), (6, 9), (7, 10), (8, 11), (18, 17)), ((13, 15), (14, 16))
MIRROR = np.arange(len(LIMBS))
RIGHT_LIMBS, LEFT_LIMBS = np.array(MIRRORED + MIRRORED_ON_HEAD).T
MIRROR[RIGHT_LIMBS], MIRROR[LEFT_LIMBS] = LEFT_LIMBS, RIGHT_LIMBS
ON_HEAD = np.isin(np.arange(len(LIMBS)), MIRRORED_ON_HEAD)
LIMB_NAMES = tuple(f"{list(JOINT)[start]} to {list(JOINT)[end]}" for start, end in LIMBS)
# Feet with the shins that they hang on, and their longest share of a shin's length.
FEET_AND_SHINS, TOE_LIMIT = ((17, 11), (18, 8)), 0.5

# How far a limb's ratio may be from the median of all.
LOWEST, HIGHEST = 0.67, 1.5
# From which score of hips and ankles a body stands on its ankles.
STANDS = 0.4
# A size counts where this share of the frames shows it: joints that one blurred frame invents must not be measured.
MOSTLY = 0.5
# How upright a template is: at least this share of the height that one frame in ten exceeds, and at most its inverse.
UPRIGHT, TALL = 0.9, 0.9
# From which share of the largest sum of limb lengths a template is open enough. The first such frame is taken: with
# the largest of sums that are nearly equal, one pixel more or less would move the whole clip.
OPEN = 0.995


@dataclass(frozen=True)
class Retargeted:
    """A pose in the reference's pixels, and how it came there.

    template_frame: the frame of the driver that was compared with the reference, counted from 0. scale: pixels of the
    reference for one of the driver. measured: what told the size of both, in words. anchor: what stands at the
    reference's place in the template frame: "ground" (the ground and the middle of the hips) or "neck". clamped: the
    limbs whose ratio was too far from that of the others, in words, and was clamped; none with `fit`.
    """

    pose: Pose
    template_frame: int
    scale: float
    measured: str
    anchor: str
    clamped: tuple[str, ...]


def letterboxed(pose: Pose, width: int, height: int) -> Pose:
    """The pose in frames of width x height, as large as they hold it, and centred, to a fraction of a pixel."""
    scale = min(width / pose.width, height / pose.height)
    shift = np.array([width - scale * pose.width, height - scale * pose.height]) / 2
    return pose.moved(scale, shift, width, height)


def retargeted(
    driver: Keypoints, reference: Keypoints, mode: str = "proportions", template_frame: int = AUTOMATIC
) -> Retargeted:
    """The driver's pose as the reference's person would take it, in the reference's pixels.

    reference: one frame. mode: `fit` or `proportions`. template_frame: the frame of the driver to compare, counted
    from 0, or AUTOMATIC. A hand whose root is missing is dropped. Raises InputError for another mode, for a
    reference or a driver without a person, and for a template frame that does not exist or shows nobody.
    """
    check_choice("retarget", mode, RETARGETS)
    moving, still = pose_of(driver), pose_of(reference)
    template, measured = _template(moving, still, template_frame)
    scale = float(_sizes(still)[measured][0] / _sizes(moving)[measured][template])
    anchor = "ground" if _stands(moving, template) and _stands(still, 0) else "neck"

    clamped: tuple[str, ...] = ()
    if mode == "proportions":
        ratios, too_far = _ratios(_limb_lengths(moving)[template], _limb_lengths(still)[0] / scale)
        moving = _with_proportions(moving, ratios)
        clamped = tuple(name for name, far in zip(LIMB_NAMES, too_far, strict=True) if far)

    shift = _anchored(still.joints[0], anchor) - scale * _anchored(moving.joints[template], anchor)
    pose = moving.moved(scale, shift, reference.width, reference.height)
    return Retargeted(pose, template, scale, measured, anchor, clamped)


def _sizes(pose: Pose) -> dict[str, np.ndarray]:
    """The sizes of the body in pixels, [N] each, best first; NaN where a joint is missing or they are 0.

    A body whose neck is not drawn has none: without its neck, it can be neither placed nor rebuilt.
    """
    joints, drawn = pose.joints, pose.joint_scores >= DRAWN
    sizes = {}
    for name, (top, bottom) in SIZES.items():
        size = np.linalg.norm(joints[:, bottom].mean(axis=1) - joints[:, top], axis=-1)
        sizes[name] = np.where(drawn[:, [top, *bottom]].all(axis=1), size, np.nan)
    right, left = SHOULDERS
    sizes[LAST_SIZE] = np.linalg.norm(joints[:, left] - joints[:, right], axis=-1)
    return {name: np.where(drawn[:, NECK] & (size > 0), size, np.nan) for name, size in sizes.items()}


def _limb_lengths(pose: Pose) -> np.ndarray:
    """[N, 19] in pixels; NaN where an end of the limb is not drawn, or the limb points at the camera and has none."""
    starts, ends = np.array(LIMBS).T
    lengths = np.linalg.norm(pose.joints[:, ends] - pose.joints[:, starts], axis=-1)
    drawn = pose.joint_scores >= DRAWN
    return np.where(drawn[:, starts] & drawn[:, ends] & (lengths > 0), lengths, np.nan)


def _template(driver: Pose, reference: Pose, frame: int) -> tuple[int, str]:
    """The frame of the driver to compare, `frame` unless that is AUTOMATIC, and what tells the size of both there."""
    count = len(driver.joints)
    if frame != AUTOMATIC and not 0 <= frame < count:
        raise InputError("template_frame", f"must be {AUTOMATIC}, for automatic, or within 0..{count - 1}", "", frame)
    known = [name for name, size in _sizes(reference).items() if np.isfinite(size[0])]
    if not known:
        raise InputError(
            "the reference",
            f"must show a person, from the shoulders up at least, for retarget {' and '.join(RETARGETS)}",
            "take a full-body picture, or set retarget to off",
            f"a picture with nobody in it (score of the neck {reference.joint_scores[0, NECK]:.2f})",
        )
    frames = np.arange(count) if frame == AUTOMATIC else np.array([frame])
    sizes = {name: size[frames] for name, size in _sizes(driver).items()}
    seen = max(1, MOSTLY * (driver.joint_scores[frames, NECK] >= DRAWN).sum())
    measured = next((name for name in known if np.isfinite(sizes[name]).sum() >= seen), None)
    if measured is None:
        raise InputError(
            "the driving video" if frame == AUTOMATIC else "template_frame",
            f"must show what the reference shows of a person ({', '.join(known)})",
            "set retarget to off",
            f"too little of that in {f'{count} frames' if frame == AUTOMATIC else f'frame {frame}'}",
        )
    frames = frames[np.isfinite(sizes[measured])]
    return _most_open(driver, frames, _sizes(driver)[measured][frames]), measured


def _most_open(pose: Pose, frames: np.ndarray, sizes: np.ndarray) -> int:
    """Of the frames, the first that shows the body best: frontal, upright, and with all of its limbs' length.

    sizes: of the body in each of the frames, pixels. Lengths are not divided by them: that would favour a body that
    squats or bends, whose limbs are as long as ever.
    """
    frontal = _frontal(pose)[frames]
    if frontal.any():
        frames, sizes = frames[frontal], sizes[frontal]
    tall = np.quantile(sizes, TALL, method="higher")
    upright = frames[(sizes >= UPRIGHT * tall) & (sizes * UPRIGHT <= tall)]
    shown = np.nansum(_limb_lengths(pose)[upright], axis=1)
    return int(upright[(shown >= OPEN * shown.max()).argmax()])


def _frontal(pose: Pose) -> np.ndarray:
    """[N]: whether the shoulders are at least as far apart as neck and nose, the person's right one on the left."""
    right, left = SHOULDERS
    nose = JOINT["nose"]
    drawn = (pose.joint_scores[:, [right, left, nose]] >= DRAWN).all(axis=1)
    across = pose.joints[:, left, 0] - pose.joints[:, right, 0]
    return drawn & (across >= np.linalg.norm(pose.joints[:, nose] - pose.joints[:, NECK], axis=-1))


def _ratios(template: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much longer the reference's limbs are than the template's, [19], and which of them were clamped, [19].

    template, reference: lengths of the limbs at the same size of the body, [19], NaN where unknown: the mirror of such
    a limb serves for it, and where that is unknown too, the median of all ratios.
    """
    template, reference = (np.where(np.isnan(one), one[MIRROR], one) for one in (template, reference))
    ratios = reference / template
    ratios = np.where(ON_HEAD, (ratios + ratios[MIRROR]) / 2, np.maximum(ratios, ratios[MIRROR]))
    known = np.isfinite(ratios)
    # In a strict profile all that is known of a body may be its height.
    median = np.median(ratios[known]) if known.any() else 1.0
    clamped = np.where(known, ratios, median).clip(LOWEST * median, HIGHEST * median)
    return clamped, known & (clamped != ratios)


def _with_proportions(pose: Pose, ratios: np.ndarray) -> Pose:
    """The pose with every limb `ratios` [19] times as long: the neck stays, and all else moves along."""
    old = _bridged(pose.joints, pose.joint_scores)
    new = old.copy()
    for (start, end), ratio in zip(LIMBS, ratios, strict=True):
        new[:, end] = new[:, start] + ratio * (old[:, end] - old[:, start])
    for foot, shin in FEET_AND_SHINS:
        ankle, toe = LIMBS[foot]
        step = new[:, toe] - new[:, ankle]
        longest = TOE_LIMIT * np.linalg.norm(new[:, ankle] - new[:, LIMBS[shin][0]], axis=-1, keepdims=True)
        length = np.linalg.norm(step, axis=-1, keepdims=True)
        new[:, toe] = new[:, ankle] + step * np.divide(
            longest, length, out=np.ones_like(length), where=length > longest
        )

    growth = max(ratios[:2])
    left, left_scores = _hand_at(new[:, LEFT_WRIST], pose.left_hand, pose.left_scores, growth)
    right, right_scores = _hand_at(new[:, RIGHT_WRIST], pose.right_hand, pose.right_scores, growth)
    return replace(
        pose,
        joints=new,
        left_hand=left,
        left_scores=left_scores,
        right_hand=right,
        right_scores=right_scores,
    )


def _hand_at(wrists: np.ndarray, hand: np.ndarray, scores: np.ndarray, growth: float) -> tuple[np.ndarray, np.ndarray]:
    """A hand [N, 21, 2], scaled about its root, with the root at the wrists [N, 2]; its scores, 0 without a root."""
    return wrists[:, None] + growth * (hand - hand[:, :1]), np.where(scores[:, :1] > 0, scores, 0)


def _bridged(joints: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The joints [N, 20, 2] with missing ones put on the straight line between the frames that have them.

    What hangs on a missing joint is rebuilt from it, so it needs a place. A joint that no frame has stays as it is.
    """
    bridged = joints.copy()
    frames = np.arange(len(joints))
    for joint, there in enumerate((scores > 0).T):
        if there.any():
            for axis in range(2):
                bridged[:, joint, axis] = np.interp(frames, frames[there], joints[there, joint, axis])
    return bridged


def _stands(pose: Pose, frame: int) -> bool:
    """Whether hips and ankles are there, and inside the frame."""
    legs = pose.joints[frame, HIPS + ANKLES]
    inside = (legs >= 0) & (legs < (pose.width, pose.height))
    return bool(inside.all() and (pose.joint_scores[frame, HIPS + ANKLES] >= STANDS).all())


def _anchored(joints: np.ndarray, anchor: str) -> np.ndarray:
    """Where a body [20, 2] is, [2]: its neck, or the middle of its hips in x and its lower ankle in y."""
    if anchor == "neck":
        return joints[NECK]
    return np.array([joints[HIPS, 0].mean(), joints[ANKLES, 1].max()])
