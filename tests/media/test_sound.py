"""The sound of files and of samples: which stream is taken, and that it stays in step."""

import io
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from everanimate_core.digests import file_digest
from everanimate_core.media.sound import FileSound, SampledSound
from everanimate_core.media.writer import VideoWriter, concat_segments

DATA = Path(__file__).parents[1] / "data"


def frames(seconds, fps=25):
    return torch.zeros(round(seconds * fps), 64, 64, 3)


def written(path, sound, seconds=2, fps=25):
    """A silent picture with this sound; mono samples at 48 kHz and the streams of the file."""
    with VideoWriter(path, fps, 64, 64, audio_from=sound) as video:
        video.write(frames(seconds, fps))
    return heard(path)


def heard(path):
    resampler = av.AudioResampler("flt", "mono", 48000)
    with av.open(str(path)) as container:
        kinds = [stream.type for stream in container.streams]
        if "audio" not in kinds:
            return None
        parts = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate(parts)


def pitch(samples):
    """The loudest frequency of the first second, Hz."""
    return int(np.abs(np.fft.rfft(samples[:48000])).argmax())


def tone(frequency, seconds=2, rate=48000):
    return torch.from_numpy(0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).float()


def with_streams(path, *codecs):
    """A file with a picture and a stream of sound of each of these codecs, 300 Hz, 600 Hz, ..."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 64
        streams = [container.add_stream(codec, rate=48000) for codec in codecs]
        for stream in streams:
            stream.codec_context.layout = "mono"
        for _ in range(50):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        for number, stream in enumerate(streams):
            samples = tone(300 * (number + 1)).numpy()
            for first in range(0, len(samples), 960):
                block = av.AudioFrame.from_ndarray(samples[None, first : first + 960], format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 48000, first, Fraction(1, 48000)
                container.mux(stream.encode(block))
            container.mux(stream.encode(None))
    return path


def make_unknown(path):
    """Give the first sound stream of an mp4 a name that nobody has a decoder for, as some of a telephone have."""
    data = bytearray(path.read_bytes())
    for name in (b"mp4a", b"esds"):
        place = data.index(name, data.index(b"soun"))
        data[place : place + 4] = b"zzzz"
    path.write_bytes(data)
    return path


def test_the_first_stream_that_decodes_is_taken(tmp_path):
    path = make_unknown(with_streams(tmp_path / "phone.mp4", "aac", "aac"))
    with FileSound(path) as sound:
        assert sound.notes == ["phone.mp4: sound stream 2 is used; those before cannot be decoded."]
        assert abs(pitch(written(tmp_path / "out.mp4", sound)) - 600) <= 1


def test_sound_that_nothing_decodes_is_left_out_and_said(tmp_path):
    path = make_unknown(with_streams(tmp_path / "phone.mp4", "aac"))
    with FileSound(path) as sound:
        assert sound.notes == ["phone.mp4: its sound cannot be decoded and is left out."]
        assert written(tmp_path / "out.mp4", sound) is None


def test_a_file_without_sound(tmp_path):
    with FileSound(DATA / "face.mp4") as sound:
        assert sound.notes == []
        assert written(tmp_path / "out.mp4", sound) is None


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.mkv", "aac"),
        ("a.mkv", "pcm_s16le"),
        ("a.ts", "aac"),
        ("a.avi", "pcm_s16le"),
        ("a.webm.mkv", "libopus"),
    ],
)
@pytest.mark.parametrize("as_object", [False, True])
def test_sound_is_whole_each_time_it_is_written(tmp_path, name, codec, as_object):
    path = with_streams(tmp_path / name, codec)
    source = io.BytesIO(path.read_bytes()) if as_object else path
    fresh = written(tmp_path / "fresh.mp4", path)
    assert abs(pitch(fresh) - 300) <= 1
    with FileSound(source) as sound:
        for number in range(2):
            assert np.array_equal(written(tmp_path / f"{number}.mp4", sound), fresh)


def test_a_file_is_opened_once_for_its_sound(tmp_path, monkeypatch):
    opened, open_file = [], av.open

    def counted(file, *arguments, **keywords):
        opened.append(str(file))
        return open_file(file, *arguments, **keywords)

    monkeypatch.setattr(av, "open", counted)
    with FileSound(DATA / "pose.mp4") as sound:
        written(tmp_path / "out.mp4", sound)
    assert [name for name in opened if "pose.mp4" in name] == [f"file:{DATA / 'pose.mp4'}"]


def test_a_damaged_packet_of_sound_is_left_out(tmp_path):
    path = with_streams(tmp_path / "whole.mkv", "wavpack")
    with av.open(str(path)) as container:
        victim = [bytes(packet) for packet in container.demux(audio=0) if packet.size][1]
    path.write_bytes(path.read_bytes().replace(victim, bytes(len(victim))))
    samples = written(tmp_path / "out.mp4", path)
    assert abs(pitch(samples) - 300) <= 2


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
@pytest.mark.parametrize("rate", [48000, 44100, 16000])
def test_samples_become_the_sound(tmp_path, channels, rate):
    sound = SampledSound(tone(440, 3, rate).expand(channels, -1), rate)
    samples = written(tmp_path / "out.mp4", sound)
    assert 2 <= len(samples) / 48000 < 2 + 4 * 1024 / 48000
    assert abs(pitch(samples[2400:]) - 440) <= 1
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.channels == (1 if channels in (1, 3) else 2)
        assert container.streams.audio[0].codec_context.codec.canonical_name == "aac"


def test_samples_can_begin_later(tmp_path):
    silent = torch.cat([torch.zeros(48000), tone(440, 2)])[None]
    out = tmp_path / "out.mp4"
    with VideoWriter(tmp_path / "part.mp4", 25, 64, 64) as video:
        video.write(frames(1))
    concat_segments([tmp_path / "part.mp4"], out, SampledSound(silent, 48000), 0.75)
    onset = (np.abs(heard(out)) > 0.1).argmax() / 48000
    assert abs(onset - 0.25) < 0.03


def test_sound_alone_can_be_read(tmp_path):
    with wave.open(str(tmp_path / "t.wav"), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes((tone(500) * 20000).numpy().astype("<i2").tobytes())
    assert abs(pitch(written(tmp_path / "out.mp4", tmp_path / "t.wav")) - 500) <= 1


# --- what stands for a sound -----------------------------------------------------------------------------------------


def test_a_file_of_sound_is_told_by_its_content(tmp_path):
    path, other = tmp_path / "a.mp4", with_streams(tmp_path / "b.mp4", "aac")
    path.write_bytes((DATA / "pose.mp4").read_bytes())
    with FileSound(DATA / "pose.mp4") as one, FileSound(path) as two, FileSound(other) as three:
        assert one.digest() == two.digest() == file_digest(DATA / "pose.mp4")
        assert three.digest() == file_digest(other) != one.digest()
    with FileSound(io.BytesIO(path.read_bytes())) as read:
        assert read.digest() == file_digest(path)


def test_a_digest_is_taken_in_the_midst_of_reading(tmp_path):
    path = with_streams(tmp_path / "a.mkv", "aac")
    source = io.BytesIO(path.read_bytes())
    with FileSound(source) as sound:
        fresh = written(tmp_path / "fresh.mp4", sound)
        assert sound.digest() == file_digest(path)
        assert np.array_equal(written(tmp_path / "again.mp4", sound), fresh)


def test_without_sound_there_is_no_digest(tmp_path):
    with FileSound(DATA / "face.mp4") as sound:
        assert sound.digest() is None
    with FileSound(make_unknown(with_streams(tmp_path / "phone.mp4", "aac"))) as sound:
        assert sound.digest() is None


def test_samples_are_told_by_their_values_and_rate():
    samples = tone(440, 1)[None]
    digests = [
        SampledSound(samples, 48000).digest(),
        SampledSound(samples.clone(), 48000).digest(),
        SampledSound(samples, 44100).digest(),
        SampledSound(samples * 0.5, 48000).digest(),
        SampledSound(samples.expand(2, -1), 48000).digest(),
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
