import math

import pytest
import torch

from everanimate_core.errors import check_finite, check_number
from everanimate_core.media.blank import WarnOfBlank, blank_frames

NAN, INFINITY = float("nan"), float("inf")


def refusal(call, *args):
    with pytest.raises(ValueError) as caught:
        call(*args)
    return str(caught.value)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_a_setting_that_is_no_number(value):
    assert refusal(check_number, "Animate Long Video", "cfg", value, "1.0") == (
        f"Animate Long Video: cfg must be a number, not NaN or infinity (1.0); got {value}."
    )


@pytest.mark.parametrize("value", [0, 1, -3.5, 1e308, 5e-324])
def test_every_number_is_one(value):
    check_number("Animate Long Video", "cfg", value, "1.0")


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("place", [(0, 0, 0, 0), (2, 3, 4, 2), (1, 0, 4, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_value_that_is_no_number(value, place, dtype):
    frames = torch.zeros(3, 4, 5, 3, dtype=dtype)
    check_finite("Build Memory", "reference_images", frames)
    frames[place] = value
    assert refusal(check_finite, "Build Memory", "reference_images", frames) == (
        "Build Memory: reference_images must hold numbers only, not NaN or infinity (check what made it); got one in "
        f"reference_images[{place[0]}] of 3."
    )


@pytest.mark.parametrize("values", [torch.zeros(0, 4, 4, 3), torch.zeros(2, 0), torch.ones(2, dtype=torch.uint8)])
def test_nothing_and_whole_numbers_are_fine(values):
    check_finite("Build Memory", "reference_images", values)


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
        "EverAnimate: 2 of 3 decoded frames are of one colour, the first is frame 1 of its chunk (often a VAE in half "
        "precision, or a model that does not fit the LoRA)."
    ]


def test_frames_that_are_no_numbers_are_not_called_blank():
    assert blank_frames(torch.full((1, 4, 4, 3), math.nan)) == []
