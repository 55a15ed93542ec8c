"""Where the videos of takes lie, and that none is ever replaced."""

import errno
import os
import shutil
import unicodedata
from dataclasses import replace

import pytest

from everanimate_core.digests import file_digest
from everanimate_core.runs.takes import Take
from everanimate_core.runs.videos import NewestVideo, NumberedVideos, left_behind

TAKE = Take(1, {}, {}, {}, 0)

# --- beside the folder, each with a number ---------------------------------------------------------------------------


@pytest.fixture
def numbered(tmp_path):
    return NumberedVideos(tmp_path / "clips" / "dance")


def test_every_take_has_a_video_of_its_own(numbered, tmp_path):
    assert numbered.path(1) == tmp_path / "clips" / "dance_00001_.mp4"
    assert numbered.path(123456) == tmp_path / "clips" / "dance_123456_.mp4"


def test_numbers_of_files_that_are_there_are_taken(numbered, tmp_path):
    assert numbered.numbers() == []
    (tmp_path / "clips").mkdir()
    names = ["dance_00002_.mp4", "dance_00011_.mp4", "dance_100000_.mp4"]
    # Those of other runs, and what is not called so.
    names += ["dance_00003.mp4", "dance_00004_.png", "dance 2_00005_.mp4", "dance_6_.mp4", "xdance_00007_.mp4"]
    names += ["dance.mp4", "dance_00008_.mp4.part", "dance_x0009_.mp4"]
    for name in names:
        (tmp_path / "clips" / name).touch()
    assert sorted(numbered.numbers()) == [2, 11, 100_000]


def test_numbers_of_files_that_are_called_alike_on_some_system_are_taken(tmp_path):
    videos = NumberedVideos(tmp_path / "Tänzerin (1)")
    (tmp_path / f"{unicodedata.normalize('NFD', 'TÄNZERIN (1)')}_00004_.MP4").touch()
    assert videos.numbers() == [4]
    # The name is no pattern.
    (tmp_path / "Tänzerin 1_00009_.mp4").touch()
    assert videos.numbers() == [4]


def test_a_video_that_is_there_is_that_of_its_take(numbered):
    take = replace(TAKE, number=2)
    assert not numbered.has(take)
    numbered.path(2).parent.mkdir()
    numbered.path(1).touch()
    assert not numbered.has(take)
    numbered.path(2).touch()
    assert numbered.has(take)
    numbered.make_room([take])
    assert numbered.has(take)


# --- one file, always the newest -------------------------------------------------------------------------------------


@pytest.fixture
def newest(tmp_path):
    (tmp_path / "dance.run" / "takes").mkdir(parents=True)
    return NewestVideo(tmp_path / "dance.mp4", tmp_path / "dance.run")


def test_the_newest_is_the_file_that_was_asked_for(newest, tmp_path):
    assert newest.path(1) == newest.path(7) == tmp_path / "dance.mp4"
    assert newest.older_path(7) == tmp_path / "dance.run" / "takes" / "00007.mp4"


def test_numbers_of_older_videos_are_taken(newest, tmp_path):
    assert newest.numbers() == []
    for name in ("00003.mp4", "00012.mp4", "00004.json", "x5.mp4", "6a.mp4"):
        (tmp_path / "dance.run" / "takes" / name).touch()
    assert sorted(newest.numbers()) == [3, 12]
    assert NewestVideo(tmp_path / "a.mp4", tmp_path / "none").numbers() == []


def test_the_file_is_the_video_of_the_take_that_made_it(newest):
    assert not newest.has(TAKE)
    newest.out.write_bytes(b"video")
    take = replace(TAKE, video=file_digest(newest.out))
    assert newest.has(take)
    assert not newest.has(TAKE)
    newest.out.write_bytes(b"altered")
    assert not newest.has(take)


def test_an_older_video_is_moved_into_the_folder(newest):
    newest.out.write_bytes(b"first")
    newest.make_room([replace(TAKE, number=3, video=file_digest(newest.out))])
    assert not newest.out.exists()
    assert newest.older_path(3).read_bytes() == b"first"


@pytest.mark.parametrize("full", [False, True])
def test_an_older_video_on_another_volume_is_whole_or_not_there(newest, monkeypatch, full):
    rename = os.rename

    def across(one, other):
        if one == newest.out:
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(one))
        rename(one, other)

    def half(path, part):
        part.write_bytes(path.read_bytes()[:3])
        raise OSError(errno.ENOSPC, "No space left on device", str(part))

    monkeypatch.setattr(os, "rename", across)
    newest.out.write_bytes(b"first")
    take = replace(TAKE, number=3, video=file_digest(newest.out))
    if full:
        monkeypatch.setattr(shutil, "copyfile", half)
        with pytest.raises(OSError, match="No space left"):
            newest.make_room([take])
        assert newest.out.read_bytes() == b"first"
        assert list(newest.older_path(3).parent.iterdir()) == []
    else:
        newest.make_room([take])
        assert not newest.out.exists()
        assert newest.older_path(3).read_bytes() == b"first"


def test_nothing_that_is_there_is_replaced_by_an_older_video(newest):
    newest.out.write_bytes(b"first")
    newest.older_path(3).write_bytes(b"the user's")
    newest.make_room([replace(TAKE, number=3, video=file_digest(newest.out))])
    assert newest.out.read_bytes() == b"first"
    assert newest.older_path(3).read_bytes() == b"the user's"


def test_a_file_that_no_take_made_is_not_moved(newest):
    newest.out.write_bytes(b"the user's")
    newest.make_room([replace(TAKE, video="0" * 32)])
    assert newest.out.read_bytes() == b"the user's"
    assert not newest.older_path(1).exists()
    # 0.1.0 did not note which video is its own.
    newest.make_room([TAKE])
    assert newest.older_path(1).read_bytes() == b"the user's"


def test_without_a_video_there_is_nothing_to_move(newest):
    newest.make_room([TAKE])
    newest.make_room([replace(TAKE, video="0" * 32)])
    assert newest.numbers() == []


# --- what is on disk -------------------------------------------------------------------------------------------------


def test_what_a_run_left_is_another_thing_with_every_take_and_video(tmp_path):
    folder = tmp_path / "dance"
    seen = [left_behind(folder)]
    (folder / "takes").mkdir(parents=True)
    (folder / "chunks").mkdir()
    assert left_behind(folder) == seen[0]
    for name in ("dance/takes/00001.json", "dance_00001_.mp4", "dance/takes/00002.json", "dance_00002_.mp4"):
        (tmp_path / name).write_bytes(b"content")
        seen.append(left_behind(folder))
    (tmp_path / "dance_00001_.mp4").write_bytes(b"longer content")
    seen.append(left_behind(folder))
    (tmp_path / "dance_00001_.mp4").unlink()
    seen.append(left_behind(folder))
    assert len(set(seen)) == len(seen)
    # Not the run's, not finished, or made again from its chunks without a word.
    part = "dance/takes/.everanimate-0123456789abcdef-01234567.part.json"
    for name in ("dance2_00001_.mp4", part, "dance/takes/00001.jpg", "dance/chunks/key.mp4"):
        (tmp_path / name).write_bytes(b"content")
    assert left_behind(folder) == seen[-1]


def test_the_same_size_at_another_time_is_another_thing(tmp_path):
    video = tmp_path / "dance_00001_.mp4"
    video.write_bytes(b"one")
    os.utime(video, ns=(0, 10**9))
    before = left_behind(tmp_path / "dance")
    os.utime(video, ns=(0, 10**9 + 1))
    assert left_behind(tmp_path / "dance") != before
