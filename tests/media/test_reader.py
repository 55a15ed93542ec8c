"""Real files through real codecs: every frame read must be the frame a full decode shows, whatever the file."""

import io
import os
import random
import struct
import subprocess
import sys
import wave
from contextlib import closing, suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from exact_parts import is_rate

from everanimate_core.media.frames import FIT_POLICIES, TensorFrames, fit_frames
from everanimate_core.media.open import VideoError
from everanimate_core.media.reader import StoredFrames, VideoFrames, telling_video
from everanimate_core.media.writer import VideoWriter, concat_segments

DATA = Path(__file__).parents[1] / "data"
WIDTH, HEIGHT, COUNT = 96, 64, 80
LOSSLESS = {"codec": "libx264rgb", "crf": 0, "pix_fmt": "rgb24"}


@lru_cache
def picture(number):
    """uint8 [HEIGHT, WIDTH, 3]; moving, so that the encoder has use for B-frames, and different for every number."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([x * 2 + number * 5, y * 3 + number * 2, (x + y) * 2 - number * 3], -1) % 256
    image[number % 50 : number % 50 + 8] = number * 11 % 256
    return image.astype(np.uint8)


def pictures(count, first=0):
    return torch.from_numpy(np.stack([picture(first + i) for i in range(count)])).float() / 255


def encode(path, codec="libx264", options="", pix_fmt="yuv420p", times=None, count=COUNT):
    """A file made with PyAV alone; `times` are the presentation times in milliseconds, else 25 fps from 0."""
    base = Fraction(1, 25) if times is None else Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=dict(o.split("=", 1) for o in options.split()))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.time_base = base
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = number if times is None else times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def full_decode(path):
    """float32 [n, H, W, 3] of one plain pass from the first frame to the last."""
    with av.open(str(path)) as container:
        return torch.from_numpy(np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])) / 255.0


def packets_of(path, kind="video"):
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [
            (p.pts * p.time_base, None if p.dts is None else p.dts * p.time_base, bytes(p), p.is_keyframe)
            for p in container.demux(stream)
            if p.size
        ]


def irregular_times(start):
    gaps = random.Random(3)
    return [start := start + gaps.choice([10, 33, 40, 80, 5]) for _ in range(COUNT)]


def windows(length, overlap):
    return [list(range(k, min(k + length, COUNT))) for k in range(0, COUNT, length - overlap)]


X264_OPEN_GOP = "x264-params=keyint=24:open-gop=1:bframes=5:b-adapt=0:scenecut=0"
FILES = {
    "b_frames.mp4": {"options": "x264-params=keyint=30:bframes=3:scenecut=0"},
    "open_gop.mp4": {"options": X264_OPEN_GOP},
    "open_gop.mkv": {"options": X264_OPEN_GOP},
    "one_keyframe.mp4": {"options": "g=1000"},
    "variable_rate.mp4": {"times": irregular_times(0), "options": "g=20"},
    "variable_rate_late_start.mkv": {"times": irregular_times(1234), "options": "g=20"},
    "transport_stream_starts_late.ts": {"options": X264_OPEN_GOP},
    "negative_start_hides_frames.mp4": {"times": [40 * n - 1000 for n in range(COUNT)], "options": "g=20 bf=3"},
    "keyframes_that_are_no_start.mp4": {"options": "x264-params=keyint=24:intra-refresh=1:bframes=2:scenecut=0"},
    "no_presentation_times.avi": {"options": X264_OPEN_GOP},
    "no_timestamps.h264": {"options": "g=12 bf=2"},
    "uncounted_codec.mpg": {"codec": "mpeg2video", "options": "g=12 bf=2"},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le", "options": "g=20"},
    "full_chroma.mp4": {"pix_fmt": "yuv444p", "options": "g=20"},
    "rgb.mkv": {"codec": "ffv1", "pix_fmt": "bgr0"},
    "single_frame.mp4": {"count": 1},
}


@pytest.mark.parametrize("name", FILES)
def test_any_reading_order_gives_the_frames_of_a_full_decode(tmp_path, name):
    path = encode(tmp_path / name, **FILES[name])
    truth = full_decode(path)
    order = random.Random(1)
    count = len(truth)
    scattered = [[order.randrange(count) for _ in range(order.randint(1, 8))] for _ in range(30)]
    forwards = [[i for i in window if i < count] for window in windows(20, 4)]
    backwards = [window[::-1] for window in forwards[::-1]]
    for requests in forwards, backwards, scattered:
        with closing(StoredFrames(path)) as video:
            assert video.frame_count == count
            assert (video.width, video.height) == (WIDTH, HEIGHT)
            for request in requests:
                assert torch.equal(video.read(request), truth[request]), request
            assert video.notes == video.damage == []


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("variable")])
def test_a_constant_rate_is_shown_as_it_is_stored(tmp_path, name):
    path = encode(tmp_path / name, **FILES[name])
    with VideoFrames(path) as video, closing(StoredFrames(path)) as stored:
        assert (video.frame_count, video.fps) == (stored.frame_count, stored.rate)
        assert torch.equal(video.read(range(video.frame_count)), stored.read(range(stored.frame_count)))


def test_frames_hidden_by_the_container_do_not_count(tmp_path):
    path = encode(tmp_path / "hidden.mp4", **FILES["negative_start_hides_frames.mp4"])
    with VideoFrames(path) as video:
        assert len(packets_of(path)) > video.frame_count == COUNT - 25


def cut(source, path, first):
    """Copy the packets of `source` from number `first` on."""
    with av.open(str(source)) as original, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(original.streams.video[0], opaque=True)
        for number, packet in enumerate(original.demux(video=0)):
            if packet.size and number >= first:
                packet.stream = stream
                container.mux(packet)
    return path


def test_frames_before_the_first_keyframe_do_not_count(tmp_path):
    source = encode(tmp_path / "source.mp4", options=X264_OPEN_GOP)
    second_keyframe = [i for i, packet in enumerate(packets_of(source)) if packet[3]][1]
    path = cut(source, tmp_path / "cut.mkv", second_keyframe)
    truth = full_decode(path)
    with VideoFrames(path) as video:
        assert len(packets_of(path)) > video.frame_count == len(truth)
        assert torch.equal(video.read([30, 2]), truth[[30, 2]])


class CountingFile(io.BytesIO):
    bytes_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def test_a_forward_sweep_reads_the_file_once(tmp_path):
    path = encode(tmp_path / "sweep.mkv", options="g=1000 qp=0", pix_fmt="yuv444p")
    file = CountingFile(path.read_bytes())
    size = len(file.getvalue())
    assert size > 100_000  # several read buffers
    with VideoFrames(file) as video:
        file.bytes_read = 0
        for window in windows(12, 4):
            video.read(window)
    assert file.bytes_read < 1.2 * size
    assert not file.closed


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_frame_is_reached_without_what_lies_before_its_keyframe(tmp_path, suffix):
    path = encode(
        tmp_path / f"late{suffix}",
        options="x264-params=keyint=10:bframes=3:b-adapt=0:scenecut=0:qp=1",
        pix_fmt="yuv444p",
    )
    file = CountingFile(path.read_bytes())
    with VideoFrames(file) as video:
        assert torch.equal(video.read([COUNT - 10]), full_decode(path)[[COUNT - 10]])
        file.bytes_read = 0
        video.read([COUNT // 2])
    assert file.bytes_read < 0.45 * len(file.getvalue())


def hide_frames(path, target, hidden):
    """Copy a VP8 file with these frames marked as not for showing, as its encoders mark reference frames."""
    with av.open(str(path)) as original, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(original.streams.video[0], opaque=True)
        for number, packet in enumerate(original.demux(video=0)):
            if packet.size:
                data = bytearray(bytes(packet))
                data[0] &= 0xFF - (0x10 if number in hidden else 0)
                copy = av.Packet(bytes(data))
                copy.stream, copy.time_base, copy.is_keyframe = stream, packet.time_base, packet.is_keyframe
                copy.pts, copy.dts = packet.pts, packet.dts
                container.mux(copy)


def test_packets_that_show_nothing_do_not_count(tmp_path):
    encode(tmp_path / "vp8.webm", codec="libvpx", options="g=20")
    hide_frames(tmp_path / "vp8.webm", tmp_path / "hidden.webm", {7, 33, 50})
    truth = full_decode(tmp_path / "hidden.webm")
    with closing(StoredFrames(tmp_path / "hidden.webm")) as video:
        assert len(packets_of(tmp_path / "hidden.webm")) == COUNT
        assert video.frame_count == len(truth) == COUNT - 3
        assert torch.equal(video.read([60, 30, 61]), truth[[60, 30, 61]])
    # What comes after them still stands at its time.
    with VideoFrames(tmp_path / "hidden.webm") as video:
        assert (video.frame_count, video.fps) == (COUNT, 25)
        assert torch.equal(video.read([6, 7, 8, 79]), truth[[6, 6, 7, 76]])


def test_a_file_object_is_read_from_its_start(tmp_path):
    file = io.BytesIO(encode(tmp_path / "object.avi", options="g=12 bf=2").read_bytes())
    file.seek(100)
    with VideoFrames(file) as video:
        assert torch.equal(video.read([50, 3]), full_decode(tmp_path / "object.avi")[[50, 3]])


def test_frames_with_the_same_time_are_two_frames(tmp_path):
    times = [40 * (n - n // 10) for n in range(COUNT)]
    path = encode(tmp_path / "repeated.mkv", codec="ffv1", pix_fmt="bgr0", times=times)
    truth = full_decode(path)
    with VideoFrames(path) as video:
        assert video.frame_count == len(truth) == COUNT
        for number in (10, 9, 50, 49):
            assert torch.equal(video.read([number]), truth[[number]])


def test_a_title_in_an_old_encoding_does_no_harm(tmp_path):
    path = tmp_path / "title.mp4"
    encode(path, count=2)
    with (
        av.open(str(path)) as original,
        av.open(str(tmp_path / "old.mp4"), "w", metadata_encoding="latin-1") as container,
    ):
        container.metadata["title"] = "café"
        stream = container.add_stream_from_template(original.streams.video[0], opaque=True)
        for packet in original.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    with VideoFrames(tmp_path / "old.mp4") as video:
        assert video.frame_count == 2


def test_a_phone_video_comes_upright(tmp_path):
    path = encode(tmp_path / "phone.mp4", count=3)
    upright = full_decode(path)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    # x' = -y, y' = x: a quarter turn clockwise, as a phone held upright writes it
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with VideoFrames(path) as video:
        assert (video.width, video.height) == (HEIGHT, WIDTH)
        assert torch.equal(video.read([2]), upright[2:3].rot90(-1, (1, 2)))


def test_frames_in_memory_drop_alpha_and_follow_the_request():
    images = torch.rand(5, 4, 6, 4, dtype=torch.float64)
    frames = TensorFrames(images)
    assert (frames.frame_count, frames.width, frames.height, frames.fps) == (5, 6, 4, None)
    assert TensorFrames(images, Fraction(30000, 1001)).fps == Fraction(30000, 1001)
    read = frames.read([4, 0, 0])
    assert read.dtype == torch.float32
    assert torch.equal(read, images[[4, 0, 0], ..., :3].float())


@pytest.mark.parametrize("number", [-1, 5])
def test_numbers_outside_the_video_are_refused(tmp_path, number):
    message = rf"^frame numbers must be within 0\.\.4; got {number}"
    with VideoFrames(encode(tmp_path / "five.mp4", count=5)) as video, pytest.raises(IndexError, match=message):
        video.read([0, number])
    with pytest.raises(IndexError, match=message):
        TensorFrames(torch.zeros(5, 2, 2, 3)).read([0, number])


def test_what_is_no_video_is_refused_by_name(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"must be a readable video; got text\.mp4"):
        VideoFrames(tmp_path / "text.mp4")
    with pytest.raises(VideoError, match=r"must be a readable video; got missing\.mp4"):
        VideoFrames(tmp_path / "missing.mp4")
    with pytest.raises(VideoError, match="must be a readable video; got a file object"):
        VideoFrames(io.BytesIO(b"not a video"))
    tone(tmp_path / "tone.wav", 0.1)
    with pytest.raises(VideoError, match=r"must hold a video stream of a known codec; got tone\.wav"):
        VideoFrames(tmp_path / "tone.wav")
    cut(encode(tmp_path / "whole.mp4", options="g=1000"), tmp_path / "without_keyframe.mkv", 1)
    with pytest.raises(VideoError, match=r"must hold at least one video frame; got 0 in without_keyframe\.mkv"):
        VideoFrames(tmp_path / "without_keyframe.mkv")


# --- times of their own ----------------------------------------------------------------------------------------------


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


# A telephone in the dark: 30 frames in the first second, 15 in the next.
DARK = [*(20 * n for n in range(30)), *(600 + 40 * n for n in range(15))]


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


# --- damage ----------------------------------------------------------------------------------------------------------


def damage(path, number, target, first=4):
    """Overwrite what the packet of this number (in the order of decoding) holds with zeros, behind its length."""
    data, victim = path.read_bytes(), packets_of(path)[number][2]
    target.write_bytes(data.replace(victim, victim[:first] + bytes(len(victim) - first)))
    return target


@pytest.mark.parametrize(("packet", "options"), [(50, "g=20 bf=0"), (40, "g=20 bf=0"), (79, "g=20")])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_where_a_frame_is_damaged_the_one_before_is_shown(tmp_path, suffix, packet, options):
    path = damage(encode(tmp_path / f"whole{suffix}", options=options), packet, tmp_path / f"damaged{suffix}")
    with av.open(str(path)) as container:
        stream, truth = container.streams.video[0], {}
        for found in container.demux(stream):
            with suppress(av.FFmpegError):
                for frame in found.decode():
                    truth[round(frame.pts * stream.time_base * 25)] = frame.to_ndarray(format="rgb24")
    missing = sorted(set(range(COUNT)) - truth.keys())
    assert missing
    first = min(truth)
    expected = [truth[max((n for n in truth if n <= number), default=first)] for number in range(COUNT)]
    expected = torch.from_numpy(np.stack(expected)) / 255.0
    order = random.Random(1)
    for requests in (
        windows(20, 4),
        windows(20, 4)[::-1],
        [[order.randrange(COUNT) for _ in range(5)] for _ in range(9)],
    ):
        with closing(StoredFrames(path)) as video:
            assert video.frame_count == COUNT
            for request in requests:
                assert torch.equal(video.read(request), expected[request]), request
            video.read(range(COUNT))
            assert video.damage == [
                f"damaged{suffix}: {len(missing)} frames are damaged, from frame {missing[0]} on; the frames before "
                "them are shown in their place."
            ]


def test_a_damaged_start_is_left_out(tmp_path):
    path = damage(encode(tmp_path / "whole.mp4", options="g=20 bf=0"), 0, tmp_path / "damaged.mp4")
    with VideoFrames(path) as video:
        assert COUNT - 20 <= video.frame_count < COUNT
        assert torch.equal(video.read([video.frame_count - 1]), full_decode(tmp_path / "whole.mp4")[[COUNT - 1]])
        assert "packets are damaged; what they held is left out" in video.notes[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_was_cut_off_has_the_length_that_it_has(tmp_path, suffix):
    whole = encode(tmp_path / f"whole{suffix}", options="g=10 bf=0")
    if suffix == ".mp4":  # its head must lie in front to be read at all
        concat_segments([whole], whole)
    lengths = [len(data) for *_, data, _ in packets_of(whole)]
    data = whole.read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: data.index(packets_of(whole)[60][2])])
    with VideoFrames(tmp_path / f"cut{suffix}") as video, VideoFrames(whole) as before:
        assert (len(lengths), video.frame_count, video.fps) == (COUNT, 60, 25)
        assert torch.equal(video.read(range(55)), before.read(range(55)))
        assert video.notes == [f"cut{suffix}: the file ends early; 20 frames are missing."]


def test_what_is_to_be_known_is_told_once_known(tmp_path):
    path = damage(encode(tmp_path / "whole.mp4", options="g=20 bf=0"), 50, tmp_path / "damaged.mp4")
    told = []
    with telling_video(told.append, path) as video:
        video.read([10])
        assert told == []
        video.read([50])
    assert told == [
        "damaged.mp4: 1 frames are damaged, from frame 50 on; the frames before them are shown in their place."
    ]


def test_frames_of_another_size_are_fitted(tmp_path):
    """As browsers record a call whose picture shrinks with the connection."""
    small = tmp_path / "small.webm"
    with av.open(str(small), "w") as container:
        stream = container.add_stream("libvpx", rate=25, options={"crf": "4", "b": "2M"})
        stream.width, stream.height, stream.pix_fmt = WIDTH // 2, HEIGHT // 2, "yuv420p"
        half = np.full((HEIGHT // 2, WIDTH // 2, 3), 100, np.uint8)
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(half, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    large = encode(tmp_path / "large.webm", codec="libvpx", count=5)
    both = tmp_path / "both.webm"
    with av.open(str(large)) as one, av.open(str(small)) as two, av.open(str(both), "w") as container:
        stream = container.add_stream_from_template(one.streams.video[0], opaque=True)
        for first, part in ((0, one), (200, two)):
            for packet in part.demux(video=0):
                if packet.size:
                    packet.stream, packet.pts, packet.dts = stream, packet.pts + first, packet.dts + first
                    container.mux(packet)
    with VideoFrames(both) as video:
        frames = video.read(range(10))
        assert frames.shape == (10, HEIGHT, WIDTH, 3)
        assert (frames[5:] - 100 / 255).abs().max() < 4 / 255
        assert video.notes == [
            f"both.webm: the picture changes its size ({WIDTH // 2}x{HEIGHT // 2}); shown at {WIDTH}x{HEIGHT}."
        ]


# --- colours and shape -----------------------------------------------------------------------------------------------


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
    data = bytearray(path.read_bytes())
    place, (a, b, c, d) = data.index(b"tkhd") + 4 + 40, matrix
    data[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    # A point goes to x' = a x + c y, y' = b x + d y: the middle of the red quadrant, seen from the middle.
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


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001), 23.976, Fraction(24)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_written_count_rate_and_times_are_exact(tmp_path, fps, suffix):
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, fps, WIDTH, HEIGHT) as writer:
        writer.write(pictures(7))
        writer.write(pictures(1, first=7))
        assert not path.exists()
    rate = Fraction(2997, 125) if fps == 23.976 else Fraction(fps)
    with VideoFrames(path) as video:
        assert (video.frame_count, video.fps) == (8, rate)
        assert (video.width, video.height) == (WIDTH, HEIGHT)
    tick = 0 if suffix == ".mp4" else Fraction(1, 1000)  # Matroska counts milliseconds
    for number, (time, *_) in enumerate(sorted(packets_of(path))):
        assert abs(time - number / rate) <= tick


COLOURS = [(r, g, b) for r in (0.0, 0.5, 1.0) for g in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)]


def test_flat_colours_survive_the_default_codec(tmp_path):
    frames = torch.tensor(COLOURS)[:, None, None].expand(-1, HEIGHT, WIDTH, 3)
    path = tmp_path / "colours.mp4"
    with VideoWriter(path, 25, WIDTH, HEIGHT) as writer:
        writer.write(frames)
    with VideoFrames(path) as video:
        assert (video.read(range(len(frames))) - frames).abs().max() <= 3 / 255


def test_colours_are_stored_as_limited_bt709_and_say_so(tmp_path):
    path = tmp_path / "green.mp4"
    with VideoWriter(path, 25, WIDTH, HEIGHT) as writer:
        writer.write(torch.tensor([0.0, 1.0, 0.0]).expand(2, HEIGHT, WIDTH, 3))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        stored = container.streams.video[0].codec_context
        assert (stored.colorspace, stored.color_primaries, stored.color_trc, stored.color_range) == (1, 1, 1, 1)
    luma = frame.to_ndarray()[:HEIGHT]
    assert abs(int(luma[0, 0]) - (16 + 219 * 0.7152)) <= 1


@pytest.mark.parametrize(
    ("pix_fmt", "luma", "chroma"),
    [
        ("yuv420p", 16 + 219 * 0.587, (128 - 224 * 0.331264, 128 - 224 * 0.418688)),  # limited range
        ("yuvj420p", 255 * 0.587, (128 - 255 * 0.331264, 128 - 255 * 0.418688)),  # full range
    ],
)
def test_green_of_an_untagged_file_is_read_as_bt601(tmp_path, pix_fmt, luma, chroma):
    path = tmp_path / "untagged.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        planes = np.full((HEIGHT * 3 // 2, WIDTH), round(luma), np.uint8)
        planes[HEIGHT : HEIGHT * 5 // 4] = round(chroma[0])
        planes[HEIGHT * 5 // 4 :] = round(chroma[1])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format=pix_fmt)))
        container.mux(stream.encode(None))
    with VideoFrames(path) as video:
        assert (video.read([0]) - torch.tensor([0.0, 1.0, 0.0])).abs().max() <= 3 / 255


@pytest.mark.parametrize(
    ("suffix", "settings"), [(".mp4", LOSSLESS), (".mkv", LOSSLESS), (".mkv", {"codec": "ffv1", "pix_fmt": "bgr0"})]
)
def test_lossless_is_bit_exact_on_every_8_bit_value(tmp_path, suffix, settings):
    levels = torch.arange(256).repeat(72)[: 2 * HEIGHT * WIDTH].view(2, HEIGHT, WIDTH, 1)
    frames = torch.cat([levels, levels.flip(2), 255 - levels], -1) / 255
    path = tmp_path / f"lossless{suffix}"
    with VideoWriter(path, 25, WIDTH, HEIGHT, **settings) as writer:
        writer.write(frames)
        writer.write(frames * 1.7 - 0.3)
    with VideoFrames(path) as video:
        assert torch.equal(video.read([0, 1]), frames)
        assert torch.equal(video.read([2, 3]), ((frames * 1.7 - 0.3).clamp(0, 1) * 255).round() / 255)


def test_a_crash_leaves_nothing_behind_and_an_older_file_alone(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(RuntimeError, match="sampler"), VideoWriter(path, 25, WIDTH, HEIGHT) as writer:
        writer.write(pictures(60))
        raise RuntimeError("sampler")
    assert list(tmp_path.iterdir()) == []
    path.write_text("older")
    with pytest.raises(VideoError), VideoWriter(path, 25, WIDTH, HEIGHT) as writer:
        writer.write(torch.zeros(1, HEIGHT, WIDTH + 16, 3))
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_text() == "older"


WRITE_A_PATTERN = """
import sys, torch
from everanimate_core.media.writer import VideoWriter
y, x = torch.meshgrid(torch.arange(240), torch.arange(240), indexing="ij")
noise = torch.rand(240, 240, 3, generator=torch.Generator().manual_seed(0)) / 4
frames = [((x * 3 + y * k) % 200 / 300)[..., None] + noise.roll(2 * k, 1) for k in range(16)]
with VideoWriter(sys.argv[1], 25, 240, 240) as writer:
    writer.write(torch.stack(frames))
