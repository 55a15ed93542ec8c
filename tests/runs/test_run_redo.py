"""What is made again: from a chunk on with another seed, all of it in a new folder, a chunk whose file is damaged."""

from pathlib import Path

import pytest
import torch
from run_parts import ANOTHER_RUN, Sampler, assert_same_result, cut, flip, refused


def test_redo_from_a_chunk_with_another_seed(finished, job, fresh):
    first, before = finished.result(), finished.files(0, 2)
    finished.start(job(seed=7), from_chunk=3)
    assert finished.made == [3, 4, 5]
    assert finished.seeds == [7 + 42 * 3, 7 + 42 * 4, 7 + 42 * 5]
    assert finished.files(0, 2) == before
    redone = finished.result()
    assert_same_result(redone, fresh(job(), (job(seed=7), {"from_chunk": 3})))
    assert [torch.equal(a["latents"], b["latents"]) for a, b in zip(first[2], redone[2], strict=True)] == [True] * 3 + [
        False
    ] * 3

    # From now on the run's seed is the new one.
    finished.start(job(seed=7))
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
    before = finished.everything()
    assert refused(finished.start, job()) == (
        f"this run was started with other settings ({ANOTHER_RUN}; with from_chunk the seed may change); "
        "got seed 0 (was 7)."
    )
    assert finished.everything() == before
    finished.start(job(44, seed=7))
    assert finished.seeds == [7 + 42 * 6, 7 + 42 * 7]


def test_a_second_redo_in_front_of_the_first(finished, job):
    finished.start(job(seed=7), from_chunk=4)
    finished.start(job(seed=9), from_chunk=2)
    assert finished.take().seeds == {"0": 0, "2": 9}
    assert [record.noise_seed for record in finished.take().chunks] == [0, 42] + [9 + 42 * k for k in range(2, 6)]
    finished.start(job(seed=9))
    assert finished.made == []


def test_a_second_redo_behind_the_first_beyond_chunk_9(place, job):
    place.start(job(64))
    place.start(job(64, seed=7), from_chunk=9)
    place.start(job(64, seed=8), from_chunk=10)
    assert place.seeds == [8 + 42 * 10, 8 + 42 * 11]
    assert place.take().seeds == {"0": 0, "9": 7, "10": 8}
    # The run's seed is the last one, by number and not by letter.
    place.start(job(64, seed=8))
    assert (place.made, place.kept) == ([], list(range(12)))
    assert refused(place.start, job(64, seed=7)).endswith("got seed 7 (was 8).")


def test_redo_takes_what_is_before_as_it_is(finished, job):
    before = finished.files(0, 2)
    # The prompt of chunk 1 changed too, but only 3 and later are to be made again.
    finished.start(job(prompts=["", "turns"]), from_chunk=3)
    assert finished.made == [3, 4, 5]
    assert finished.files(0, 2) == before


def test_redo_may_follow_the_last_finished_chunk(place, job):
    place.start(job(14))
    place.start(job(seed=5), from_chunk=2)
    assert (place.made, place.kept) == ([2, 3, 4, 5], [0, 1])
    assert place.take().seeds == {"0": 0, "2": 5}


@pytest.mark.parametrize(
    ("made", "total", "from_chunk", "last"),
    [(32, 32, -1, 5), (32, 32, 6, 5), (32, 21, 4, 3), (14, 32, 3, 2), (None, 32, 1, 0)],
)
def test_from_chunk_out_of_range(place, job, made, total, from_chunk, last):
    if made:
        place.start(job(made))
    before = place.everything()
    assert refused(place.start, job(total, seed=5), from_chunk=from_chunk) == (
        f"from_chunk must be a finished chunk or the one after the last (0..{last}); got {from_chunk}."
    )
    assert place.everything() == before


def test_a_redo_without_the_earlier_run_is_refused(finished, job):
    before = finished.everything()
    assert refused(finished.start, job(), from_chunk=3, resume=False) == (
        "from_chunk needs the chunks before it (resume true); got 3 and resume false."
    )
    assert finished.everything() == before


