"""What both methods say before sampling, word by word."""

from fractions import Fraction

import pytest

from everanimate_core.notes import Size, continued, lengths, short_end, silent, stretched, untrained
from everanimate_core.plan import ChunkPlan

LENGTHS = range(5, 162, 4)
HOW = "its last frame is held"


def option(name):
    """As a command line would call an input."""
    return f"--{name}"


def test_a_stretched_picture_is_told_with_both_sizes():
    assert stretched("reference", Size(512, 768), Size(832, 480), "stretch", option) == [
        "--reference is 512x768 and is stretched to 832x480, which changes its proportions; --fit crop or pad keeps "
        "them."
    ]


@pytest.mark.parametrize("fit", ["crop", "pad", "error"])
def test_what_keeps_proportions_is_not_told(fit):
    assert stretched("reference", Size(512, 768), Size(832, 480), fit, str) == []


# 1 % wider or higher cannot be seen: 101 to 100, and 102 to 100.
@pytest.mark.parametrize(
    ("size", "told"),
    [((100, 100), 0), ((1000, 1000), 0), ((101, 100), 0), ((100, 101), 0), ((102, 100), 1), ((100, 102), 1)],
)
def test_a_stretch_is_told_from_where_it_can_be_seen(size, told):
    assert len(stretched("reference", Size(*size), Size(64, 64), "stretch", str)) == told


def test_a_video_that_ends_early_is_told():
    assert continued("face", 14, 22, "the pose", HOW, option) == [
        "--face ends before the pose, after 14 of 22 frames; from there its last frame is held."
    ]
    assert continued("face", 22, 22, "the pose", HOW, option) == []


def test_a_still_picture_in_the_place_of_a_video_is_told():
    still = ["--pose has one frame, which the whole animation holds."]
    assert continued("pose", 1, 22, "the pose", HOW, option) == still
    assert lengths("pose", 1, ChunkPlan(22, 9, 4), HOW, option) == still
    assert lengths("pose", 1, ChunkPlan(1, 9, 4), HOW, option) == [
        "--pose has one frame, and so has the animation; --total_frames makes it longer."
    ]


def test_an_animation_that_is_longer_than_its_video_is_told():
    assert lengths("pose", 40, ChunkPlan(60, 9, 4), HOW, str) == [
        "pose ends before the animation, after 40 of 60 frames; from there its last frame is held."
    ]
    for frames in (60, 61):
        assert lengths("pose", frames, ChunkPlan(60, 9, 4), HOW, str) == []
    assert lengths("pose", 9, ChunkPlan(1, 9, 4), HOW, str) == []


def test_a_last_chunk_for_a_handful_of_frames_is_told_with_two_ways_out():
    # 77 + 73 = 150 frames, and 3 more.
    assert short_end(ChunkPlan(153, 77, 4), "chunk", "chunk_frames", LENGTHS, str) == [
        "The last chunk adds only 3 of the 73 frames that a chunk adds, and takes as long. total_frames 150 ends "
        "before it; chunk_frames 81 divides the animation more evenly."
    ]
    assert short_end(ChunkPlan(150, 77, 4), "chunk", "chunk_frames", LENGTHS, str) == []


def test_where_no_length_is_better_one_way_out_is_told():
    # 9 frames, and 1 more.
    assert short_end(ChunkPlan(10, 9, 0), "window", "window_frames", range(9, 10), option) == [
        "The last window adds only 1 of the 9 frames that a window adds, and takes as long. --total_frames 9 ends "
        "before it."
    ]


def test_a_setting_other_than_in_training_is_told():
    assert untrained("overlap", 8, 4, "the released LoRA", option) == [
        "--overlap is 8, but the released LoRA was trained with 4: set 4 unless yours was trained otherwise."
    ]
    assert untrained("overlap", 4, 4, "the released LoRA", option) == []


@pytest.mark.parametrize(("rate", "shown"), [(Fraction(25), "25"), (Fraction(24000, 1001), "23.976")])
def test_images_are_told_to_have_no_sound(rate, shown):
    assert silent("pose_video", rate, str) == [
        "pose_video is images, which have no sound and no rate: connect audio for sound; fps sets the rate, now "
        f"{shown} frames a second."
    ]