"""


def test_equal_frames_give_equal_files_whatever_lay_in_memory(tmp_path):
    files = []
    for garbage in ("1", "85", "255"):
        path = tmp_path / f"{garbage}.mp4"
        # glibc fills what it hands out with this byte; elsewhere the variable means nothing
        environment = {**os.environ, "MALLOC_PERTURB_": garbage}
        subprocess.run([sys.executable, "-c", WRITE_A_PATTERN, str(path)], env=environment, check=True)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]


def test_closing_without_a_context_manager(tmp_path):
    writer = VideoWriter(tmp_path / "out.mp4", 25, WIDTH, HEIGHT)
    writer.write(pictures(3))
    writer.close()
    writer.close()
    with VideoFrames(tmp_path / "out.mp4") as video:
        assert video.frame_count == writer.frame_count == 3


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(VideoError, match=r"must be even for yuv420p .*; got 97x64"):
        VideoWriter(tmp_path / "odd.mp4", 25, 97, 64)
    with pytest.raises(VideoError, match=r"frames must be \[n, 64, 96, 3\]; got \[2, 64, 96, 4\]"):  # noqa: SIM117
        with VideoWriter(tmp_path / "alpha.mp4", 25, WIDTH, HEIGHT) as writer:
            writer.write(torch.zeros(2, HEIGHT, WIDTH, 4))
    with pytest.raises(VideoError, match=r"at least one frame must be written; got 0 for .*empty\.mp4"):  # noqa: SIM117
        with VideoWriter(tmp_path / "empty.mp4", 25, WIDTH, HEIGHT):
            pass
    with pytest.raises(VideoError, match=r"must be a readable video; got missing\.mp4"):
        VideoWriter(tmp_path / "silent.mp4", 25, WIDTH, HEIGHT, audio_from=tmp_path / "missing.mp4")
    assert list(tmp_path.iterdir()) == []


def test_odd_sizes_fit_where_colour_is_not_halved(tmp_path):
    frames = pictures(2)[:, :63, :95]
    with VideoWriter(tmp_path / "odd.mkv", 25, 95, 63, **LOSSLESS) as writer:
        writer.write(frames)
    with VideoFrames(tmp_path / "odd.mkv") as video:
        assert torch.equal(video.read([0, 1]), frames)


def tone(path, seconds, rate=48000, silent_until=0.0):
    """16-bit mono, 440 Hz, optionally after a silence (s)."""
    time = np.arange(round(seconds * rate)) / rate
    samples = 8000 * np.sin(2 * np.pi * 440 * time) * (time >= silent_until)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def sound(path):
    """Time of the first sample (s), and all of them as mono float at 48 kHz."""
    resampler = av.AudioResampler("flt", "mono", 48000)
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        samples = [out.to_ndarray()[0] for frame in frames for out in resampler.resample(frame)]
    return frames[0].pts * frames[0].time_base, np.concatenate(samples)


def test_audio_is_copied_in_step_and_cut_to_the_picture(tmp_path):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 25, WIDTH, HEIGHT, audio_from=DATA / "pose.mp4") as writer:
        for first in range(0, 75, 25):
            writer.write(pictures(25, first))
    source, copied = packets_of(DATA / "pose.mp4", "audio"), packets_of(path, "audio")
    assert [data for _, _, data, _ in copied] == [data for _, _, data, _ in source[: len(copied)]]
    start, samples = sound(path)
    assert start == 0
    assert 3 <= len(samples) / 48000 < 3 + 1024 / 48000
    assert np.array_equal(samples, sound(DATA / "pose.mp4")[1][: len(samples)])
    with VideoFrames(path) as video:
        assert video.frame_count == 75
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_audio_that_the_container_cannot_carry_becomes_aac(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", 25, WIDTH, HEIGHT, audio_from=tone(tmp_path / "t.wav", 2, 44100)) as writer:
        writer.write(pictures(25))
    start, samples = sound(tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == "aac"
    assert start == 0
    assert 1 <= len(samples) / 48000 < 1 + 2 * 1024 / 48000
    spectrum = np.abs(np.fft.rfft(samples[:48000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert np.sqrt((samples[4800:43200] ** 2).mean()) == pytest.approx(8000 / 32768 / np.sqrt(2), rel=0.05)


def test_audio_that_ends_before_the_picture_is_kept_to_its_end(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", 25, WIDTH, HEIGHT, audio_from=tone(tmp_path / "t.wav", 0.99)) as writer:
        writer.write(pictures(50))
    _, samples = sound(tmp_path / "out.mp4")
    assert len(samples) / 48000 >= 0.99
    assert np.abs(samples[-3000:-1500]).max() > 0.2


@pytest.mark.parametrize("suffix", [".wav", ".mp4"])  # encoded anew, and copied
def test_audio_of_a_picture_that_starts_late_stays_in_step(tmp_path, suffix):
    # The picture starts 1 s into the file, the tone 1.5 s into it: in the output it must start at 0.5 s.
    recording = tmp_path / f"recording{suffix}.mkv"
    codec = "pcm_s16le" if suffix == ".wav" else "aac"
    with av.open(str(recording), "w") as container, av.open(str(tone(tmp_path / "t.wav", 3, 48000, 1.5))) as wav:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream(codec, rate=48000)
        video.width, video.height, video.codec_context.time_base = WIDTH, HEIGHT, Fraction(1, 25)
        audio.codec_context.layout = "mono"
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = 25 + number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for frame in wav.decode(audio=0):
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    with VideoWriter(tmp_path / "out.mp4", 25, WIDTH, HEIGHT, audio_from=recording) as writer:
        writer.write(pictures(25))
    start, samples = sound(tmp_path / "out.mp4")
    assert packets_of(tmp_path / "out.mp4", "audio")[0][0] > -0.1  # what comes before the picture is left out
    onset = float(start) + np.flatnonzero(np.abs(samples) > 0.1)[0] / 48000
    assert onset == pytest.approx(0.5, abs=0.005)


def test_no_audio_in_the_source_means_none(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", 25, WIDTH, HEIGHT, audio_from=DATA / "face.mp4") as writer:
        writer.write(pictures(2))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def write_segments(folder, lengths, suffix=".mp4", fps=Fraction(30000, 1001), **settings):
    paths, first = [], 0
    for number, length in enumerate(lengths):
        paths.append(folder / f"segment{number}{suffix}")
        with VideoWriter(paths[-1], fps, WIDTH, HEIGHT, **settings) as writer:
            writer.write(pictures(length, first))
        first += length
    return paths


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("lengths", [[40, 37, 3], [1, 2, 30, 1, 2, 5], [7]])
def test_joined_segments_hold_the_frames_of_the_parts(tmp_path, suffix, lengths):
    paths = write_segments(tmp_path, lengths, suffix)
    out = tmp_path / f"joined{suffix}"
    concat_segments(paths, out)
    with VideoFrames(out) as video:
        assert video.frame_count == sum(lengths)
        assert is_rate(video.fps, Fraction(30000, 1001), suffix)
        assert torch.equal(video.read(range(video.frame_count)), torch.cat([all_frames(path) for path in paths]))
    joined = packets_of(out)
    assert [data for _, _, data, _ in joined] == [data for path in paths for _, _, data, _ in packets_of(path)]
    decoding = [dts for _, dts, _, _ in joined if dts is not None]
    assert decoding == sorted(set(decoding))
    tick = 0 if suffix == ".mp4" else Fraction(1, 1000)
    for number, (time, *_) in enumerate(sorted(joined)):
        assert abs(time - number * Fraction(1001, 30000)) <= tick


def all_frames(path):
    with VideoFrames(path) as video:
        return video.read(range(video.frame_count))


def test_joined_segments_carry_the_audio(tmp_path):
    paths = write_segments(tmp_path, [20, 30], fps=25)
    concat_segments(paths, tmp_path / "joined.mp4", audio_from=DATA / "pose.mp4")
    start, samples = sound(tmp_path / "joined.mp4")
    assert start == 0
    assert np.array_equal(samples, sound(DATA / "pose.mp4")[1][: len(samples)])
    assert 2 <= len(samples) / 48000 < 2 + 1024 / 48000


def test_joined_segments_carry_the_audio_from_where_the_picture_starts(tmp_path):
    """A VIDEO that was trimmed brings the part of the sound that belongs to its part of the picture."""
    recording = tone(tmp_path / "t.wav", 3, silent_until=1.5)
    paths = write_segments(tmp_path, [25, 25])
    concat_segments(paths, tmp_path / "whole.mp4", recording)
    concat_segments(paths, tmp_path / "later.mp4", recording, audio_start=1.0)
    for name, silent in (("whole.mp4", 1.5), ("later.mp4", 0.5)):
        start, samples = sound(tmp_path / name)
        assert abs(float(start) + (np.abs(samples) > 0.05).argmax() / 48000 - silent) < 0.05


def test_segments_that_do_not_fit_together_are_refused(tmp_path):
    paths = write_segments(tmp_path, [4, 4])
    with VideoWriter(paths[1], 25, WIDTH, HEIGHT) as writer:
        writer.write(pictures(4))
    out = tmp_path / "joined.mp4"
    with pytest.raises(VideoError, match=r"must share codec, size, rate and settings with .*0\.mp4; got .*1\.mp4"):
        concat_segments(paths, out)
    paths[1].write_bytes(b"half")
    with pytest.raises(VideoError, match=r"must be a readable video; got segment1\.mp4"):
        concat_segments(paths, out)
    with pytest.raises(VideoError, match="at least one segment"):
        concat_segments([], out)
    assert not list(tmp_path.glob("joined*"))


def columns(*values, height=2):
    """[1, height, len(values), 3] with one grey per column."""
    return torch.tensor(values)[None, None, :, None].expand(1, height, -1, 3)


def test_fit_leaves_the_right_size_alone():
    frames = torch.rand(2, 4, 6, 3)
    for fit in FIT_POLICIES:
        assert fit_frames(frames, 6, 4, fit) is frames


def test_fit_crop_covers_and_keeps_the_centre():
    assert torch.equal(fit_frames(columns(0.1, 0.2, 0.3, 0.4), 2, 2, "crop"), columns(0.2, 0.3))
    tall = columns(0.1, 0.2, 0.3, 0.4).transpose(1, 2)
    assert torch.equal(fit_frames(tall, 2, 2, "crop"), columns(0.2, 0.3).transpose(1, 2))
    assert fit_frames(torch.rand(1, 50, 100, 3), 33, 31, "crop").shape == (1, 31, 33, 3)


def test_fit_pad_fits_inside_and_centres_on_black():
    assert torch.equal(fit_frames(columns(0.5, 0.7), 5, 2, "pad"), columns(0.0, 0.5, 0.7, 0.0, 0.0))
    shrunk = fit_frames(torch.full((1, 4, 8, 3), 0.5), 4, 4, "pad")
    assert torch.allclose(shrunk[0, :, 0, 0], torch.tensor([0.0, 0.5, 0.5, 0.0]))


def test_fit_stretch_is_smooth_and_stays_in_range():
    ramp = columns(*[x / 32 for x in range(32)], height=8)
    halved = fit_frames(ramp, 16, 4, "stretch")
    expected = torch.tensor([(2 * x + 0.5) / 32 for x in range(16)])  # pixel centres fall between pairs of columns
    assert halved.shape == (1, 4, 16, 3)
    assert torch.allclose(halved[0, 1, 2:-2, 0], expected[2:-2], atol=1e-6)
    edge = fit_frames(columns(0.0, 0.0, 0.0, 1.0, 1.0, 1.0), 24, 2, "stretch")
    assert edge.min() == 0 and edge.max() == 1  # a cubic filter overshoots at an edge


def test_fit_error_names_both_sizes_and_the_choices():
    with pytest.raises(ValueError, match=r"must be 6x4 \(or fit stretch, crop or pad\); got 5x4"):
        fit_frames(torch.zeros(1, 4, 5, 3), 6, 4, "error")
    with pytest.raises(ValueError, match="fit must be one of stretch, crop, pad, error; got zoom"):
        fit_frames(torch.zeros(1, 4, 5, 3), 6, 4, "zoom")


def test_the_shipped_videos_are_long_enough_for_two_chunks():
    for name, size in (("pose.mp4", (256, 384)), ("face.mp4", (128, 128))):
        with VideoFrames(DATA / name) as video:
            assert (video.width, video.height) == size
            assert (video.frame_count, video.fps) == (200, 25)
