"""The colour distance: colours of cells against the nearest ones of palettes."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from everanimate_core.longanimation.colour_score import STEP, colour_distance, joined, palette

RED, GREEN, BLUE, GREY = (0.8, 0.1, 0.1), (0.1, 0.7, 0.2), (0.1, 0.2, 0.9), (0.5, 0.5, 0.5)


def lab(colour):
    """In steps of a palette."""
    return torch.from_numpy(rgb2lab(np.array(colour, np.float32))).float().div(STEP).round()


def picture(*colours):
    """One frame: columns of 8 x 16 pixels, each of a colour."""
    return torch.tensor(colours)[None, None].repeat_interleave(8, dim=2).expand(1, 16, -1, -1).contiguous()


def test_a_palette_has_each_colour_once_in_order():
    found = palette(picture(RED, GREEN, RED))
    expected = sorted(map(tuple, torch.stack([lab(RED), lab(GREEN)]).tolist()))
    assert found.dtype == torch.float32
    assert list(map(tuple, found.tolist())) == expected
    assert torch.equal(joined([palette(picture(RED)), palette(picture(GREEN, RED))]), found)


def test_lines_and_texture_are_not_seen():
    stripes = picture(GREY)
    stripes[:, ::2] += 0.3
    stripes[:, 1::2] -= 0.3
    assert torch.equal(palette(stripes), palette(picture(GREY)))


def test_every_fourth_frame_counts():
    frames = torch.cat([picture(GREY), *[picture(RED)] * 3, picture(BLUE)])
    assert torch.equal(palette(frames), joined([palette(picture(GREY)), palette(picture(BLUE))]))


def test_the_distance_is_that_to_the_nearest_colour_wherever_it_stands():
    known = palette(picture(GREEN, BLUE, GREY))
    assert colour_distance(picture(GREY, GREEN), [known]) == 0
    nearest = min(float((lab(RED) - lab(colour)).norm()) for colour in (GREEN, BLUE, GREY))
    # A quarter of the cells is red.
    frames = picture(RED, GREY, GREY, BLUE)
    assert colour_distance(frames, [known]) == pytest.approx(STEP * nearest / 4, rel=1e-6)


def test_palettes_count_alike():
    frames, near, far = picture(RED), palette(picture(RED, GREY)), palette(picture(BLUE))
    to_blue = STEP * float((lab(RED) - lab(BLUE)).norm())
    assert colour_distance(frames, [near, far]) == pytest.approx(to_blue / 2, rel=1e-6)
    assert colour_distance(frames, [far, far]) == pytest.approx(to_blue, rel=1e-6)


def test_a_tint_is_the_farther_the_stronger_it_is():
    frames = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    known = palette(frames)
    tint = torch.tensor([0.2, -0.1, 0.0])
    distances = [colour_distance((frames + share * tint).clamp(0, 1), [known]) for share in (0, 0.5, 1)]
    assert distances[0] == 0
    assert distances[0] < distances[1] < distances[2]
