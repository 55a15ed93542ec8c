"""Which frames of the driver's video the driving videos show, when they have another rate.

After get_frame_indices in Wan2.2's wan/modules/animate/preprocess/utils.py and its caller.
"""

from fractions import Fraction
from math import ceil


def shown_frames(count: int, rate: Fraction, fps: Fraction) -> list[int]:
    """The frames of a driver of `count` (1 or more) frames and constant `rate` that are shown at `fps`.

    Frame i shows what is nearest to i / fps in time. Half way between two frames that is the earlier one: at twice the
    rate every frame is shown twice. The last part of a frame's time is left out, but one frame is always shown.
    """
    step = rate / fps
    # ceil(x - 1/2) rounds halves down. round() would round every other half up: 0 0 1 2 2 2 3 4 4 4.
    return [min(ceil(i * step - Fraction(1, 2)), count - 1) for i in range(max(1, int(count / step)))]
