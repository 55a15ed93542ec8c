"""Files whose frames have times of their own are shown at a constant rate, every picture at its time."""

from fractions import Fraction

import av
import numpy as np
import pytest
from video_parts import DARK, HEIGHT, WIDTH

from everanimate_core.media.reader import VideoFrames


def grey(number):
    return np.full((HEIGHT, WIDTH, 3), 16 + 4 * number, np.uint8)


def encode_at(path, times, codec="libx264", base=Fraction(1, 600), options="", pix_fmt="yuv420p"):
    """A file of flat grey frames at these times (in units of base), declared as 30 fps."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=dict(o.split("=", 1) for o in options.split()))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.time_base = base
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(grey(number), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = time, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(video):
    """Which frame stands at each place of a video of grey frames."""
    return [round((float(frame.mean()) * 255 - 16) / 4) for frame in video.read(range(video.frame_count))]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_rate_that_varies_keeps_every_picture_at_its_time(tmp_path, suffix):
    codec = "libvpx" if suffix == ".webm" else "libx264"
    path = encode_at(tmp_path / f"dark{suffix}", DARK, codec, options="b=4M crf=4" if suffix == ".webm" else "")
    with VideoFrames(path) as video:
        assert (video.fps, video.frame_count) == (30, 60)
        assert shown(video) == [*range(30), *(30 + n // 2 for n in range(30))]
        assert video.notes == [f"dark{suffix}: its frame rate varies; it is shown at 30 a second."]
    with VideoFrames(path, Fraction(15)) as video:
        assert (video.fps, video.frame_count) == (15, 30)
        assert shown(video)[15:] == list(range(30, 45))


def test_a_part_of_a_varying_file_begins_with_the_frame_on_show(tmp_path):
    path = encode_at(tmp_path / "dark.mp4", DARK)
    with VideoFrames(path, start=1.0) as video:
        assert (video.fps, shown(video)) == (30, [30 + n // 2 for n in range(30)])
    with VideoFrames(path, start=1.5, duration=0.2) as video:
        assert shown(video) == [37, 38, 38, 39, 39, 40]
    with VideoFrames(path, start=5) as video:
        assert video.frame_count == 0


def test_a_second_of_nothing_is_held(tmp_path):
    path = encode_at(tmp_path / "frozen.mp4", [*(24 * n for n in range(25)), *(1200 + 24 * n for n in range(25))])
    with VideoFrames(path) as video:
        assert (video.fps, video.frame_count) == (25, 75)
        assert shown(video) == [*range(25), *[24] * 25, *range(25, 50)]


def test_an_avi_with_dropped_frames_keeps_its_time(tmp_path):
    # Ten frames a second in a file that says thirty: the places between are left empty.
    path = encode_at(tmp_path / "dropped.avi", [3 * n for n in range(40)], "mjpeg", Fraction(1, 30), "", "yuvj420p")
    with VideoFrames(path) as video:
        assert (video.fps, video.frame_count) == (10, 40)
        assert shown(video) == list(range(40))


def test_another_rate_by_hand_shows_what_stands_at_the_time(tmp_path):
    path = encode_at(tmp_path / "steady.mp4", [20 * n for n in range(60)])
    with VideoFrames(path, Fraction(20)) as video:
        assert (video.fps, shown(video)) == (20, [3 * n // 2 for n in range(40)])
        assert video.notes == []
    with VideoFrames(path, Fraction(30)) as video:
        assert shown(video) == list(range(60))
