"""Opening files of strangers: the file that was named and nothing else."""

import io
import shutil
import socket
from pathlib import Path

import pytest
import torch

from everanimate_core.digests import file_digest
from everanimate_core.media.open import VideoError, open_input, source_digest, source_name
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.sound import FileSound
from everanimate_core.media.writer import VideoWriter, concat_segments

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Any look at an address is a failure. (Sockets of FFmpeg are not seen here: formats are refused by name.)"""

    def refuse(*_, **__):
        raise AssertionError("an address was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "tcp:x.mp4", "http:a.mp4", "concat:b|c.mp4", "pipe:0.mp4", "a%02d.mp4", "-.mp4"]
)
def test_a_name_is_a_name(tmp_path, monkeypatch, name):
    shutil.copy(DATA / "face.mp4", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (name, Path(name), tmp_path / name):
        with VideoFrames(path) as video:
            assert video.frame_count == 200
        FileSound(path).close()
    with VideoWriter(f"w{name}", 25, 64, 64) as video:
        video.write(torch.zeros(2, 64, 64, 3))
    concat_segments([f"w{name}"], f"x{name}")
    with VideoFrames(f"x{name}") as video:
        assert video.frame_count == 2


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:9/x.mp4", "tcp://127.0.0.1:9", "concat:a.mp4|b.mp4", "lavfi:testsrc"]
)
def test_an_address_is_a_file_that_is_not_there(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError, match="No such file or directory"):
        open_input(name)


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nface.mp4\n#EXT-X-ENDLIST\n",
    "list.mp4": "ffconcat version 1.0\nfile 'face.mp4'\n",
    "stream.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "manifest.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>',
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("as_object", [False, True])
def test_a_list_of_other_files_is_refused(tmp_path, monkeypatch, name, as_object):
    shutil.copy(DATA / "face.mp4", tmp_path)
    (tmp_path / name).write_text(PLAYLISTS[name])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError, match=r"^the file must (hold pictures or sound of its own|be a readable video)"):
        open_input(io.BytesIO(PLAYLISTS[name].encode()) if as_object else name)


def test_a_picture_with_a_counter_in_its_name_is_one_picture(tmp_path):
    for name in ("a%02d.jpg", "a00.jpg", "a01.jpg"):
        shutil.copy(DATA / "reference.jpg", tmp_path / name)
    with VideoFrames(tmp_path / "a%02d.jpg") as video:
        assert video.frame_count == 1


def test_heic_is_refused_by_name(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(VideoError, match=r"HEIC pictures cannot be read \(save it as JPEG or PNG\); got photo\.jpg"):
        VideoFrames(tmp_path / "photo.jpg")


def test_names_in_messages_are_printable():
    assert source_name("folder/a\nb\x1b[31m.mp4") == "a\\nb\\x1b[31m.mp4"
    assert source_name("über.mp4") == "über.mp4"


def test_a_source_is_told_by_its_whole_content(tmp_path):
    path = tmp_path / "a"
    # More than is read at once.
    content = bytes(range(256)) * 10_000
    path.write_bytes(content)
    known = file_digest(path)
    assert source_digest(path) == source_digest(str(path)) == source_digest(io.BytesIO(content)) == known
    with path.open("rb") as file:
        file.seek(1234)
        assert source_digest(file) == known
        # It is left where it was.
        assert file.tell() == 1234
    assert source_digest(io.BytesIO(content[:-1])) != known
    path.write_bytes(content[:-1] + b"x")
    assert source_digest(path) != known
