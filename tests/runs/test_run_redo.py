"""What is made again: from a chunk on, one chunk alone, all of it, the best of several, and what is damaged."""

from pathlib import Path

import pytest
import torch
from run_parts import Sampler, assert_same_result, cut, flip, refused
from safetensors.torch import load

from everanimate_core.digests import digest
from everanimate_core.latents import channel_drift, channel_statistics
from everanimate_core.runs.progress import Making
from everanimate_core.runs.start import CANDIDATE_STEP

# --- from a chunk on -------------------------------------------------------------------------------------------------


def test_redo_from_a_chunk_with_another_seed(finished, job, fresh):
    before = finished.files(number=1)
    video = finished.path.read_bytes()
    finished.start(job(seed=7), from_chunk=3)
    assert finished.made == [3, 4, 5]
    assert finished.seeds == [7 + 42 * 3, 7 + 42 * 4, 7 + 42 * 5]
    assert (finished.take().number, finished.take().first, finished.take().of) == (2, 3, 1)
    assert finished.take().chunks[:3] == finished.take(1).chunks[:3]
    assert not {chunk.key for chunk in finished.take().chunks[3:]} & {chunk.key for chunk in finished.take(1).chunks}
    assert finished.files(number=1) == before
    # The older video has gone into the run's folder.
    assert (finished.store.folder / "takes" / "00001.mp4").read_bytes() == video
    assert_same_result(finished.result(), fresh(job(), (job(seed=7), {"from_chunk": 3})))


@pytest.mark.parametrize("again", [{"from_chunk": 3}, {}])
def test_the_same_redo_asked_again_is_finished_at_once(finished, job, again):
    finished.start(job(seed=7), from_chunk=3)
    before = finished.everything()
    finished.start(job(seed=7), **again)
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
    assert finished.everything() == before


def test_a_redo_goes_on_for_longer_with_its_own_seeds(finished, job):
    finished.start(job(seed=7), from_chunk=3)
    finished.start(job(44, seed=7))
    assert finished.kept == [0, 1, 2, 3, 4, 5]
    assert finished.seeds == [7 + 42 * 6, 7 + 42 * 7]
    assert [chunk.noise_seed for chunk in finished.take().chunks] == [0, 42, 84] + [7 + 42 * k for k in range(3, 8)]


def test_back_to_the_old_seed_nothing_is_made(finished, job, fresh):
    finished.start(job(seed=7), from_chunk=3)
    finished.start(job())
    assert (finished.made, finished.take().number) == ([], 3)
    assert finished.take().chunks == finished.take(1).chunks
    assert_same_result(finished.result(), fresh(job()))


def test_a_second_redo_in_front_of_the_first(finished, job):
    finished.start(job(seed=7), from_chunk=4)
    finished.start(job(seed=9), from_chunk=2)
    assert [chunk.noise_seed for chunk in finished.take().chunks] == [0, 42] + [9 + 42 * k for k in range(2, 6)]
    finished.start(job(seed=9))
    assert finished.made == []


def test_a_second_redo_behind_the_first_beyond_chunk_9(place, job):
    place.start(job(64))
    place.start(job(64, seed=7), from_chunk=9)
    place.start(job(64, seed=8), from_chunk=10)
    assert place.seeds == [8 + 42 * 10, 8 + 42 * 11]
    place.start(job(64, seed=8))
    assert (place.made, place.kept) == ([], list(range(12)))


def test_redo_with_another_setting_and_the_same_seed(finished, job):
    network = {"network": "tiny", "sigmas": [1.0, 0.7, 0.4, 0.0]}
    finished.start(job(network=network), from_chunk=3)
    assert (finished.made, finished.seeds) == ([3, 4, 5], [42 * 3, 42 * 4, 42 * 5])
    assert finished.take().chunks[:3] == finished.take(1).chunks[:3]
    # The settings are those of the newest take, and nothing of that is missing.
    finished.start(job(network=network))
    assert (finished.made, finished.take().number) == ([], 2)


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
    assert [chunk.noise_seed for chunk in place.take().chunks] == [0, 42] + [5 + 42 * k for k in range(2, 6)]


