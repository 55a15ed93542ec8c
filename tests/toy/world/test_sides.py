"""Two-sided clothes: their colour behind is in no picture but those of the back, which come back long after."""

from dataclasses import replace
from itertools import pairwise
from math import pi

import pytest
import torch

from everanimate_core.longanimation.settings import RELEASED, MemorySettings
from everanimate_core.toy.world.scene import Scene
from everanimate_core.toy.world.sides import CALM, LENGTH, TURN, showings
from everanimate_core.toy.world.world import World

TWO_SIDED = Scene(two_sided=True)


@pytest.fixture(scope="module")
def world():
    return World(7, scene=TWO_SIDED)


def with_other_colour(world):
    """The same world with another colour behind."""
    other = World(world.seed, scene=world.scene)
    other.look = replace(other.look, behind=1 - world.look.behind)
    return other


def test_without_the_option_clothes_are_as_they_were():
    plain, turned = World(7), World(7, scene=TWO_SIDED)
    assert plain.look.behind is None and not plain.scene.two_sided
    assert all(
        value is None or isinstance(value, str) or torch.equal(value, vars(turned.look)[name])
        for name, value in vars(plain.look).items()
    )
    assert torch.equal(plain.background(), turned.background()) and plain.body == turned.body
    assert not torch.equal(plain.yaw(range(200)), turned.yaw(range(200)))


def test_a_slice_equals_the_whole_bit_for_bit(world):
    for what in (world.frames, world.lineart, world.behind):
        whole = what(range(60, 100))
        assert torch.equal(what([93, 61, 77]), whole[[33, 1, 17]])


def test_showings_are_further_apart_than_windows_and_local_memory_reach():
    apart = RELEASED.window_frames + RELEASED.overlap
    gaps = []
    for seed in range(300):
        spans = showings(f"{seed}", 3060)
        assert [len(span) for span in spans] == [LENGTH] * 17
        gaps += [after.start - before.stop for before, after in pairwise(spans)]
        # The first one is no part of the first frames, and 500 frames have three.
        assert spans[0].start > 0 and len(showings(f"{seed}", 500)) == 3
    assert min(gaps) == 100 > apart > MemorySettings().local_frames
    assert max(gaps) == 140


def test_a_showing_that_is_cut_off_is_left_out():
    first = showings("7", 500)[0]
    assert showings("7", first.stop) == [first] and showings("7", first.stop - 1) == []


def test_it_faces_the_viewer_but_in_showings_turns_round_smoothly_and_back():
    for seed in range(4):
        world, spans = World(seed, scene=TWO_SIDED), showings(f"{seed}", 600)
        yaw = world.yaw(range(600))
        outside = torch.ones(600, dtype=torch.bool)
        for span in spans:
            outside[span.start : span.stop] = False
            assert ((yaw[span.start + TURN : span.stop - TURN] - pi).abs() <= CALM).all()
        assert (yaw[outside][: spans[-1].start].abs() <= CALM).all()
        assert yaw.diff().abs().max() < 0.5


def test_the_colour_behind_is_in_no_frame_but_those_of_showings():
    for seed in range(6):
        world, spans = World(seed, scene=TWO_SIDED), showings(f"{seed}", 500)
        behind = world.behind(range(500))
        outside = [at for at in range(500) if not any(at in span for span in spans)]
        assert not behind[outside].any()
        # In a showing much of the figure is seen from behind, most of the time.
        for span in spans:
            assert ((behind[span.start : span.stop] > 0.9).sum(dim=(1, 2)) >= 200).sum() >= 30


def test_neither_the_reference_nor_any_line_tells_the_colour_behind(world):
    other, shown = with_other_colour(world), showings("7", 500)[1][30]
    frames = [0, 20, shown]
    assert torch.equal(world.reference(), other.reference())
    assert torch.equal(world.lineart(range(0, 320, 8)), other.lineart(range(0, 320, 8)))
    one, two = world.frames(frames), other.frames(frames)
    assert torch.equal(one[:2], two[:2])
    changed, behind = (one[2] - two[2]).abs().amax(-1), world.behind([shown])[0]
    # What is painted over leaves no more than a rounding.
    assert changed[behind == 0].max() < 1e-6
    assert (changed[behind > 0.9] > 0.02).float().mean() > 0.95


def test_the_line_art_tells_front_from_back(world):
    """The same posture, drawn facing the viewer and turned round, has other lines within the figure."""
    shown, still = showings("7", 500)[0][30], World(7, scene=TWO_SIDED)
    posture = still._posture
    still._posture = lambda indices: replace(posture(indices), yaw=posture(indices).yaw - pi)
    inside = (world.silhouette([shown])[0] == 1) & (still.silhouette([shown])[0] == 1)
    lines, front = world.lineart([shown])[0, ..., 0], still.lineart([shown])[0, ..., 0]
    assert ((lines - front).abs() > 0.5)[inside].float().mean() > 0.05


def test_what_is_seen_from_behind_has_the_colour_behind(world):
    shown = showings("7", 500)[0][30]
    pure = (world.behind([shown])[0] > 0.99) & (world.silhouette([shown])[0] == 1)
    seen = world.frames([shown])[0][pure]
    # Shaded by no more than to 0.6.
    ratio = seen / world.look.behind
    assert pure.sum() > 200
    assert ratio.min() > 0.59 and ratio.max() < 1.001
