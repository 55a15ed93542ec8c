"""Line art as the network sees it."""

import torch

from everanimate_core.longanimation.lines import white_on_black


def picture(*values):
    return torch.tensor(values).view(1, 1, -1, 1).expand(1, 1, -1, 3)


def test_dark_lines_become_white_on_black():
    shown = white_on_black(picture(0.0, 0.5, 0.77, 0.79, 1.0))
    assert shown.tolist() == [[[[1.0] * 3] * 3 + [[0.0] * 3] * 2]]


def test_light_lines_on_dark_are_the_same_turned_round():
    frames = picture(0.0, 0.2, 0.3, 1.0)
    assert torch.equal(white_on_black(frames, "light_on_dark"), white_on_black(1 - frames))
    assert white_on_black(frames, "light_on_dark")[0, 0, :, 0].tolist() == [0, 0, 1, 1]


def test_threshold_and_colour():
    assert white_on_black(picture(0.5), threshold=0.4).sum() == 0
    # Pure blue is dark, yellow light.
    blue, yellow = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])
    assert white_on_black(torch.stack([blue, yellow]).view(1, 1, 2, 3))[0, 0, :, 0].tolist() == [1, 0]
