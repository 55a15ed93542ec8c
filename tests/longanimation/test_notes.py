"""What is said of line art before sampling, word by word and in this order."""

import torch

from everanimate_core.longanimation.notes import before_sampling, of_lengths, unread_memory
from everanimate_core.longanimation.settings import Settings
from everanimate_core.media.frames import TensorFrames
from everanimate_core.notes import Size

SIZE = Size(32, 16)


def video(frames, width=32, height=16):
    return TensorFrames(torch.zeros(frames, height, width, 3))


def test_what_is_meant_is_not_told():
    assert before_sampling(Settings().plan(81), video(81), {"reference": SIZE}, SIZE, "stretch", str) == []


def test_everything_is_told():
    # Windows of 49 that share 17 add 32: 49 + 32 = 81 frames, and 3 more.
    plan = Settings(window_frames=49).plan(84)
    pictures = {"reference": Size(16, 16), "reference_lineart": SIZE}
    change = "which changes its proportions; fit crop or pad keeps them."
    assert before_sampling(plan, video(50, 24), pictures, SIZE, "stretch", str) == [
        f"lineart is 24x16 and is stretched to 32x16, {change}",
        f"reference is 16x16 and is stretched to 32x16, {change}",
        "lineart ends before the animation, after 50 of 84 frames; from there its last frame is held.",
        "The last window adds only 3 of the 32 frames that a window adds, and takes as long. total_frames 81 ends "
        "before it; window_frames 41 divides the animation more evenly.",
        "window_frames is 49, but the released network was trained with 81: set 81 unless yours was trained otherwise.",
    ]


def test_lengths_without_line_art():
    assert of_lengths(None, Settings().plan(81), str) == []


def test_a_dglm_that_nothing_remembers_for():
    assert unread_memory("control", str) == [
        "control has a DGLM, which is not used: it reads a memory, and video_model is not connected."
    ]
