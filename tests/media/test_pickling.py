"""Readers that were pickled open their files anew, and read the same."""

import pickle
from contextlib import closing
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import pytest
import torch
from PIL import Image

from everanimate_core.media.frames import FittedFrames, ResampledFrames, TensorFrames
from everanimate_core.media.open import VideoError
from everanimate_core.media.pictures import AnimatedWebp
from everanimate_core.media.reader import StoredFrames, VideoFrames
from everanimate_core.media.sound import FileSound, SampledSound
from everanimate_core.media.writer import VideoWriter

DATA = Path(__file__).parents[1] / "data"
POSE = DATA / "pose.mp4"


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def moving_webp(path):
    """A WebP of 24 pictures, the last four of which are shown for longer."""
    pictures = [Image.new("RGB", (64, 48), (10 * number,) * 3) for number in range(24)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[100] * 20 + [300] * 4, lossless=True)
    return path


def avi(path):
    """A file whose packets do not tell its frames."""
    with VideoWriter(path, 25, 64, 48, codec="mpeg4") as video:
        video.write(torch.rand(20, 48, 64, 3, generator=torch.Generator().manual_seed(0)))
    return path


READERS = {
    "a video": lambda folder: VideoFrames(POSE),
    "its name": lambda folder: VideoFrames(str(POSE)),
    "a part at another rate": lambda folder: VideoFrames(POSE, Fraction(12), start=1.5, duration=3),
    "frames as stored": lambda folder: StoredFrames(POSE),
    "an AVI": lambda folder: VideoFrames(avi(folder / "a.avi")),
    "a moving picture": lambda folder: VideoFrames(moving_webp(folder / "a.webp")),
    "its stored frames": lambda folder: AnimatedWebp(moving_webp(folder / "a.webp")),
    "bytes": lambda folder: VideoFrames(BytesIO(POSE.read_bytes())),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_reads_the_same(tmp_path, kind):
    with closing(READERS[kind](tmp_path)) as reader:
        # From the middle of its work.
        last = reader.frame_count - 1
        expected = reader.read([7, 8, 3, last])
        text = pickle.dumps(reader)
    # The first one is closed, nothing of it is in use.
    with closing(pickle.loads(text)) as again:
        assert type(again) is type(reader)
        for name in ("frame_count", "width", "height", "fps", "rate", "times", "varies", "name"):
            assert getattr(again, name, None) == getattr(reader, name, None), name
        assert torch.equal(again.read([7, 8, 3, last]), expected)


def test_a_reader_and_its_copy_do_not_disturb_each_other():
    with closing(VideoFrames(POSE)) as one, closing(pickled(one)) as other:
        ahead = one.read(range(50, 60))
        behind = other.read(range(10, 20))
        assert torch.equal(torch.cat([behind, other.read(range(50, 60))])[10:], ahead)
        assert torch.equal(one.read(range(10, 20)), behind)


def test_notes_are_those_of_the_file(tmp_path):
    path = tmp_path / "cut.mkv"
    with VideoWriter(path, 25, 64, 48) as video:
        video.write(torch.rand(80, 48, 64, 3, generator=torch.Generator().manual_seed(0)))
    path.write_bytes(path.read_bytes()[:-20000])
    with closing(VideoFrames(path)) as one, closing(pickled(one)) as other:
        assert one.notes == other.notes != []


def test_views_go_with_what_they_show():
    images = TensorFrames(torch.rand(9, 8, 8, 4), Fraction(25))
    with closing(VideoFrames(POSE)) as video:
        for source in (images, video):
            view = FittedFrames(ResampledFrames(source, Fraction(10)), 32, 16, "crop")
            again = pickled(view)
            assert (again.frame_count, again.fps) == (view.frame_count, view.fps)
            assert torch.equal(again.read([2, 1]), view.read([2, 1]))


def sound_packets(sound, path):
    """What a sound puts into a file, from half a second on."""
    with av.open(str(path), "w") as output:
        for packet in sound.packets(output, 0.5):
            output.mux(packet)
    with av.open(str(path)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def test_a_sound_sounds_the_same(tmp_path):
    with FileSound(POSE) as sound:
        expected = sound_packets(sound, tmp_path / "one.m4a")
        text = pickle.dumps(sound)
    assert len(expected) > 300
    with pickle.loads(text) as again:
        assert (again.source, again.notes) == (POSE, [])
        assert sound_packets(again, tmp_path / "other.m4a") == expected
    samples = SampledSound(torch.rand(2, 48000) - 0.5, 48000)
    assert sound_packets(pickled(samples), tmp_path / "2.m4a") == sound_packets(samples, tmp_path / "1.m4a")


@pytest.mark.parametrize("reader", [VideoFrames, StoredFrames, FileSound])
def test_an_open_file_cannot_be_pickled(reader):
    with POSE.open("rb") as file, closing(reader(file)) as video, pytest.raises(TypeError, match="BufferedReader"):
        pickle.dumps(video)


@pytest.mark.parametrize("reader", [VideoFrames, StoredFrames, FileSound])
def test_a_file_that_is_gone_is_named(tmp_path, reader):
    path = tmp_path / "pose.mp4"
    path.write_bytes(POSE.read_bytes())
    with closing(reader(path)) as video:
        text = pickle.dumps(video)
    path.unlink()
    with pytest.raises(VideoError, match=r"must be a readable video; got pose\.mp4 \(No such file or directory\)"):
        pickle.loads(text)
