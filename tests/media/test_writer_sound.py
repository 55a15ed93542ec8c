"""The sound of written files, and segments joined into one."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from exact_parts import is_rate
from video_parts import DATA, HEIGHT, WIDTH, packets_of, picture, pictures, tone

from everanimate_core.media.open import VideoError
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter, concat_segments


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


@pytest.mark.parametrize("other", [{"fps": 24}, {"width": WIDTH - 16}, {"codec": "mpeg4"}, {"pix_fmt": "yuv444p"}])
def test_segments_of_other_settings_are_refused(tmp_path, other):
    paths = write_segments(tmp_path, [4, 4], fps=25)
    with VideoWriter(paths[1], **{"fps": 25, "width": WIDTH, "height": HEIGHT, **other}) as writer:
        writer.write(pictures(4)[:, :, : other.get("width", WIDTH)])
    with pytest.raises(VideoError, match=r"must share codec, size, rate and settings with .*0\.mp4; got .*1\.mp4"):
        concat_segments(paths, tmp_path / "joined.mp4")
    assert not list(tmp_path.glob("joined*"))


def test_segments_that_cannot_be_read_are_refused(tmp_path):
    paths, out = write_segments(tmp_path, [4, 4]), tmp_path / "joined.mp4"
    paths[1].write_bytes(b"half")
    with pytest.raises(VideoError, match=r"must be a readable video; got segment1\.mp4"):
        concat_segments(paths, out)
    with pytest.raises(VideoError, match="at least one segment"):
        concat_segments([], out)
    assert not list(tmp_path.glob("joined*"))
