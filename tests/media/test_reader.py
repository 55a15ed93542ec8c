"""Reading video files: any order of any file gives the frames of a full decode."""

import io
import random
import struct
from contextlib import closing
from fractions import Fraction

import av
import pytest
import torch
from video_parts import COUNT, FILES, HEIGHT, WIDTH, X264_OPEN_GOP, encode, full_decode, packets_of, tone, windows

from everanimate_core.media.frames import TensorFrames
from everanimate_core.media.open import VideoError
from everanimate_core.media.reader import StoredFrames, VideoFrames


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
