"""Line art of the drawn world: where the picture has borders, and the same for every way of asking."""

import pytest
import torch

from everanimate_core.longanimation.lines import white_on_black
from everanimate_core.toy.world.background import background
from everanimate_core.toy.world.raster import edge, rim
from everanimate_core.toy.world.scene import Scene
from everanimate_core.toy.world.world import World


@pytest.fixture(scope="module")
def world():
    return World(7)


def test_it_is_black_on_white_of_one_colour(world):
    lines = world.lineart(range(0, 60, 20))
    assert lines.shape == (3, 64, 64, 3)
    assert lines.min() == 0 and lines.max() == 1
    assert torch.equal(lines[..., 0], lines[..., 2])
    # Paper, mostly.
    assert 0.6 < (lines == 1).float().mean() < 0.95


def test_a_slice_equals_the_whole_bit_for_bit(world):
    whole = world.lineart(range(40))
    assert torch.equal(world.lineart([3, 37, 12]), whole[[3, 37, 12]])
    assert torch.equal(world.reference_lineart(), whole[0])


def test_rim_and_edge_by_hand():
    box = torch.zeros(1, 5, 5)
    box[0, 1:4, 1:4] = 1
    expected = torch.ones(5, 5)
    expected[1:4, 1:4] = 0
    assert torch.equal(rim(box)[0], expected)
    assert edge(torch.tensor([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])).tolist() == pytest.approx([0, 0, 1, 1, 1, 0, 0])


def test_the_figure_has_a_line_around_it(world):
    silhouette, lines = world.silhouette([0, 50, 100]), 1 - world.lineart([0, 50, 100])[..., 0]
    outside = rim(silhouette)
    assert (outside > 0.9).sum() > 100
    assert (lines[outside > 0.9] > 0.9).all()


def test_light_and_the_reference_of_another_moment_do_not_show():
    lit = World(7, scene=Scene(light="wandering", far_reference=True))
    assert torch.equal(lit.lineart([0, 30]), World(7).lineart([0, 30]))


def test_a_thing_in_the_hand_has_lines_once_it_is_there():
    with_prop, without = World(7, scene=Scene(prop=True)), World(7)
    assert torch.equal(with_prop.lineart([0]), without.lineart([0]))
    assert not torch.equal(with_prop.lineart([30]), without.lineart([30]))


def test_a_camera_that_pans_moves_the_lines_with_the_picture():
    frames = [0, 400]
    still, panning = World(7).lineart(frames), World(7, scene=Scene(pan=True)).lineart(frames)
    assert torch.equal(still[0], panning[0])
    assert not torch.equal(still[1], panning[1])


def test_the_lines_of_the_background_are_its_own():
    from random import Random

    picture, lines = background(Random("7/background"))
    assert picture.shape == (3, 64, 64) and lines.shape == (1, 64, 64)
    assert torch.equal(World(7).background().movedim(-1, 0), picture)


def test_the_network_sees_lines_of_ones(world):
    shown = white_on_black(world.lineart(range(3)))
    assert set(shown.unique().tolist()) == {0.0, 1.0}
    assert 0.03 < shown.mean() < 0.4
