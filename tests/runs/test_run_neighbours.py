"""A run harms no other: names that collide, links that someone planted, what killed programs left behind."""

import shutil
from contextlib import suppress

import pytest
from run_parts import POSE_VIDEO, Place, Sampler, assert_same_result, refused

from everanimate_core.digests import file_digest
from everanimate_core.files import write_whole
from everanimate_core.media.sound import FileSound
from everanimate_core.runs.run import run
from everanimate_core.runs.videos import NumberedVideos


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


@pytest.mark.parametrize(
    "name",
    [
        *["chunks", "takes", "takes/00001.mp4", "takes/mine.mp4", "chunks/mine.mp4"],
        *["manifest.json", "chunk_0000.safetensors", "segment_0001.mp4"],
    ],
)
def test_the_finished_video_replaces_no_file_of_its_run(place, job, name):
    place.path = place.store.folder / name
    assert refused(place.start, job()) == (
        f"the finished video must not replace a file of its run (choose another run name or --out); got {place.path}."
    )
    assert place.made == []


def test_the_finished_video_replaces_no_file_of_its_run_by_another_path(place, job, tmp_path):
    (tmp_path / "link").symlink_to(place.root)
    for root in (tmp_path / "link", place.root / "dance" / ".."):
        place.path = root / "dance" / "takes" / "00001.mp4"
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


def test_planted_links_are_not_written_through(finished, job, tmp_path):
    outside, result = tmp_path / "outside", finished.result()
    outside.mkdir()
    store, key = finished.store, finished.take().chunks[3].key
    planted = [finished.segment_path(3), finished.chunk_path(3), store.record_path(key), finished.path]
    # Names that files have before they are whole, in 0.1.0.
    planted += [store.folder / name for name in (".manifest.json.part", "segment_0000.part.mp4")]
    for path in planted:
        path.unlink(missing_ok=True)
        target = outside / path.name
        target.write_text("another's")
        path.symlink_to(target)
    finished.start(job())
    assert finished.made == [3]
    assert_same_result(finished.result(), result)
    assert {path.read_text() for path in outside.iterdir()} == {"another's"}
    assert [path.name for path in finished.root.rglob("*") if path.is_symlink()] == []


def test_links_where_the_next_take_belongs_are_not_written_through(finished, job, tmp_path):
    outside, video = tmp_path / "outside", finished.path.read_bytes()
    outside.mkdir()
    # Links to nothing: a take that is there would be read.
    for name in ("00002.json", "00001.mp4"):
        (finished.store.folder / "takes" / name).symlink_to(outside / name)
    assert refused(finished.start, job(37)).startswith("take 00002.json must be as it was written")
    (finished.store.folder / "takes" / "00002.json").unlink()
    finished.start(job(37))
    assert list(outside.iterdir()) == []
    assert finished.take().number == 2
    assert (finished.store.folder / "takes" / "00001.mp4").read_bytes() == video
    assert [path.name for path in finished.root.rglob("*") if path.is_symlink()] == []


def test_a_take_that_is_a_link_is_replaced(finished, job, tmp_path):
    path, outside = finished.store.take_path(1), tmp_path / "elsewhere.json"
    path.rename(outside)
    path.symlink_to(outside)
    before = outside.read_bytes()
    finished.path.unlink()
    finished.segment_path(2).unlink()
    finished.chunk_path(2).unlink()
    finished.start(job())
    assert finished.kept == [0, 1, 3, 4, 5]
    assert not path.is_symlink()
    assert outside.read_bytes() == before


def test_leftovers_of_killed_programs_are_cleared(finished, job):
    folder, root = finished.store.folder, finished.root
    # Of 0.1.0.
    left = [folder / name for name in (".manifest.json.part", ".chunk_0001.safetensors.part", "segment_0002.part.mp4")]
    unfinished = [folder / "manifest.json", finished.chunk_path(1), finished.store.take_path(2), finished.path]
    for path in unfinished:
        with suppress(KeyboardInterrupt), write_whole(path) as part:
            left.append(part)
            raise KeyboardInterrupt
    for path in left:
        path.write_bytes(b"half")
    others = [root / ".everanimate-0123456789abcdef-01234567.part.mp4", root / "dance.part.mp4", folder / "notes.part"]
    for path in others:
        path.write_bytes(b"of another run, which may be going, or the user's")
    finished.start(job())
    assert [path for path in left if path.exists()] == []
    assert [path for path in others if not path.exists()] == []
    assert finished.kept == [0, 1, 2, 3, 4, 5]


