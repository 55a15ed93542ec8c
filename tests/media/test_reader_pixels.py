"""Colours and shape: turned, mirrored, full range, HDR, pixels that are no squares."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_parts import HEIGHT, WIDTH, picture, turned

from everanimate_core.media.reader import VideoFrames


def quadrant(width, height):
    """Red in the left top quadrant, else blue."""
    image = np.zeros((height, width, 3), np.uint8)
    image[...] = (30, 30, 200)
    image[: height // 2, : width // 2] = (200, 30, 30)
    return image


def corners(frame):
    """Where red is: the four quadrants of [H, W, 3] in reading order."""
    height, width = frame.shape[:2]
    points = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return [bool(frame[y, x, 0] > 0.5) for y, x in points]


@pytest.mark.parametrize(
    "matrix",
    [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (-1, 0, 0, -1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, -1, 0),
        (0, -1, 1, 0),
    ],
)
def test_a_turned_and_mirrored_video_comes_as_a_player_shows_it(tmp_path, matrix):
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(quadrant(96, 64), format="rgb24")))
        container.mux(stream.encode(None))
    turned(path, matrix)
    # The middle of the red quadrant, seen from the middle.
    a, b, c, d = matrix
    x, y = a * -1 + c * -1, b * -1 + d * -1
    expected = [(x, y) == corner for corner in ((-1, -1), (1, -1), (-1, 1), (1, 1))]
    with VideoFrames(path) as video:
        assert (video.width, video.height) == ((96, 64) if a else (64, 96))
        assert corners(video.read([0])[0]) == expected


def test_pixels_that_are_no_squares_become_squares(tmp_path):
    path = tmp_path / "anamorphic.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(quadrant(48, 64), format="rgb24")))
        container.mux(stream.encode(None))
    with VideoFrames(path) as video:
        assert (video.width, video.height) == (96, 64)
        assert corners(video.read([0])[0]) == [True, False, False, False]


def test_full_range_is_read_as_full_range(tmp_path):
    path = tmp_path / "full.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        stream.codec_context.color_range = 2
        planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        planes[:HEIGHT] = 17
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuvj420p")))
        container.mux(stream.encode(None))
    with VideoFrames(path) as video:
        assert (video.read([0]) * 255 - 17).abs().max() <= 1


@pytest.mark.parametrize(("transfer", "name"), [(18, "HLG"), (16, "PQ")])
def test_high_dynamic_range_is_told(tmp_path, transfer, name):
    path = tmp_path / "hdr.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.color_trc = transfer
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    with VideoFrames(path) as video:
        assert [note.split(" and ")[0] for note in video.notes] == [f"hdr.mp4: the video is HDR ({name})"]
