"""The mask of the person that is replaced: grown, in blocks, and the frame without what it covers."""

import cv2
import numpy as np
import pytest

from everanimate_core.driving.mask import around, grown, in_blocks, without_person


def mask_of(*rows):
    """A mask out of rows of "#" (white) and "." (black)."""
    return np.array([[sign == "#" for sign in row] for row in rows])


def scattered(seed, height=60, width=80, share=0.01):
    return np.random.default_rng(seed).random((height, width)) < share


def test_the_box_of_points_is_an_eighth_larger_and_stays_in_the_picture():
    points = np.array([[8.0, 16.0], [24.0, 24.0], [10.0, 32.0]])
    expected = np.zeros((60, 40), dtype=bool)
    expected[14:35, 6:27] = True
    assert np.array_equal(around(points, 40, 60), expected)
    assert around(points * 100, 40, 60).sum() == 0
    assert around(np.array([[-9.0, -9.0], [90.0, 90.0]]), 40, 60).all()


def test_one_pixel_grows_to_a_square_of_19():
    mask = np.zeros((50, 40), dtype=bool)
    mask[20, 15] = True
    expected = np.zeros((50, 40), dtype=bool)
    expected[11:30, 6:25] = True
    assert expected.sum() == 19 * 19
    assert grown(mask, 9).dtype == bool
    assert np.array_equal(grown(mask, 9), expected)


def test_nine_pixels_are_wans_square_of_7_three_times():
    # Also at the edges of the picture.
    mask = scattered(1)
    three_times = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8), iterations=3)
    assert not grown(mask, 9).all()
    assert np.array_equal(grown(mask, 9), three_times.astype(bool))


def test_a_mask_that_does_not_grow_stays():
    mask = scattered(2)
    assert np.array_equal(grown(mask, 0), mask)


def test_cells_that_are_touched_become_white():
    mask = mask_of(
        ".......",
        ".#.....",
        ".......",
        "......#",
        ".......",
        "...#...",
        ".......",
    )
    # The box is 6 wide and 5 high; its cells begin at its own corner, and the last row of them is cut off.
    assert np.array_equal(
        in_blocks(mask, 2),
        mask_of(
            ".......",
            ".##....",
            ".##....",
            ".....##",
            ".....##",
            "...##..",
            ".......",
        ),
    )
    assert np.array_equal(
        in_blocks(mask, 4),
        mask_of(
            ".......",
            ".######",
            ".######",
            ".######",
            ".######",
            ".####..",
            ".......",
        ),
    )


@pytest.mark.parametrize("cell", [6, 7, 100_000])
def test_one_cell_is_the_box(cell):
    mask = np.zeros((12, 12), dtype=bool)
    mask[2, 3] = mask[6, 8] = True
    expected = np.zeros((12, 12), dtype=bool)
    expected[2:7, 3:9] = True
    assert np.array_equal(in_blocks(mask, cell), expected)


@pytest.mark.parametrize("cell", [0, 1])
def test_no_cells_or_such_of_one_pixel_keep_the_outline(cell):
    mask = scattered(3)
    assert np.array_equal(in_blocks(mask, cell), mask)


@pytest.mark.parametrize("cell", [1, 3, 8, 64])
def test_blocks_cover_the_mask_and_stay_in_its_box(cell):
    mask = scattered(4)
    blocks = in_blocks(mask, cell)
    box = in_blocks(mask, 1000)
    assert (blocks >= mask).all() and (blocks <= box).all()
    # A person one pixel wide or high has blocks too.
    line = np.zeros((9, 9), dtype=bool)
    line[1:8, 4] = True
    assert np.array_equal(in_blocks(line, cell), line)
    assert np.array_equal(in_blocks(line.T, cell), line.T)


def test_the_mask_that_is_given_stays_as_it_is():
    mask = mask_of("#..", "...", "..#")
    before = mask.copy()
    in_blocks(mask, 2)
    grown(mask, 1)
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("cell", [0, 16, 1000])
def test_an_empty_mask_stays_empty(cell):
    empty = np.zeros((30, 40), dtype=bool)
    assert not in_blocks(grown(empty, 9), cell).any()
    frame = np.random.default_rng(5).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert np.array_equal(without_person(frame, empty), frame)


def test_the_background_is_black_exactly_where_the_mask_is_white():
    # No pixel of the frame itself is black.
    frame = np.random.default_rng(6).integers(1, 256, (60, 80, 3), dtype=np.uint8)
    before, mask = frame.copy(), scattered(7, share=0.3)
    background = without_person(frame, mask)
    assert background.dtype == np.uint8
    assert np.array_equal(~background.any(axis=-1), mask)
    assert np.array_equal(background[~mask], frame[~mask])
    assert np.array_equal(frame, before)
