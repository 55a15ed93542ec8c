"""Damaged files, files that were cut off, and pictures that change their size."""

import random
from contextlib import closing, suppress

import av
import numpy as np
import pytest
import torch
from video_parts import COUNT, HEIGHT, WIDTH, encode, full_decode, packets_of, windows

from everanimate_core.media.reader import StoredFrames, VideoFrames, telling_video
from everanimate_core.media.writer import concat_segments


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
