"""The key of a chunk, and its record: all that decides it, and nothing else."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from refusals import refusal

from everanimate_core.runs.chunks import ChunkRecord, Recipe, Segment, is_key, segment_name, state_digest
from everanimate_core.runs.sealed import Altered, seal

RECIPE = Recipe("s" * 32, 3, {"pose": "p" * 32, "prompt": "t" * 32}, 2**64 - 1)
RECORD = ChunkRecord(
    "0123456789abcdef" * 2, RECIPE, "l" * 32, 1.25, 0.1, 2.5, {"77x25": Segment("f" * 32, "d" * 32)}, earlier=None
)


def test_the_key_covers_all_that_decides_a_chunk():
    keys = [
        recipe.key(handed)
        for handed in ("a", "b")
        for recipe in (
            RECIPE,
            replace(RECIPE, settings="other"),
            replace(RECIPE, index=4),
            replace(RECIPE, seen={"pose": "other", "prompt": "t" * 32}),
            replace(RECIPE, seen={"face": "p" * 32, "prompt": "t" * 32}),
            replace(RECIPE, noise_seed=1),
            replace(RECIPE, anew=2),
            replace(RECIPE, end="e" * 32),
        )
    ]
    assert len(set(keys)) == len(keys) == 16
    assert all(is_key(key) for key in keys)
    # The order of the inputs is none of it.
    assert replace(RECIPE, seen=dict(reversed(RECIPE.seen.items()))).key("a") == keys[0]


def test_a_key_stays_what_it_is_in_every_version():
    # Names of files on the disks of users: a changed key makes all their chunks anew.
    assert Recipe("s", 1, {"pose": "p", "prompt": "t"}, 42).key("h") == "834e687f22f39ade136816b2ac21fbfb"


def test_what_a_chunk_hands_on_is_told_by_names_and_values():
    state = {"motion": torch.arange(4.0), "frames": torch.zeros(2, 3)}
    same = {"frames": torch.zeros(2, 3), "motion": torch.arange(4.0)}
    assert state_digest(state) == state_digest(same)
    others = [
        {},
        {"motion": torch.arange(4.0)},
        state | {"motion": torch.arange(4.0) + 1e-6},
        state | {"motion": torch.arange(4.0).double()},
        state | {"frames": torch.zeros(3, 2)},
        {"motion": state["frames"], "frames": state["motion"]},
        {"anchor": torch.arange(4.0), "frames": torch.zeros(2, 3)},
    ]
    assert len({state_digest(state), *map(state_digest, others)}) == len(others) + 1


def test_a_chunk_may_be_the_same_but_for_what_it_sees():
    made = replace(RECIPE, settings="other", noise_seed=7, anew=3, end="e")
    asked = replace(RECIPE, index=5, seen={"prompt": "turns"})
    assert asked.as_made(made) == replace(made, index=5, seen={"prompt": "turns"})


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, drift=None, score=None, segments={}, earlier=12),
        replace(RECORD, segments={name: Segment("a", "b") for name in ("77x25", "5x24000-1001", "1x2997-100")}),
        replace(RECORD, recipe=replace(RECIPE, seen={}, anew=2, end="e")),
    ],
)
def test_a_record_comes_back_as_it_was(record):
    assert ChunkRecord.from_json(record.to_json()) == record


def test_the_video_of_a_chunk_has_a_name_for_its_length_and_rate():
    assert segment_name(77, Fraction(25)) == "77x25"
    assert segment_name(5, Fraction(24000, 1001)) == "5x24000-1001"


def told(change):
    """What is said of a record with such a body, whose digest fits."""
    body = json.loads(RECORD.to_json())["content"]
    change(body)
    return refusal(ChunkRecord.from_json, seal("everanimate-chunk-1", body), kind=Altered)


def put(*names, value):
    """Sets a value at a place in a body."""

    def change(body):
        for name in names[:-1]:
            body = body[name]
        body[names[-1]] = value

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("key", value) for value in (None, "", "x" * 32, "0" * 31, "0" * 33, "A" * 32, "../" + "0" * 29)],
        *[
            ("latents", None),
            ("seconds", "1"),
            ("seconds", 1e300),
            ("seconds", True),
            ("drift", True),
            ("drift", "x"),
            ("score", "x"),
        ],
        *[("segments", None), ("segments", []), ("earlier", -1), ("earlier", 1.0), ("earlier", "0"), ("earlier", True)],
    ],
)
def test_a_record_of_values_that_no_chunk_has_is_refused(name, value):
    assert told(put(name, value=value)) == f"one whose record has another kind of {name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("settings", 1), ("index", -1), ("index", 2**31), ("index", 9.0), ("seen", []), ("seen", {"pose": 1})],
        *[("noise_seed", -1), ("noise_seed", 2**64), ("anew", -1), ("anew", None), ("end", None)],
    ],
)
def test_a_recipe_of_values_that_no_chunk_has_is_refused(name, value):
    assert told(put("recipe", name, value=value)) == f"one whose recipe has another kind of {name}"


def test_records_with_other_fields_are_refused():
    assert told(lambda body: body.pop("drift")) == "one whose record has other fields"
    assert told(put("more", value=1)) == "one whose record has other fields"
    assert told(put("recipe", value=None)) == "one whose recipe has other fields"
    assert told(put("recipe", value=[])) == "one whose recipe has other fields"
    assert told(put("recipe", "more", value=1)) == "one whose recipe has other fields"
    for segment in (None, {}, {"file": "a"}, {"file": "a", "frames": "b", "more": "c"}, ["file", "frames"]):
        assert told(put("segments", "77x25", value=segment)) == "one whose segment has other fields"
    assert told(put("segments", "77x25", "file", value=1)) == "one whose segment has another kind of file"


@pytest.mark.parametrize("name", ["", "77", "x25", "77x", "77x25/1", "../77x25", "77x25.mp4", "7x24-1-1", "a x b"])
def test_a_segment_of_another_name_leads_nowhere(name):
    assert told(put("segments", name, value={"file": "a", "frames": "b"})) == "one whose segment has another name"
