import math

import torch

from everanimate_core.media.blank import WarnOfBlank, blank_frames


def noise(count):
    return torch.rand(count, 8, 8, 3, generator=torch.Generator().manual_seed(0))


def test_frames_of_one_colour():
    frames = noise(6)
    frames[1] = 0
    frames[3] = torch.tensor([0.2, 0.5, 0.9])
    frames[4] = 1
    frames[4, 0, 0, 1] -= 0.9 / 255  # a trace that no file can hold
    assert blank_frames(frames) == [1, 3, 4]
    assert blank_frames(noise(3)) == []
    frames[4, 0, 0, 1] -= 0.2 / 255
    assert blank_frames(frames) == [1, 3]


class Repeats:
    """A codec whose latents are its frames."""

    def encode(self, frames):
        return frames

    def decode(self, latents):
        return latents


def test_blank_frames_are_told_of_once_and_change_nothing():
    said = []
    codec = WarnOfBlank(Repeats(), said.append)
    good, bad = noise(3), noise(3)
    bad[1:] = 0
    assert codec.encode(good) is good
    for frames in (good, bad, bad, good):
        assert codec.decode(frames) is frames
    assert said == [
        "2 of 3 decoded frames are of one colour, the first is frame 1 of its chunk (often a VAE in half precision, or "
        "weights that do not fit each other)."
    ]


def test_frames_that_are_no_numbers_are_not_called_blank():
    assert blank_frames(torch.full((1, 4, 4, 3), math.nan)) == []
