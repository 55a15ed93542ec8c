"""The contact sheet and the drift curve of a run, pixel by pixel where they can be computed by hand."""

import cv2
import numpy as np
import pytest
import torch

from everanimate_core.runs.pictures import (
    BACKGROUND,
    CURVE,
    GRID,
    HEIGHT,
    INK,
    LARGEST,
    PAPER,
    WIDTH,
    contact_sheet,
    curve_picture,
    thumbnail,
    write_picture,
)

RED, GREEN, BLUE = (250, 10, 20), (30, 240, 40), (50, 60, 230)


def plain(colour, width=160, height=90):
    return np.full((height, width, 3), colour, np.uint8)


def is_plain(picture, colour):
    return bool(picture.size) and bool((picture == np.array(colour, np.uint8)).all())


# --- thumbnails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "small"),
    [((832, 480), (160, 92)), ((480, 832), (92, 160)), ((64, 64), (64, 64)), ((1600, 16), (160, 2))],
)
def test_a_thumbnail_has_the_shape_of_the_frame_and_is_never_larger(size, small):
    picture = thumbnail(torch.full((size[1], size[0], 3), 0.2))
    assert picture.shape == (small[1], small[0], 3)
    assert is_plain(picture, (51, 51, 51))


def test_a_pixel_of_a_thumbnail_is_the_mean_of_what_it_stands_for():
    frame = torch.zeros(180, 320, 3)
    frame[::2, ::2] = torch.tensor([1.0, 0.8, 0.4])
    frame[1::2, 1::2] = torch.tensor([0.0, 0.0, 0.4])
    assert is_plain(thumbnail(frame), (64, 51, 51))
    # Values beyond the range become its ends.
    assert is_plain(thumbnail(frame * 0 + torch.tensor([2.0, -1.0, 1.0])), (255, 0, 255))


# --- contact sheet ---------------------------------------------------------------------------------------------------


def test_a_sheet_of_three():
    sheet = contact_sheet([plain(RED), plain(GREEN), plain(BLUE)], ["0", "", "2"])
    # Two columns of 160 and two rows of 90 + 16, and 4 between and around them all.
    assert (sheet.shape, sheet.dtype) == ((2 * (90 + 16 + 4) + 4, 2 * (160 + 4) + 4, 3), np.uint8)
    assert is_plain(sheet[4:94, 4:164], RED)
    assert is_plain(sheet[4:94, 168:328], GREEN)
    assert is_plain(sheet[114:204, 4:164], BLUE)
    labels = [sheet[94:114, 4:164], sheet[94:114, 168:328], sheet[204:224, 4:164]]
    assert [is_plain(label, BACKGROUND) for label in labels] == [False, True, False]
    assert is_plain(sheet[:4], BACKGROUND) and is_plain(sheet[:, :4], BACKGROUND)
    assert is_plain(sheet[114:, 168:], BACKGROUND) and is_plain(sheet[:, 328:], BACKGROUND)


def test_a_label_that_has_no_room_is_left_out():
    (with_room, without) = (contact_sheet([plain(RED, width, 64)], ["a chunk"]) for width in (64, 32))
    assert not is_plain(with_room[68:], BACKGROUND)
    assert is_plain(without[68:], BACKGROUND) and is_plain(without[4:68, 4:36], RED)


