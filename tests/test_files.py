"""Files that appear whole or not at all, through no link, and by Windows' rules too."""

import os
import sys
from pathlib import Path

import pytest
import windows_rules

from everanimate_core import files
from everanimate_core.files import clear_parts, probe, sync_file, sync_folder, write_whole

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path, text):
    with write_whole(path) as part:
        part.write_text(text)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"

    def fail():
        with write_whole(path) as part:
            part.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert names(tmp_path) == []
    write(path, "old")
    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    write(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_parts_are_hidden_keep_the_suffix_and_have_names_of_their_own(tmp_path):
    path = tmp_path / "dance.mp4"
    with write_whole(path) as one, write_whole(path) as other:
        assert one != other
        assert {part.parent for part in (one, other)} == {tmp_path}
        assert all(part.name.startswith(".") and part.suffix == ".mp4" for part in (one, other))
        assert [part.read_bytes() for part in (one, other)] == [b"", b""]
        one.write_text("one")
        other.write_text("other")
        assert not path.exists()
    # Given its name last.
    assert path.read_text() == "one"
    assert names(tmp_path) == ["dance.mp4"]


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("x" * 251 + ".mp4")
    with write_whole(path) as part:
        part.write_text("long")
    assert path.read_text() == "long"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_replaced_and_not_followed(tmp_path, there):
    outside, path = tmp_path / "outside", tmp_path / "file"
    if there:
        outside.write_text("another's")
    path.symlink_to(outside)
    with write_whole(path) as part:
        part.write_text("ours")
    assert not path.is_symlink()
    assert path.read_text() == "ours"
    assert outside.exists() == there
    assert not there or outside.read_text() == "another's"


def test_what_the_check_raises_leaves_the_older_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def lost():
        raise RuntimeError("another's by now")

    with pytest.raises(RuntimeError, match="another's"), write_whole(path, lost) as part:
        part.write_text("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_what_is_lost_while_the_content_goes_to_the_disk_leaves_the_older_file(tmp_path, monkeypatch):
    path, synced = tmp_path / "file", []
    path.write_text("old")
    monkeypatch.setattr(files, "sync_file", synced.append)

    def lost():
        if synced:
            raise RuntimeError("another's by now")

    with pytest.raises(RuntimeError, match="another's"), write_whole(path, lost) as part:
        part.write_text("new")
    assert synced == [part]
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_file_is_readable_for_whom_new_files_are(tmp_path):
    usual, path = tmp_path / "usual", tmp_path / "file"
    usual.touch()
    write(path, "x")
    assert path.stat().st_mode == usual.stat().st_mode


def test_without_its_folder_nothing_is_made(tmp_path):
    with pytest.raises(FileNotFoundError), write_whole(tmp_path / "gone" / "file"):
        pass
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "gone" / "file")
    assert names(tmp_path) == []


def test_the_time_of_a_volume(tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert 0 <= probe(path) - path.stat().st_mtime < 60
    assert names(tmp_path) == ["file"]


def killed_part(path):
    """What a killed program leaves of an unfinished `path`."""
    with write_whole(path) as part:
        left = part.with_name(part.name)
        content = b"half"
    left.write_bytes(content)
    path.unlink()
    return left


def test_parts_of_killed_programs_are_cleared(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    mine, other = tmp_path / "dance.mp4", tmp_path / "other.mp4"
    left = [killed_part(path) for path in (mine, other, folder / "a.json", folder / "b.mp4")]
    kept = [tmp_path / name for name in (".everanimate-notes", "dance.part.mp4", ".everanimate-0.part.mp4")]
    for path in kept:
        path.touch()
    clear_parts(mine)
    assert [path.exists() for path in left] == [False, True, True, True]
    clear_parts(folder)
    assert [path.exists() for path in left] == [False, True, False, False]
    clear_parts(tmp_path / "gone" / "file")
    assert all(path.exists() for path in kept)


@linux_only
def test_by_windows_rules(tmp_path, monkeypatch):
    windows_rules.install(monkeypatch)
    path, before = tmp_path / "file", windows_rules.handles()
    for content in ("old", "new"):
        write(path, content)
    assert path.read_text() == "new"
    sync_file(path)
    sync_folder(tmp_path)
    clear_parts(tmp_path)
    assert windows_rules.handles() == before
    # The rules are there.
    with path.open("rb") as file:
        with pytest.raises(OSError, match="descriptor"):
            os.fsync(file.fileno())
        with pytest.raises(PermissionError):
            write(path, "newer")
        with pytest.raises(PermissionError):
            Path.unlink(path)
    assert names(tmp_path) == ["file"]


@linux_only
def test_content_and_names_are_on_the_disk_before_it_goes_on(tmp_path, monkeypatch):
    done, real = [], {name: getattr(os, name) for name in ("fsync", "replace")}

    def fsync(handle):
        done.append(("fsync", os.path.isdir(f"/proc/self/fd/{handle}")))
        real["fsync"](handle)

    def replace(*paths):
        done.append(("replace", False))
        real["replace"](*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write(tmp_path / "file", "x")
    assert done == [("fsync", False), ("replace", False), ("fsync", True)]
