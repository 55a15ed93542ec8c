"""A run harms no other: names that collide, links that someone planted, what killed programs left behind."""

import shutil
from contextlib import suppress
from dataclasses import replace

import pytest
from run_parts import POSE_VIDEO, Place, assert_same_result, refused

from everanimate_core.media.sound import FileSound
from everanimate_core.runs import store as run_store
from everanimate_core.runs.earlier import FIRST_FORMAT
from everanimate_core.runs.store import RunStore


def test_runs_whose_names_look_like_parts_stay_apart(place, job):
    other = Place(place.root, "a.part")
    other.start(job())
    before = other.everything()
    Place(place.root, "a").start(job())
    after = other.everything()
    assert {name: after[name] for name in before} == before


def test_a_run_named_as_the_video_of_another(place, job):
    root = place.root
    Place(root, "b.mp4").start(job(9))
    before = place.everything()
    other = Place(root, "b")
    assert refused(other.start, job()) == (
        "the finished video's place must not be taken by a folder (choose another run name or --out, or move the "
        f"folder away); got the folder {root / 'b.mp4'}."
    )
    assert other.made == []
    assert place.everything() == before

    Place(root, "c").start(job(9))
    other = Place(root, "c.mp4")
    before = place.everything()
    assert refused(other.start, job()) == (
        "the run's place must not be taken by a file (choose another run name or --run, or move the file away); "
        f"got the file {root / 'c.mp4'}."
    )
    assert other.made == []
    assert place.everything() == before


@pytest.mark.parametrize("name", ["manifest.json", "chunk_0000.safetensors", "segment_0001.mp4"])
def test_the_finished_video_replaces_no_file_of_its_run(place, job, name):
    place.path = place.store.folder / name
    assert refused(place.start, job()) == (
        f"the finished video must not replace a file of its run (choose another run name or --out); got {place.path}."
    )
    assert place.made == []


def test_the_finished_video_replaces_no_file_of_its_run_by_another_path(place, job, tmp_path):
    (tmp_path / "link").symlink_to(place.root)
    for root in (tmp_path / "link", place.root / "dance" / ".."):
        place.path = root / "dance" / "manifest.json"
        assert refused(place.start, job()).startswith("the finished video must not replace a file of its run")
        assert place.made == []


def test_the_finished_video_replaces_no_input(place, job):
    shutil.copy(POSE_VIDEO, place.path)
    (place.root / "link.mp4").symlink_to(place.path)
    for source in (place.path, str(place.root / "link.mp4")):
        with FileSound(source) as sound:
            assert refused(place.start, job(sound=sound)) == (
                "the finished video must be another file than the driving video, which it would replace (choose "
                f"another run name or --out); got {place.path}."
            )
    assert place.made == []
    assert place.path.read_bytes() == POSE_VIDEO.read_bytes()


def test_planted_links_are_not_written_through(finished, job, fresh, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    names = [".manifest.json.part", ".chunk_0000.safetensors.part", "segment_0000.part.mp4", "segment_0003.mp4"]
    planted = [finished.store.folder / name for name in [*names, "chunk_0003.safetensors"]]
    planted += [finished.root / "dance.part.mp4", finished.path]
    for path in planted:
        path.unlink(missing_ok=True)
        target = outside / path.name
        target.write_text("another's")
        path.symlink_to(target)
    finished.start(job(), from_chunk=3)
    assert finished.made == [3]
    assert_same_result(finished.result(), fresh(job()))
    assert {path.read_text() for path in outside.iterdir()} == {"another's"}
    assert not finished.path.is_symlink()
    assert [path.name for path in finished.store.folder.iterdir() if path.is_symlink()] == []


def test_a_manifest_that_is_a_link_is_replaced(finished, job, tmp_path):
    manifest, outside = finished.store.folder / "manifest.json", tmp_path / "elsewhere.json"
    manifest.rename(outside)
    manifest.symlink_to(outside)
    before = outside.read_bytes()
    finished.start(job(37))
    assert finished.kept == [0, 1, 2, 3, 4, 5]
    assert not manifest.is_symlink()
    assert outside.read_bytes() == before


def test_leftovers_of_killed_programs_are_cleared(finished, job):
    folder, root = finished.store.folder, finished.root
    # A run that 0.1.0 began; others have no file of the last name.
    finished.store.write_manifest(replace(finished.take(), format=FIRST_FORMAT))
    left = [folder / name for name in (".manifest.json.part", ".chunk_0001.safetensors.part", "segment_0002.part.mp4")]
    left += [root / "dance.part.mp4", folder / ".everanimate-0123456789abcdef-01234567.part.json"]
    with suppress(KeyboardInterrupt), run_store.write_whole(finished.path) as part:
        left.append(part.with_name(part.name))
        raise KeyboardInterrupt
    for path in left:
        path.write_bytes(b"half")
    other = root / ".everanimate-0123456789abcdef-01234567.part.mp4"
    other.write_bytes(b"of another run, which may be going")
    finished.start(job())
    assert [path for path in left if path.exists()] == []
    assert other.exists()
    assert finished.kept == [0, 1, 2, 3, 4, 5]


def test_a_finished_video_that_is_named_like_a_leftover_stays(finished, job):
    video = finished.root / "dance.part.mp4"
    shutil.copy(finished.path, video)
    finished.store.write_manifest(replace(finished.take(), format=FIRST_FORMAT))
    finished.start(job())
    assert video.exists()


def test_a_run_is_not_set_aside_into_one_that_starts(finished, job):
    with RunStore(finished.root / "dance.1").locked():
        finished.start(job(9), resume=False)
    assert not (finished.root / "dance.1").exists()
    assert (finished.root / "dance.2" / "manifest.json").exists()
