"""A dance of eight beats that begins again without a jump: what the person does at any moment."""

import numpy as np
from figure import SIDES, Posture

BEATS, BEAT = 8, 0.5  # seconds a beat


def hold(values, beat):
    """The value at a moment (in beats) of a thing that reaches values[k] on beat k and eases from one to the next."""
    values = np.asarray(values, float)
    number = int(np.floor(beat)) % BEATS
    share = beat - np.floor(beat)
    share = share**2 * (3 - 2 * share)
    return values[number] + (values[(number + 1) % BEATS] - values[number]) * share


# Steps from side to side: where each foot stands on a beat, metres to the viewer's right.
FEET = {
    "right": [-0.17, -0.17, -0.32, -0.22, -0.17, -0.17, -0.17, -0.17],
    "left": [0.17, 0.17, 0.17, 0.17, 0.32, 0.22, 0.17, 0.17],
}
LIFT = {"right": [0, 0, 0, 1, 0, 0, 0, 1], "left": [0, 1, 0, 0, 0, 1, 0, 0]}
PELVIS = [0.0, -0.07, -0.13, -0.04, 0.1, 0.13, 0.04, 0.07]
LEAN = [0.0, 0.08, 0.12, 0.0, -0.1, -0.12, 0.0, -0.06]
TURN = [0.0, -0.25, -0.3, 0.0, 0.3, 0.3, 0.1, 0.2]
# Wrists, in arm lengths from the shoulder: outwards, upwards, ahead.
WRISTS = {
    "right": [[0.4, -0.8, 0.12], [0.5, 0.15, 0.18], [0.45, 0.75, 0.12], [0.2, 0.88, 0.15],
              [0.45, -0.1, 0.2], [0.35, -0.82, 0.12], [0.55, -0.55, 0.12], [0.45, -0.3, 0.2]],
    "left": [[0.4, -0.8, 0.12], [0.35, -0.82, 0.12], [0.45, -0.1, 0.2], [0.55, -0.5, 0.12],
             [0.45, 0.75, 0.12], [0.2, 0.88, 0.15], [0.5, 0.15, 0.18], [0.45, -0.3, 0.2]],
}  # fmt: skip
FISTS = {"right": [0.3, 0.2, 0.0, 0.0, 0.2, 0.3, 0.3, 0.6], "left": [0.3, 0.3, 0.2, 0.3, 0.0, 0.0, 0.2, 0.6]}
TILT = [0.0, 0.1, 0.14, 0.0, -0.12, -0.14, 0.0, -0.08]


def dancing(seconds):
    """The posture at that moment."""
    beat = seconds / BEAT
    bob = 0.5 - 0.5 * np.cos(2 * np.pi * beat)  # down between the beats
    pelvis = np.array([hold(PELVIS, beat), 0.885 - 0.035 * bob, 0.0])
    feet, heels = {}, {}
    for side in SIDES:
        moving = hold(LIFT[side], beat)
        feet[side] = np.array([hold(FEET[side], beat), 0.08 + 0.07 * moving, 0.02 - 0.05 * moving])
        heels[side] = 0.8 * moving
    return Posture(
        pelvis=pelvis,
        lean=hold(LEAN, beat),
        turn=hold(TURN, beat),
        hip_turn=-0.4 * hold(TURN, beat),
        nod=0.03 + 0.06 * bob,
        tilt=hold(TILT, beat),
        look=0.6 * hold(TURN, beat),
        feet=feet,
        heels=heels,
        wrists={side: np.array([hold([at[axis] for at in WRISTS[side]], beat) for axis in range(3)]) for side in SIDES},
        fists={side: hold(FISTS[side], beat) for side in SIDES},
        blink=float(np.exp(-((((beat % BEATS) - 3.3) / 0.12) ** 2)) + np.exp(-((((beat % BEATS) - 6.8) / 0.12) ** 2))),
        smile=0.35 + 0.3 * np.sin(2 * np.pi * beat / BEATS),
    )


def standing():
    """Upright, arms a little away from the body, as for a photograph."""
    return Posture(
        pelvis=np.array([0, 0.9, 0.0]),
        lean=0.0,
        turn=0.0,
        hip_turn=0.0,
        nod=0.03,
        tilt=0.0,
        look=0.0,
        feet={"right": np.array([-0.11, 0.08, 0.02]), "left": np.array([0.12, 0.08, 0.04])},
        heels=dict.fromkeys(SIDES, 0.0),
        wrists=dict.fromkeys(SIDES, np.array([0.28, -0.9, 0.2])),
        fists=dict.fromkeys(SIDES, 0.3),
        smile=0.6,
    )
