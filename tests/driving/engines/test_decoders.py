"""What networks say, with known maxima and boxes."""

import cv2
import numpy as np
import pytest

from everanimate_core.driving.engines import decoders


def bumps(centres, width=48, height=64, sigma=2.0, peak=0.9):
    """Heatmaps [K, h, w] with a Gaussian at each of the centres [K, 2]."""
    y, x = np.mgrid[:height, :width]
    distance = [(x - across) ** 2 + (y - down) ** 2 for across, down in centres]
    return (peak * np.exp(-np.array(distance) / (2 * sigma**2))).astype(np.float32)


def test_heatmap_maxima_between_cells():
    random = np.random.default_rng(0)
    centres = random.uniform((9, 9), (38, 54), (133, 2))
    points, scores = decoders.heatmaps(bumps(centres))
    assert np.abs(points - centres).max() < 0.01
    np.testing.assert_allclose(scores, bumps(centres).max(axis=(1, 2)))


def test_a_heatmap_that_leans_moves_the_right_way():
    """A longish bump, turned by 45 degrees: the axes of its parabola are not those of the cells."""
    y, x = np.mgrid[:64, :48] - np.array([30.3, 20.4])[:, None, None]
    leaning = 0.8 * np.exp(-((x + y) ** 2 / 36 + (x - y) ** 2 / 12))
    points, _ = decoders.heatmaps(leaning[None].astype(np.float32))
    assert points[0] == pytest.approx([20.4, 30.3], abs=0.01)


def test_heatmap_maxima_near_the_edge_stay_in_their_cell():
    # The step needs two cells on each side: from cell 2 on.
    centres = [(1.3, 30.0), (2.3, 30.0), (20.0, 62.4), (45.3, 20.3), (46.3, 20.3)]
    points, _ = decoders.heatmaps(bumps(centres))
    assert points[[0, 2, 4]].tolist() == [[1, 30], [20, 62], [46, 20]]
    assert (points[[1, 3]] != np.round(points[[1, 3]])).any(axis=1).all()


def test_heatmaps_without_a_top():
    flat = np.full((1, 64, 48), 0.25, np.float32)
    points, scores = decoders.heatmaps(flat)
    assert (points.tolist(), scores.tolist()) == ([[0, 0]], [0.25])
    # The highest cell lies in a hole, of which the left side is nearer: the blurred map has a valley there.
    hole = np.full((1, 64, 48), 0.9, np.float32)
    hole[0, 27:34, 19:27] = 0
    hole[0, 30, 22] = 1
    assert decoders.heatmaps(hole)[0].tolist() == [[22, 30]]


def test_heatmaps_as_opencv_blurs_them():
    """Rough maps: the blur decides where the top is. The parabola is solved joint by joint."""
    rough = np.random.default_rng(0).random((20, 64, 48), np.float32) * 0.2 + bumps([(20.3, 30.2)] * 20, sigma=1.5)
    points, scores = decoders.heatmaps(rough)
    for found, score, one in zip(points, scores, rough, strict=True):
        blurred = cv2.GaussianBlur(np.pad(one, 5), (11, 11), 0)[5:-5, 5:-5].astype(float)
        y, x = np.unravel_index(one.argmax(), one.shape)
        log = np.log(blurred)
        slope = [(log[y, x + 1] - log[y, x - 1]) / 2, (log[y + 1, x] - log[y - 1, x]) / 2]
        across, down = ((log[y, x + 2] + log[y, x - 2]), (log[y + 2, x] + log[y - 2, x]))
        mixed = (log[y + 1, x + 1] + log[y - 1, x - 1] - log[y - 1, x + 1] - log[y + 1, x - 1]) / 4
        bend = [[(across - 2 * log[y, x]) / 4, mixed], [mixed, (down - 2 * log[y, x]) / 4]]
        np.testing.assert_allclose(found, [x, y] - np.linalg.solve(bend, slope), atol=1e-4)
        assert score == one.max()


def test_simcc_counts_in_half_pixels_and_takes_the_lower_score():
    across, down = np.full((133, 576), 0.01), np.full((133, 768), 0.02)
    x, y = np.arange(133) * 4 + 3, np.arange(133) * 5 + 1
    across[np.arange(133), x], down[np.arange(133), y] = 0.8, 0.6
    down[7, y[7]] = 0.9
    points, scores = decoders.simcc(across, down)
    np.testing.assert_array_equal(points, np.stack([x, y], axis=1) / 2)
    assert scores[6:9].tolist() == [0.6, 0.8, 0.6]


def test_yolov10_keeps_people_only_the_surest_first():
    rows = np.zeros((300, 6), np.float32)
    rows[:5] = [
        [10, 20, 110, 220, 0.5, 0],
        [300, 20, 400, 220, 0.9, 0],
        [500, 20, 600, 220, 0.99, 16],  # a dog
        [12, 22, 112, 222, 0.4, 0],  # the first one again
        [200, 300, 260, 420, 0.04, 0],  # too unsure
    ]
    boxes, scores = decoders.yolov10(rows)
    assert boxes.tolist() == [[300, 20, 400, 220], [10, 20, 110, 220]]
    assert scores == pytest.approx([0.9, 0.5])


def yolox_row(step, column, line, box, size=640):
    """The number of a cell's row, and the row's first four values for a box [4]."""
    number = sum((size // other) ** 2 for other in (8, 16, 32) if other < step) + line * (size // step) + column
    centre, extent = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    return number, [*(centre / step - [column, line]), *np.log(extent / step)]


def test_yolox_boxes_of_all_three_grids():
    boxes = np.array([[37.0, 100, 81, 300], [300, 20, 420, 330], [150, 90, 500, 620]])
    rows = np.zeros((8400, 85))
    for box, step, score in zip(boxes, (8, 16, 32), (0.6, 0.9, 0.7), strict=True):
        number, values = yolox_row(step, int(box[0] / step) + 1, int(box[1] / step) + 2, box)
        rows[number, :4], rows[number, 4], rows[number, 5] = values, score, 0.8
    # Not a person, and not sure enough: 0.5 * 0.5.
    rows[10, 4:8] = [0.9, 0, 0, 0.9]
    rows[11, 4:6] = 0.5
    found, scores = decoders.yolox(rows, 640, 640)
    np.testing.assert_allclose(found, boxes[[1, 2, 0]])
    np.testing.assert_allclose(scores, [0.72, 0.56, 0.48])


def test_nobody():
    for boxes, scores in (
        decoders.yolov10(np.zeros((300, 6), np.float32)),
        decoders.yolox(np.zeros((8400, 85), np.float32), 640, 640),
    ):
        assert (boxes.shape, scores.shape) == ((0, 4), (0,))
