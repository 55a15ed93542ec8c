"""The takes of a run side by side, and which of their files may go."""

import json
import shutil
from pathlib import Path

import pytest
from refusals import refusal
from run_parts import Place, refused

from everanimate_core.runs.listing import all_takes, amount, list_takes, prune, run_of, to_prune
from everanimate_core.runs.ownership import OwnershipLost

OLD = Path(__file__).parents[1] / "data" / "old_runs"


@pytest.fixture
def three(finished, job):
    """Six chunks; three of them made again; then one alone."""
    finished.start(job(seed=7), from_chunk=3)
    finished.start(job(seed=8), only_chunk=1)
    return finished


def sizes(place, keys):
    return sum(path.stat().st_size for key in keys for path in place.store.folder.glob(f"chunks/{key}*"))


def keys_of(place, number):
    return [chunk.key for chunk in place.take(number).chunks]


def test_what_differs_and_what_it_needs(three):
    listed = list_takes(three.store)
    assert [one.take.number for one in listed] == [1, 2, 3]
    assert [one.differs for one in listed] == [
        (),
        ("made again from chunk 3 of take 1", "seed was 0 and is 7"),
        ("chunk 1 of take 2 made again alone", "seed was 7 and is 8"),
    ]
    keys = [keys_of(three, number) for number in (1, 2, 3)]
    assert [one.size for one in listed] == [sizes(three, some) for some in keys]
    # 0 and 2 are in all of them, 3 to 5 of the redo in two, chunk 1 of the first in two.
    assert [one.own for one in listed] == [sizes(three, keys[0][3:]), 0, sizes(three, keys[2][1:2])]
    assert listed[0].seconds == pytest.approx(32 * 1001 / 24000)
    assert listed[0].drift == max(chunk.drift for chunk in three.take(1).chunks)


def test_the_report_lists_them(three):
    told = three.outcome.report["takes"]
    assert json.loads(json.dumps(told)) == told
    assert [(one["take"], one["state"], one["chunks"]) for one in told] == [
        (1, "finished", 6),
        (2, "finished", 6),
        (3, "finished", 6),
    ]
    assert three.outcome.report["take"] == 3


def test_a_line_for_people(three):
    first, second, _ = map(str, list_takes(three.store))
    drift = max(chunk.drift for chunk in three.take(1).chunks)
    whole, own = (amount(size) for size in (list_takes(three.store)[0].size, list_takes(three.store)[0].own))
    assert first == f"take 1: finished, 6 chunks, 1.3 s, drift {drift:.3f}, {whole} on disk, {own} of it its own"
    assert second.splitlines()[1:] == ["    made again from chunk 3 of take 1", "    seed was 0 and is 7"]


@pytest.mark.parametrize(("keep", "chunks"), [([1, 2, 3], 0), ([1, 3], 0), ([2], 4), ([3], 4), ([1], 4)])
def test_pruning_keeps_the_chunks_of_what_is_named(three, job, keep, chunks):
    before = {number: (three.take(number), three.files(number=number)) for number in keep}
    pruned = to_prune(three.store, keep)
    assert pruned.takes == tuple(number for number in (1, 2, 3) if number not in keep)
    assert len(pruned.chunks) == chunks
    assert pruned.size == sum(path.stat().st_size for path in pruned.files)
    videos = sorted(three.root.rglob("*.mp4"))
    kept = set(three.everything()) - {str(path.relative_to(three.root)) for path in pruned.files}
    prune(pruned)
    assert set(three.everything()) == kept
    assert {number: (three.take(number), three.files(number=number)) for number in keep} == before
    assert [path for path in videos if path.parent.name != "chunks"] == [
        path for path in sorted(three.root.rglob("*.mp4")) if path.parent.name != "chunks"
    ]
    # What is kept is gone on with.
    newest = max(keep)
    three.start(job(seed={1: 0, 2: 7, 3: 8}[newest]))
    assert three.made == []


def test_who_lost_the_run_deletes_nothing_more(three):
    pruned, before, looks = to_prune(three.store, [1]), three.everything(), []

    def check():
        looks.append(1)
        if len(looks) == 3:
            raise OwnershipLost

    with pytest.raises(OwnershipLost):
        prune(pruned, check)
    assert len(before) - len(three.everything()) == 2


def test_candidates_that_were_not_taken_go(place, job):
    place.start(job(14), candidates=3)
    pruned = to_prune(place.store, [1])
    assert len(pruned.chunks) == 4
    prune(pruned)
    place.start(job(14))
    assert place.made == []


def test_a_take_that_is_not_there(three):
    assert refusal(to_prune, three.store, [1, 7, 9]) == "prune must name takes that are there (1, 2, 3); got 7, 9."
    assert refusal(to_prune, three.store, []) == "prune must name takes that are there (1, 2, 3); got none."


def test_a_run_of_0_1_0_is_take_1_and_can_go(tmp_path):
    shutil.copytree(OLD / "core", tmp_path / "core")
    store = Place(tmp_path / "core").store
    assert [(take.number, len(take.chunks)) for take in all_takes(store)] == [(1, 4)]
    assert list_takes(store)[0].take.seed == 0
    assert to_prune(store, [1]).files == ()


def test_where_a_run_is(three, tmp_path, monkeypatch):
    assert run_of(three.store.folder).folder == three.store.folder
    monkeypatch.chdir(three.store.folder)
    assert run_of(Path(".")).folder == three.store.folder
    monkeypatch.undo()
    assert refused(run_of, tmp_path / "none.mp4") == (
        "run must be the folder of a run, or the video of one (output/everanimate/NAME, or the video that `everanimate "
        f"animate` made); got {tmp_path / 'none.mp4'}."
    )
    three.store.folder.rename(three.root / "dance.run")
    assert run_of(three.path).folder == three.root / "dance.run"


def test_takes_that_were_altered_are_left_out_or_refused(finished, job):
    finished.start(job(37))
    finished.store.take_path(1).write_text("{}")
    assert "take 00001.json must be as it was written" in refused(list_takes, finished.store)
    assert [listed.take.number for listed in list_takes(finished.store, readable=True)] == [2]
    # A run that is gone on with needs none but the newest.
    assert [told["take"] for told in finished.start(job(37)).report["takes"]] == [2]
