"""The colour distance: how much there is of each colour, against what is known."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from everanimate_core.longanimation.colour_score import LIMIT, colour_distance, colour_shares

RED, GREEN, BLUE, GREY = (0.8, 0.1, 0.1), (0.1, 0.6, 0.2), (0.1, 0.2, 0.9), (0.5, 0.5, 0.5)


def lab(colour):
    """L, a and b, cut to whole steps."""
    return torch.from_numpy(rgb2lab(np.array(colour, np.float32))).double().floor()


def picture(*colours):
    """One frame: columns of 8 x 16 pixels, each of a colour."""
    return torch.tensor(colours)[None, None].repeat_interleave(8, dim=2).expand(1, 16, -1, -1).contiguous()


def distance(frames, *known):
    return colour_distance(colour_shares(frames), [colour_shares(other) for other in known])


def test_shares_say_how_much_there_is_of_each_value():
    shares = colour_shares(picture(RED, GREEN, RED, BLUE))
    assert shares.shape == (3, 2 * LIMIT) and shares.dtype == torch.float32
    expected = torch.zeros(3, 2 * LIMIT)
    for colour, share in ((RED, 0.5), (GREEN, 0.25), (BLUE, 0.25)):
        for channel, value in enumerate(lab(colour)):
            expected[channel, LIMIT + int(value)] += share
    assert torch.equal(shares, expected)


def test_lines_and_texture_are_not_seen():
    stripes = picture(GREY)
    stripes[:, ::2] += 0.3
    stripes[:, 1::2] -= 0.3
    assert torch.equal(colour_shares(stripes), colour_shares(picture(GREY)))


def test_every_fourth_frame_counts():
    frames = torch.cat([picture(GREY), *[picture(RED)] * 3, picture(BLUE)])
    both = (colour_shares(picture(GREY)) + colour_shares(picture(BLUE))) / 2
    assert torch.equal(colour_shares(frames), both)


def test_the_distance_of_two_colours_is_theirs_in_lab():
    expected = float((lab(RED) - lab(BLUE)).norm())
    assert distance(picture(RED), picture(BLUE)) == pytest.approx(expected, rel=1e-6)
    # Where a quarter of the picture has changed, a quarter of it.
    whole, changed = picture(GREY, GREY, GREY, RED), picture(GREY, GREY, GREY, BLUE)
    assert distance(changed, whole) == pytest.approx(expected / 4, rel=1e-6)


def test_it_does_not_matter_where_colours_stand():
    assert distance(picture(RED, GREEN, BLUE), picture(BLUE, RED, GREEN)) == 0


def test_what_is_known_counts_alike_whatever_its_weight():
    to_blue = distance(picture(RED), picture(BLUE))
    shares = colour_shares(picture(RED))
    known = [shares, 7 * colour_shares(picture(BLUE))]
    assert colour_distance(shares, known) == pytest.approx(to_blue / 2, rel=1e-6)


def test_a_tint_is_the_farther_the_stronger_it_is():
    frames = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    tint = torch.tensor([0.2, -0.1, 0.0])
    distances = [distance((frames + share * tint).clamp(0, 1), frames) for share in (0, 0.5, 1)]
    assert distances[0] == 0
    assert distances[0] < distances[1] < distances[2]