def test_without_resume_the_old_run_is_set_aside(place, job, fresh):
    place.start(job(14, seed=1))
    first = {Path(name).name: file for name, file in place.everything().items() if "dance/" in name}
    place.start(job(14, seed=2), resume=False)
    assert place.made == [0, 1]
    second = {Path(name).name: file for name, file in place.everything().items() if "dance/" in name}
    place.start(job(14, seed=3), resume=False)
    assert_same_result(place.result(), fresh(job(14, seed=3)))
    for number, files in ((1, first), (2, second)):
        folder = place.store.folder.with_name(f"dance.{number}")
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == files


# --- a damaged chunk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "got"),
    [(cut, "an altered"), (flip(-1), "an altered"), (flip(20), "an altered"), (Path.unlink, "no")],
)
def test_a_damaged_chunk_is_named_and_can_be_made_again(finished, job, damage, got):
    result, before = finished.result(), finished.files()
    damage(finished.chunk_path(3))
    damaged = finished.everything()
    assert refused(finished.start, job()) == (
        "chunk_0003.safetensors must be as it was written (make it and all after it again with from_chunk or "
        f"--from-chunk 3; what is before is kept); got {got} file."
    )
    assert finished.made == []
    assert finished.everything() == damaged
    finished.start(job(), from_chunk=3)
    assert finished.files(0, 2) == {name: before[name] for name in finished.files(0, 2)}
    assert_same_result(finished.result(), result)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"x" * 99)])
def test_a_damaged_first_chunk_is_made_again_and_what_follows_stays(finished, job, fresh, damage):
    before = finished.contents()
    damage(finished.chunk_path(0))
    finished.start(job())
    assert (finished.made, finished.kept) == ([0], [1, 2, 3, 4, 5])
    changed = {name for name, content in finished.contents().items() if content != before[name]}
    assert changed - {"dance/chunk_0000.safetensors"} == {"dance/manifest.json"}
    assert_same_result(finished.result(), fresh(job()))
    finished.start(job())
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])


def test_a_damaged_first_chunk_is_made_again_with_its_own_seed(finished, job):
    finished.start(job(seed=9), from_chunk=2)
    expected = finished.result()
    finished.chunk_path(0).unlink()
    finished.segment_path(0).unlink()
    finished.start(job(seed=9))
    assert (finished.made, finished.kept) == ([0], [1, 2, 3, 4, 5])
    assert_same_result(finished.result(), expected)


def test_a_damaged_first_chunk_that_was_made_from_something_else(finished, job):
    finished.chunk_path(0).unlink()
    before = finished.everything()
    # Chunks before from_chunk stay as they are, but this one cannot be made as it was any more.
    assert refused(finished.start, job(prompts=["turns"]), from_chunk=2) == (
        "chunk_0000.safetensors must be as it was written (start anew with resume false or --no-resume: the old run "
        "is set aside); got no file."
    )
    assert finished.made == []
    assert finished.everything() == before
    finished.start(job(prompts=["turns"]), resume=False)
    assert finished.made == [0, 1, 2, 3, 4, 5]


def test_the_remade_chunk_of_another_machine_keeps_the_picture_that_goes_on(finished, job):
    before = finished.contents()
    finished.chunk_path(0).unlink()
    finished.start(job(), lambda request, seed: Sampler()(request, seed) + 1e-6)
    assert (finished.made, finished.kept) == ([0], [1, 2, 3, 4, 5])
    changed = {name for name, content in finished.contents().items() if content != before[name]}
    assert changed == {"dance/chunk_0000.safetensors", "dance/manifest.json"}
    finished.start(job())
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])


def test_a_damaged_manifest_is_refused_and_nothing_touched(place, job):
    place.start(job(14))
    manifest = place.store.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"noise_seed": 42', '"noise_seed": 43'))
    before = place.everything()
    message = refused(place.start, job(14))
    assert "manifest.json must be as it was written" in message
    assert place.everything() == before
    # The way out that the message names.
    place.start(job(14), resume=False)
    assert place.made == [0, 1]
