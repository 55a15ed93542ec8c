"""Writing video files: count, rate, colours, and whole or not at all."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from video_parts import COLOURS, HEIGHT, WIDTH, packets_of, pictures

from everanimate_core.media.open import VideoError
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter, check_writing

LOSSLESS = {"codec": "libx264rgb", "crf": 0, "pix_fmt": "rgb24"}


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


def test_8_bit_frames_are_written_as_they_are(tmp_path):
    levels = torch.arange(256, dtype=torch.uint8).repeat(72)[: 2 * HEIGHT * WIDTH].view(2, HEIGHT, WIDTH, 1)
    frames = torch.cat([levels, levels.flip(2), 255 - levels], -1)
    with VideoWriter(tmp_path / "levels.mp4", 25, WIDTH, HEIGHT, codec="libx264rgb", crf=0, pix_fmt="rgb24") as writer:
        writer.write(frames)
    with VideoFrames(tmp_path / "levels.mp4") as video:
        assert torch.equal(video.read([0, 1]), frames / 255)


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
from everanimate_core.media.writer import VideoWriter, check_writing
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


def test_what_cannot_be_written_is_known_before_anything_is(tmp_path):
    check_writing(Fraction(30000, 1001), WIDTH, HEIGHT)
    check_writing(Fraction(25), 95, 63, "libx264rgb", "rgb24")
    with pytest.raises(VideoError, match=r"must be even for yuv420p .*; got 95x63"):
        check_writing(Fraction(25), 95, 63)
    with pytest.raises(VideoError, match=r"a video of 96x64 at 25 frames per second must be writable; got .*no codec"):
        check_writing(Fraction(25), WIDTH, HEIGHT, "no codec")
    with pytest.raises(VideoError, match=r"a video of 20000x64 at 25 frames per second must be writable; got "):
        check_writing(Fraction(25), 20000, HEIGHT)


def test_odd_sizes_fit_where_colour_is_not_halved(tmp_path):
    frames = pictures(2)[:, :63, :95]
    with VideoWriter(tmp_path / "odd.mkv", 25, 95, 63, **LOSSLESS) as writer:
        writer.write(frames)
    with VideoFrames(tmp_path / "odd.mkv") as video:
        assert torch.equal(video.read([0, 1]), frames)
