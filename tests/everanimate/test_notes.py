"""What is said of an animation before sampling, word by word and in this order."""

from fractions import Fraction

import torch

from everanimate_core.everanimate.drivers import Drivers
from everanimate_core.everanimate.notes import before_sampling, of_lengths, of_settings
from everanimate_core.everanimate.settings import Settings
from everanimate_core.media.frames import ResampledFrames, TensorFrames
from everanimate_core.notes import Size

SIZE = Size(32, 16)


def video(frames, width=32, height=16, fps=None):
    return TensorFrames(torch.zeros(frames, height, width, 3), fps)


def said(settings=None, drivers=None, pictures=(SIZE,), total=12, fit="stretch", **more):
    settings = settings or Settings(chunk_frames=9)
    drivers = drivers or Drivers(pose=video(total))
    plan = settings.plan(total)
    more = {"trained": ()} | more
    return before_sampling(settings, plan, drivers, pictures, SIZE, fit, str, **more)


def test_what_is_meant_is_not_told():
    assert said() == []
    assert before_sampling(
        Settings(), Settings().plan(150), Drivers(pose=video(150), face=video(150, 512, 512)), [SIZE], SIZE,
        "stretch", str,
    ) == []  # fmt: skip


def test_every_picture_and_video_of_other_proportions_is_told_once():
    drivers = Drivers(video(12, 16, 16), video(12), video(12, 64, 32), video(12, 32, 32))
    change = "which changes its proportions; fit crop or pad keeps them."
    assert said(drivers=drivers, pictures=[Size(16, 16), Size(16, 16), Size(24, 16), SIZE]) == [
        f"reference_images is 16x16 and is stretched to 32x16, {change}",
        f"reference_images is 24x16 and is stretched to 32x16, {change}",
        f"pose_video is 16x16 and is stretched to 32x16, {change}",
        f"face_video is 32x16 and is stretched to 512x512, {change}",
        f"character_mask is 32x32 and is stretched to 32x16, {change}",
    ]
    assert said(drivers=drivers, pictures=[Size(16, 16)], fit="pad") == []


def test_a_video_that_is_shown_at_another_rate_keeps_its_size():
    drivers = Drivers(ResampledFrames(video(12, 16, 16, Fraction(25)), Fraction(25)))
    assert said(drivers=drivers)[0].startswith("pose_video is 16x16 and is stretched to 32x16, ")


def test_videos_that_end_early_are_told_with_how_they_go_on():
    drivers = Drivers(video(10), video(5, 512, 512), video(1), video(1))
    settings = Settings(chunk_frames=9, continuation="loop")
    assert said(settings, drivers) == [
        "face_video ends before the pose, after 5 of 10 frames; from there it goes on by continuation loop.",
        "background_video has one frame, which the whole animation holds.",
        "character_mask has one frame, which the whole animation holds.",
        "pose_video ends before the animation, after 10 of 12 frames; from there it goes on by continuation loop.",
    ]


def test_lengths_without_a_pose():
    # 77 + 73 = 150, and 2 more.
    assert of_lengths(None, Settings().plan(152), str) == [
        "The last chunk adds only 2 of the 73 frames that a chunk adds, and takes as long. total_frames 150 ends "
        "before it; chunk_frames 81 divides the animation more evenly."
    ]


def test_every_setting_other_than_in_training_is_told():
    settings = Settings(chunk_frames=81, overlap=8, motion_latents=2, identity_latents=6)
    trained = "but the released LoRA was trained with"
    otherwise = "unless yours was trained otherwise."
    expected = [
        f"identity_latents is 6, {trained} 4: set 4 {otherwise}",
        f"motion_latents is 2, {trained} 1: set 1 {otherwise}",
        f"chunk_frames is 81, {trained} 77: set 77 {otherwise}",
        f"overlap is 8, {trained} 4: set 4 {otherwise}",
    ]
    found = before_sampling(settings, settings.plan(81), Drivers(pose=video(81)), [SIZE], SIZE, "stretch", str)
    assert found == expected
    assert of_settings({"overlap": 8, "motion_latents": 1}, str) == expected[3:]