# --- files that stand where a take belongs ---------------------------------------------------------------------------


def test_a_number_that_an_older_video_has_is_left_out(finished, job):
    other = finished.store.folder / "takes" / "00002.mp4"
    other.write_bytes(b"of a take whose file was lost")
    finished.start(job(37))
    assert finished.store.take_numbers() == [1, 3]
    assert other.read_bytes() == b"of a take whose file was lost"


@pytest.mark.parametrize("damaged", [False, True])
def test_a_take_that_reuses_nothing_leaves_the_older_video(finished, job, damaged):
    video = finished.path.read_bytes()
    if damaged:
        finished.store.take_path(1).write_bytes(b"{}")
    finished.start(job(seed=5), resume=False)
    assert (finished.made, finished.kept) == ([0, 1, 2, 3, 4, 5], [])
    assert finished.take().number == 2
    assert (finished.store.folder / "takes" / "00001.mp4").read_bytes() == video
    assert finished.path.read_bytes() != video


def test_a_file_that_no_take_made_is_replaced_as_before(finished, job):
    """The name was asked for; what is moved into the run's folder is a take's own video."""
    finished.path.write_bytes(b"another's")
    finished.start(job(37))
    assert finished.path.read_bytes() != b"another's"
    assert [path.name for path in finished.store.folder.glob("takes/*.mp4")] == []


def test_videos_with_numbers_never_replace_a_file(place, job):
    """As the nodes name them."""

    def start(task):
        made = []

        def sample(request, seed):
            made.append(request.index)
            return Sampler()(request, seed)

        outcome = run(task, place.store, sample, place.codec, NumberedVideos(place.store.folder))
        return outcome.path.name, made

    # As SaveVideo of the host has saved them.
    for name in ("dance_00001_.mp4", "DANCE_00003_.mp4"):
        (place.root / name).write_bytes(b"another's")
    assert start(job(14)) == ("dance_00004_.mp4", [0, 1])
    assert start(job(14)) == ("dance_00004_.mp4", [])
    first = (place.root / "dance_00004_.mp4").read_bytes()
    assert start(job(19)) == ("dance_00005_.mp4", [2])
    assert place.store.take_numbers() == [4, 5]
    # The other way again: a take of its own, without any work.
    assert start(job(14)) == ("dance_00006_.mp4", [])
    assert (place.root / "dance_00004_.mp4").read_bytes() == first == (place.root / "dance_00006_.mp4").read_bytes()
    # A video that was deleted is joined again, under its number.
    (place.root / "dance_00006_.mp4").unlink()
    assert start(job(14)) == ("dance_00006_.mp4", [])
    assert (place.root / "dance_00006_.mp4").read_bytes() == first
    assert sorted(path.name for path in place.root.glob("*.mp4")) == [
        "DANCE_00003_.mp4",
        *[f"dance_0000{number}_.mp4" for number in (1, 4, 5, 6)],
    ]
    assert {(place.root / name).read_bytes() for name in ("dance_00001_.mp4", "DANCE_00003_.mp4")} == {b"another's"}


def test_takes_share_their_chunks(finished, job):
    before = finished.everything()
    finished.start(job(37))
    after = finished.everything()
    moved = before.pop("dance.mp4")
    # What is known of the last chunk has its second video in it now.
    del before[f"dance/chunks/{finished.take(1).chunks[5].key}.json"]
    assert {name: after[name] for name in before} == before
    assert after["dance/takes/00001.mp4"] == moved
    assert file_digest(finished.path) == finished.take(2).video
    # The last chunk shows more of itself, and one is new: latents, video and record.
    keys = [chunk.key for chunk in finished.take(2).chunks]
    new = {name for name in after.keys() - before.keys() if name.startswith("dance/chunks/")}
    new.remove(f"dance/chunks/{keys[5]}.json")
    assert keys[:6] == [chunk.key for chunk in finished.take(1).chunks]
    assert new == {f"dance/chunks/{keys[5]}-5x24000-1001.mp4"} | {
        f"dance/chunks/{keys[6]}{ending}" for ending in (".safetensors", ".json", "-3x24000-1001.mp4")
    }