def test_a_redo_of_the_same_is_refused(finished, job):
    before = finished.everything()
    assert refused(finished.start, job(), from_chunk=3) == (
        "from_chunk needs another seed or another setting, to make the chunk differently (seed 1); got the seed 0 and "
        "the settings of before."
    )
    assert finished.made == []
    assert finished.everything() == before


@pytest.mark.parametrize(
    ("made", "total", "from_chunk", "last"), [(32, 32, 6, 5), (32, 21, 4, 3), (14, 32, 3, 2), (None, 32, 1, 0)]
)
def test_from_chunk_out_of_range(place, job, made, total, from_chunk, last):
    if made:
        place.start(job(made))
    before = place.everything()
    assert refused(place.start, job(total, seed=5), from_chunk=from_chunk) == (
        f"from_chunk must be a finished chunk or the one after the last (0..{last}); got {from_chunk}."
    )
    assert place.everything() == before


@pytest.mark.parametrize("name", ["from_chunk", "only_chunk"])
def test_a_redo_without_the_earlier_run_is_refused(finished, job, name):
    before = finished.everything()
    assert refused(finished.start, job(), **{name: 3, "resume": False}) == (
        f"{name} needs the other chunks of the run (resume true); got 3 and resume false."
    )
    assert finished.everything() == before


# --- one chunk alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 3, 5])
def test_one_chunk_alone(finished, job, index):
    before, first = finished.files(number=1), finished.latents()
    finished.start(job(seed=7), only_chunk=index)
    assert (finished.made, finished.seeds) == ([index], [7 + 42 * index])
    assert finished.kept == [other for other in range(6) if other != index]
    assert finished.files(number=1) == before
    keys = [[chunk.key for chunk in finished.take(number).chunks] for number in (1, 2)]
    assert [one == other for one, other in zip(*keys, strict=True)] == [other != index for other in range(6)]
    # Other chunks are the very same files. This one ends with what the next one was made from; the last one is free.
    again = finished.latents()
    assert not torch.equal(again[index][:, :, :-1], first[index][:, :, :-1])
    assert torch.equal(again[index][:, :, -1:], first[index][:, :, -1:]) == (index < 5)
    # All that the next chunk is handed is as it was.
    assert finished.handed(index) == finished.handed(index, 1) or index == 5


def test_one_chunk_alone_asked_again_is_finished_at_once(finished, job):
    finished.start(job(seed=7), only_chunk=3)
    before = finished.everything()
    for options in ({"only_chunk": 3}, {}):
        finished.start(job(seed=7), **options)
        assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])
        assert finished.everything() == before


def test_one_chunk_alone_and_then_another(finished, job):
    finished.start(job(seed=7), only_chunk=3)
    finished.start(job(seed=8), only_chunk=1)
    assert [chunk.noise_seed for chunk in finished.take().chunks] == [0, 8 + 42, 84, 7 + 126, 168, 210]
    # And longer: what was made stays.
    finished.start(job(44, seed=8))
    assert (finished.made, finished.take().number) == ([6, 7], 4)
    assert [chunk.noise_seed for chunk in finished.take().chunks[:6]] == [0, 8 + 42, 84, 7 + 126, 168, 210]


def test_one_chunk_alone_with_another_prompt(finished, job):
    finished.start(job(prompts=["", "", "turns", ""]), only_chunk=2)
    assert (finished.made, finished.seeds) == ([2], [84])
    assert finished.take().chunks[3:] == finished.take(1).chunks[3:]


def test_one_chunk_alone_needs_something_else(finished, job):
    before = finished.everything()
    assert refused(finished.start, job(), only_chunk=3) == (
        "only_chunk needs another seed or another setting, to make the chunk differently (seed 1); got the seed 0 and "
        "the settings of before."
    )
    assert refused(finished.start, job(seed=1), only_chunk=6) == (
        "only_chunk must be a chunk of the plan (0..5); got 6."
    )
    assert refused(finished.start, job(seed=1), only_chunk=3, from_chunk=2) == (
        "from_chunk makes all that only_chunk leaves as it is (one of the two); got from_chunk 2 and only_chunk 3."
    )
    assert finished.made == []
    assert finished.everything() == before