@pytest.mark.parametrize(("width", "height"), [(160, 92), (92, 160), (160, 160)])
@pytest.mark.parametrize("count", [1, 2, 21, 170, 700, 3000])
def test_the_sheet_of_hundreds_stays_small_and_shows_each(width, height, count):
    colours = [(1 + index % 250, 100 + index // 250, 77) for index in range(count)]
    sheet = contact_sheet([plain(colour, width, height) for colour in colours], [str(i) for i in range(count)])
    assert max(sheet.shape[:2]) <= LARGEST
    assert count == 1 or sheet.shape[0] <= sheet.shape[1]
    # Along the rows, each once, where it has to be.
    columns, small_width, small_height = places(sheet)
    for index, colour in enumerate(colours):
        row, column = divmod(index, columns)
        y, x = 4 + row * (small_height + 20), 4 + column * (small_width + 4)
        assert is_plain(sheet[y : y + small_height, x : x + small_width], colour)


def places(sheet):
    """Columns of a sheet, and width and height of its pictures, as they are seen in it."""
    # Along the first row of pixels of the pictures, and down the first column of them.
    across = (sheet[4, :, 2] == 77).nonzero()[0]
    down = (sheet[:, 4, 2] == 77).nonzero()[0]
    small_width, small_height = (1 + int((np.diff(line, append=line[-1] + 2) > 1).argmax()) for line in (across, down))
    return len(across) // small_width, small_width, small_height


def test_thumbnails_shrink_only_when_there_is_no_room():
    # 12 columns of 164 have room, and 17 rows of 110; with 18 rows the sheet would be higher than wide.
    sheet = contact_sheet([plain(RED)] * 204, [""] * 204)
    assert sheet.shape == (17 * 110 + 4, 12 * 164 + 4, 3) and is_plain(sheet[4:94, 4:164], RED)
    sheet = contact_sheet([plain(RED)] * 205, [""] * 205)
    # 13 columns: (2000 - 4) // 13 - 4 = 149 wide, 84 high.
    assert sheet.shape == (16 * (84 + 20) + 4, 13 * (149 + 4) + 4, 3)
    assert is_plain(sheet[4:88, 4:153], RED) and is_plain(sheet[4:88, 153:157], BACKGROUND)


# --- drift curve -----------------------------------------------------------------------------------------------------


def at(curve, x, y):
    return tuple(map(int, curve[y, x]))


def test_the_curve_of_five():
    picture = curve_picture([0.0, 1.5, None, 2.0, 0.5], "drift")
    assert (picture.shape, picture.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    # From 70 to 940 there are 217.5 pixels from chunk to chunk; from 270 up to 40 there are 115 to each 1.0.
    for x, y in ((70, 270), (288, 98), (722, 40), (940, 212)):
        assert at(picture, x, y) == CURVE
    # Straight from one to the next, with a gap where nothing is known.
    assert at(picture, 179, 184) == CURVE and at(picture, 831, 126) == CURVE
    assert is_plain(picture[41:97, 300:700], PAPER)
    # A line for each 0.5, and a mark for each chunk, also for the unknown one.
    assert [y for y in range(HEIGHT) if at(picture, 500, y) == GRID] == [40, 98, 155, 212, 270]
    assert [x for x in range(60, WIDTH) if at(picture, x, 273) == INK] == [70, 288, 505, 722, 940]


@pytest.mark.parametrize(
    ("highest", "top"), [(0.004, 0.005), (0.05, 0.05), (0.051, 0.1), (0.9, 1.0), (1.0, 1.0), (1.01, 2.0), (30, 50)]
)
def test_the_highest_value_has_room_and_its_height_by_the_axis(highest, top):
    picture = curve_picture([0.0, highest], "drift")
    y = round(270 - 230 * highest / top)
    assert at(picture, 940, y) == CURVE
    # Two pixels above it the dot ends.
    assert (picture == np.array(CURVE)).all(axis=-1).any(axis=1).argmax() == y - 2


@pytest.mark.parametrize("drifts", [[], [None], [0.0], [None, None]])
def test_a_run_that_has_just_begun(drifts):
    picture = curve_picture(drifts, "drift")
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert (at(picture, 70, 270) == CURVE) == (drifts == [0.0])
    assert not (picture[:, 80:] == np.array(CURVE)).all(axis=-1).any()


def test_numbers_below_hundreds_of_chunks_stand_apart():
    picture = curve_picture([0.1] * 701, "drift")
    marks = [x for x in range(60, WIDTH) if at(picture, x, 273) == INK]
    # Every fiftieth.
    assert marks == [round(70 + 870 * number / 700) for number in range(0, 701, 50)]


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_picture_is_written_as_it_is(tmp_path):
    sheet = contact_sheet([plain(RED), plain(GREEN)], ["0", "1"])
    write_picture(sheet, tmp_path / "Tänzerin 舞蹈.png")
    read = cv2.imdecode(np.frombuffer((tmp_path / "Tänzerin 舞蹈.png").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(read[..., ::-1], sheet)
    write_picture(sheet, tmp_path / "sheet.jpg")
    read = cv2.imread(str(tmp_path / "sheet.jpg"))[..., ::-1].astype(int)
    assert abs(read[49, 84] - RED).max() < 4 and abs(read[49, 248] - GREEN).max() < 4


def test_a_picture_is_there_whole_or_not_at_all(tmp_path):
    def lost():
        raise RuntimeError("another program took over")

    path = tmp_path / "drift.png"
    write_picture(curve_picture([0.0], "drift"), path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="took over"):
        write_picture(curve_picture([0.0, 1.0], "drift"), path, lost)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["drift.png"]
