"""Runs that were cancelled or killed go on, and end as if they had never been interrupted."""

import pytest
from run_parts import (
    POSE_VIDEO,
    Place,
    Stop,
    Stopping,
    assert_same_result,
    killed_before_rename,
    posix_only,
    stop_after,
    stop_at,
    with_sound_of_its_own,
)

from everanimate_core.media.sound import FileSound


@pytest.mark.parametrize("chunk", [0, 3])
@pytest.mark.parametrize("stage", ["encode", "sample", "decode", "finished"])
def test_cancel_keeps_what_is_finished(place, job, fresh, stage, chunk):
    stop_at(place, job(), stage, chunk)
    finished = chunk + (stage == "finished")
    manifest = place.take()
    assert (len(manifest.chunks) if manifest else 0) == finished
    if finished:
        assert_same_result(place.result(), fresh(job(4 + 5 * finished)))
    else:
        assert not place.path.exists()
    before = place.files(0, finished - 1)
    place.start(job())
    assert place.kept == list(range(finished))
    # What was sampled is not sampled again. After a chunk is finished, the next one has been sampled beside it.
    assert place.made == list(range(finished + (stage in ("decode", "finished")), 6))
    assert place.files(0, finished - 1) == before
    assert_same_result(place.result(), fresh(job()))


@pytest.mark.parametrize("stage", ["encode", "sample"])
def test_a_start_that_finished_nothing_leaves_nothing(place, job, stage):
    stop_at(place, job(), stage, 0)
    assert place.everything() == {}
    assert not place.store.folder.exists()


def test_a_change_of_mind_costs_nothing(finished, job):
    result, before = finished.result(), finished.files()
    changed = job(prompts=[""] * 4 + ["turns"])
    # Stopped before anything new was kept: the run is what it was.
    stop_at(finished, changed, "sample", 4)
    finished.start(job(prompts=[""] * 6))
    assert finished.made == []
    assert finished.files() == before
    # Stopped after the new chunk was sampled: the old one is still there.
    with pytest.raises(Stop):
        finished.start(changed, codec=Stopping("decode", 0))
    finished.start(job(prompts=[""] * 6))
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
    assert_same_result(finished.result(), result)


@pytest.mark.parametrize("stage", ["sample", "decode", "finished"])
@pytest.mark.parametrize("options", [{}, {"from_chunk": 2}])
def test_a_redo_that_was_stopped_goes_on(finished, job, fresh, stage, options):
    stop_at(finished, job(seed=7), stage, 3, made=2, from_chunk=2)
    # With the same command, or with a plain resume.
    finished.start(job(seed=7), **options)
    assert finished.made == {"sample": [3, 4, 5], "decode": [4, 5], "finished": [5]}[stage]
    assert_same_result(finished.result(), fresh(job(), (job(seed=7), {"from_chunk": 2})))


def test_what_ended_the_run_is_told_even_if_the_finished_part_cannot_be_joined(finished, job):
    finished.segment_path(5).unlink()
    before = finished.path.read_bytes()
    with pytest.raises(Stop):
        finished.start(job(), on_chunk=stop_after(1))
    assert finished.path.read_bytes() == before


@posix_only
@pytest.mark.parametrize("redo", [False, True])
def test_killed_before_every_rename(tmp_path, job, fresh, redo):
    # Files appear by renaming alone, so that these are all the states in which a killed run can be found.
    task, options = (job(14, seed=7), {"from_chunk": 1}) if redo else (job(14), {})
    expected = fresh(job(14), (task, options)) if redo else fresh(task)
    for number in range(99):
        root = tmp_path / f"killed {number}"
        place = Place(root)
        if redo:
            place.start(job(14))

        def start(place=place):
            place.start(with_sound_of_its_own(task, FileSound(POSE_VIDEO)), **options)

        if not killed_before_rename(number, root, start):
            break
        place.start(task, **options)
        assert_same_result(place.result(), expected)
        assert not [path for path in root.rglob("*") if ".part" in path.name]
    # Latents, chunk, segment, record and take for each chunk, and the two pictures; at the end these again, the video,
    # and the take with it. In a redo also the take before its first chunk, and the older video, which is moved.
    assert number == (13 if redo else 18)