def test_one_chunk_alone_needs_all_chunks(place, job):
    assert refused(place.start, job(), only_chunk=0) == (
        "only_chunk needs all chunks of the newest take (finish it with only_chunk -1); got 0 of 6."
    )
    place.start(job(14))
    assert refused(place.start, job(seed=1), only_chunk=0).endswith("got 2 of 6.")


# --- the best of several ---------------------------------------------------------------------------------------------


def test_the_candidate_that_drifts_least_is_taken(place, job):
    place.start(job(), candidates=3)
    assert place.made == sorted(3 * [0, 1, 2, 3, 4, 5])
    assert place.seeds == [42 * k + n * CANDIDATE_STEP for k in range(6) for n in range(3)]
    statistics = channel_statistics(place.latents()[0])
    for index, chunk in enumerate(place.take().chunks):
        assert [other.noise_seed for other in chunk.candidates] == [42 * index + n * CANDIDATE_STEP for n in range(3)]
        drifts = [other.drift for other in chunk.candidates]
        # Against chunk 0 drift is measured: there the first is taken.
        assert [other.score for other in chunk.candidates] == (drifts if index else [None] * 3)
        best = drifts.index(min(drifts)) if index else 0
        assert chunk.key == chunk.candidates[best].key
        assert chunk.drift == drifts[best]
        assert chunk.drift == round(channel_drift(place.latents()[index], statistics), 6)
    # The others are there too, whole, and none is like another.
    files = [path.read_bytes() for path in place.store.folder.glob("chunks/*.safetensors")]
    assert len(files) == 18
    assert len({digest(load(content)["latents"]) for content in files}) == 18
    assert len(place.records()) == 18


def test_candidates_asked_again_are_there(place, job):
    place.start(job(), candidates=2)
    before = place.everything()
    for options in ({"candidates": 2}, {}):
        place.start(job(), **options)
        assert (place.made, place.kept) == ([], [0, 1, 2, 3, 4, 5])
        assert place.everything() == before


def test_more_candidates_for_a_finished_take_open_another(finished, job):
    before = finished.files(number=1)
    finished.start(job(), candidates=2)
    assert finished.take().number == 2
    assert finished.made[0] == 0
    assert finished.seeds[0] == CANDIDATE_STEP
    assert finished.files(number=1) == before


def test_candidates_of_one_chunk_alone(finished, job):
    finished.start(job(), only_chunk=3, candidates=4)
    assert (finished.made, finished.seeds) == ([3] * 4, [126 + n * CANDIDATE_STEP for n in range(4)])
    drifts = [other.drift for other in finished.take().chunks[3].candidates]
    assert finished.take().chunks[3].drift == min(drifts)


# --- all of it -------------------------------------------------------------------------------------------------------


def test_without_resume_nothing_is_used_again(place, job, fresh):
    place.start(job(14, seed=1))
    first = place.files()
    place.start(job(14, seed=1), resume=False)
    assert (place.made, place.kept) == ([0, 1], [])
    assert place.said == ["take 2 is opened: every chunk is made anew"]
    assert not {chunk.key for chunk in place.take().chunks} & {chunk.key for chunk in place.take(1).chunks}
    place.start(job(14, seed=3), resume=False)
    assert (place.made, place.take().number) == ([0, 1], 3)
    assert place.files(number=1) == first
    assert [(place.store.folder / "takes" / f"0000{number}.mp4").exists() for number in (1, 2)] == [True, True]
    assert place.path.read_bytes() == fresh(job(14, seed=3))[3]


def test_a_take_without_resume_is_gone_on_with(place, job):
    place.start(job(14))
    place.start(job(14), resume=False)
    place.start(job(19))
    assert (place.made, place.kept, place.take().number) == ([2], [0, 1], 3)
    assert [chunk.key for chunk in place.take().chunks[:2]] == [chunk.key for chunk in place.take(2).chunks]


