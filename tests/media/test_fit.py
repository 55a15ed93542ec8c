"""Pictures of another size: stretched, cropped, padded or refused."""

import pytest
import torch
from video_parts import DATA

from everanimate_core.media.frames import FIT_POLICIES, fit_frames
from everanimate_core.media.reader import VideoFrames


def columns(*values, height=2):
    """[1, height, len(values), 3] with one grey per column."""
    return torch.tensor(values)[None, None, :, None].expand(1, height, -1, 3)


def test_fit_leaves_the_right_size_alone():
    frames = torch.rand(2, 4, 6, 3)
    for fit in FIT_POLICIES:
        assert fit_frames(frames, 6, 4, fit) is frames


def test_fit_crop_covers_and_keeps_the_centre():
    assert torch.equal(fit_frames(columns(0.1, 0.2, 0.3, 0.4), 2, 2, "crop"), columns(0.2, 0.3))
    tall = columns(0.1, 0.2, 0.3, 0.4).transpose(1, 2)
    assert torch.equal(fit_frames(tall, 2, 2, "crop"), columns(0.2, 0.3).transpose(1, 2))
    assert fit_frames(torch.rand(1, 50, 100, 3), 33, 31, "crop").shape == (1, 31, 33, 3)


def test_fit_pad_fits_inside_and_centres_on_black():
    assert torch.equal(fit_frames(columns(0.5, 0.7), 5, 2, "pad"), columns(0.0, 0.5, 0.7, 0.0, 0.0))
    shrunk = fit_frames(torch.full((1, 4, 8, 3), 0.5), 4, 4, "pad")
    assert torch.allclose(shrunk[0, :, 0, 0], torch.tensor([0.0, 0.5, 0.5, 0.0]))


def test_fit_stretch_is_smooth_and_stays_in_range():
    ramp = columns(*[x / 32 for x in range(32)], height=8)
    halved = fit_frames(ramp, 16, 4, "stretch")
    expected = torch.tensor([(2 * x + 0.5) / 32 for x in range(16)])  # pixel centres fall between pairs of columns
    assert halved.shape == (1, 4, 16, 3)
    assert torch.allclose(halved[0, 1, 2:-2, 0], expected[2:-2], atol=1e-6)
    edge = fit_frames(columns(0.0, 0.0, 0.0, 1.0, 1.0, 1.0), 24, 2, "stretch")
    assert edge.min() == 0 and edge.max() == 1  # a cubic filter overshoots at an edge


def test_fit_error_names_both_sizes_and_the_choices():
    with pytest.raises(ValueError, match=r"must be 6x4 \(or fit stretch, crop or pad\); got 5x4"):
        fit_frames(torch.zeros(1, 4, 5, 3), 6, 4, "error")
    with pytest.raises(ValueError, match="fit must be one of stretch, crop, pad, error; got 'zoom'"):
        fit_frames(torch.zeros(1, 4, 5, 3), 6, 4, "zoom")


def test_the_shipped_videos_are_long_enough_for_two_chunks():
    for name, size in (("pose.mp4", (256, 384)), ("face.mp4", (128, 128))):
        with VideoFrames(DATA / name) as video:
            assert (video.width, video.height) == size
            assert (video.frame_count, video.fps) == (200, 25)