# --- a damaged chunk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "damage", "made"),
    [
        (3, cut, [3]),
        (3, flip(-1), [3]),
        (3, flip(20), [3]),
        (3, Path.unlink, [3]),
        (0, Path.unlink, [0]),
        (0, lambda path: path.write_bytes(b"x" * 99), [0]),
        # At the end of the first chunk's file lie the statistics: what was sampled is intact.
        (0, flip(-1), []),
    ],
)
def test_a_damaged_chunk_is_made_again_and_what_follows_stays(finished, job, index, damage, made):
    expected, before = finished.result(), finished.contents()
    damaged = finished.chunk_path(index)
    damage(damaged)
    finished.start(job())
    assert (finished.made, finished.kept) == (made, [other for other in range(6) if other != index])
    assert finished.take().number == 1
    changed = {name for name, content in finished.contents().items() if content != before[name]}
    assert {Path(name).stem for name in changed} <= {damaged.stem, "00001"}
    assert_same_result(finished.result(), expected)
    finished.start(job())
    assert (finished.made, finished.kept) == ([], [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("damage", [cut, flip(-1), Path.unlink])
def test_a_damaged_record_makes_its_chunk_again(finished, job, damage):
    expected = finished.result()
    damage(finished.store.record_path(finished.take().chunks[3].key))
    finished.start(job())
    # What was sampled is intact.
    assert (finished.made, finished.take().number) == ([], 1)
    assert_same_result(finished.result(), expected)


def test_a_damaged_first_chunk_is_made_again_with_its_own_seed(finished, job):
    finished.start(job(seed=9), from_chunk=2)
    expected = finished.result()
    finished.segment_path(0).unlink()
    finished.chunk_path(0).unlink()
    finished.start(job(seed=9))
    assert (finished.made, finished.seeds, finished.kept) == ([0], [0], [1, 2, 3, 4, 5])
    assert_same_result(finished.result(), expected)


@pytest.mark.parametrize("redo", [{"from_chunk": 3}, {"only_chunk": 3}, {"only_chunk": 1}])
def test_a_chunk_that_a_redo_needs_as_it_was(finished, job, redo):
    finished.chunk_path(1).unlink()
    before = finished.everything()
    assert refused(finished.start, job(seed=9), **redo) == (
        "chunk 1 of the take before must be as it was written (leave out from_chunk and only_chunk: it is made again "
        "then); got a file that was altered or deleted."
    )
    assert finished.made == []
    assert finished.everything() == before


def test_a_chunk_made_again_on_another_machine_opens_a_take(finished, job):
    before = finished.files(1, 5, number=1)
    finished.chunk_path(0).unlink()
    finished.start(job(), lambda request, seed: Sampler()(request, seed) + 1e-6)
    # What follows was made from something else.
    assert (finished.made, finished.take().number) == ([0, 1, 2, 3, 4, 5], 2)
    assert finished.files(1, 5, number=1) == before
    finished.start(job())
    assert finished.made == []


def test_a_damaged_take_is_refused_and_nothing_touched(place, job):
    place.start(job(14))
    take = place.store.take_path(1)
    take.write_text(take.read_text().replace('"noise_seed": 42', '"noise_seed": 43'))
    before = place.everything()
    assert refused(place.start, job(14)) == (
        "take 00001.json must be as it was written (restore it, or start anew with resume false or --no-resume: that "
        f"opens the next take, and the chunks in {place.store.folder} are untouched); got an altered one."
    )
    assert place.everything() == before
    # The way out that the message names.
    place.start(job(14), resume=False)
    assert (place.made, place.take().number) == ([0, 1], 2)


# --- what is told before a chunk is made -----------------------------------------------------------------------------


def test_what_is_about_to_be_made_is_told_with_what_is_left(place, job):
    place.start(job(14), candidates=2)
    assert place.announced == [
        Making(0, 2, 0, 2, left=3),
        Making(0, 2, 1, 2, left=2),
        Making(1, 2, 0, 2, left=1),
        Making(1, 2, 1, 2, left=0),
    ]


def test_what_is_there_is_neither_told_nor_left(finished, job):
    finished.start(job(seed=7), from_chunk=4)
    assert finished.announced == [Making(4, 6, 0, 1, left=1), Making(5, 6, 0, 1, left=0)]
    finished.start(job(seed=8), only_chunk=2, candidates=2)
    assert finished.announced == [Making(2, 6, 0, 2, left=1), Making(2, 6, 1, 2, left=0)]
