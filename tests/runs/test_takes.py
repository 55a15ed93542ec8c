"""Takes: what their files hold, and how two of them differ, in words."""

import json
from dataclasses import replace

import pytest
from refusals import refusal

from everanimate_core.runs.chunks import ChunkRecord, Recipe
from everanimate_core.runs.sealed import Altered, seal
from everanimate_core.runs.takes import FINISHED, Candidate, Take, TakeChunk, differences

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
CHUNK = TakeChunk(KEY, 9, 14, 2**64 - 1, 1.25, 0.1, 2.5)
TAKE = Take(
    3,
    {"network": "é", "sigmas": [1.0, 1 / 3, 0.0], "none": None},
    {"total_frames": 14, "fps": "24000/1001", "sound": None, "sound_start": 0.0},
    {"seed": 5, "prompt": "turns"},
    5,
    chunks=(CHUNK, CHUNK),
)


@pytest.mark.parametrize(
    "take",
    [
        TAKE,
        Take(1, {}, {"fps": "25"}, {}, 0),
        replace(TAKE, first=2, of=2, anew=3, state=FINISHED, video="v" * 32),
        replace(TAKE, only=0, of=1),
        replace(
            TAKE,
            chunks=(
                replace(CHUNK, drift=None, candidates=(Candidate(KEY, 1, None, None), Candidate(OTHER, 2, 0.5, 2.5))),
            ),
        ),
    ],
)
def test_a_take_comes_back_as_it_was(take):
    assert Take.from_json(take.to_json()) == take


def test_the_content_of_a_file():
    content = json.loads(TAKE.to_json())
    assert content["format"] == "everanimate-take-1"
    assert content["content"] == {
        "number": 3,
        "settings": TAKE.settings,
        "output": TAKE.output,
        "widgets": TAKE.widgets,
        "seed": 5,
        "first": 0,
        "only": -1,
        "of": 0,
        "anew": 0,
        "chunks": [
            {
                "key": KEY,
                "start": 9,
                "stop": 14,
                "noise_seed": 2**64 - 1,
                "seconds": 1.25,
                "drift": 0.1,
                "score": 2.5,
                "candidates": [],
            }
        ]
        * 2,
        "state": "unfinished",
        "video": "",
    }


def test_a_chunk_of_a_take_is_told_by_its_record():
    candidates = [Candidate(KEY, 7, 0.5, 0.25)]
    record = ChunkRecord(KEY, Recipe("s", 1, {}, 7), "l", 2.5, 0.5, 0.25)
    assert TakeChunk.of(record, range(9, 14), candidates) == TakeChunk(KEY, 9, 14, 7, 2.5, 0.5, 0.25, tuple(candidates))


def test_a_chunk_is_put_behind_the_last_or_in_the_place_of_another():
    other = replace(CHUNK, key=OTHER)
    assert TAKE.with_chunk(2, other).chunks == (CHUNK, CHUNK, other)
    assert TAKE.with_chunk(0, other).chunks == (other, CHUNK)
    assert TAKE.chunks == (CHUNK, CHUNK)


def test_a_take_without_a_method_is_of_the_first():
    assert TAKE.method == "everanimate"
    assert replace(TAKE, settings={"method": "longanimation"}).method == "longanimation"


# --- a file that was altered -----------------------------------------------------------------------------------------


def told(change):
    """What is said of a take with such a body, whose digest fits."""
    body = json.loads(replace(TAKE, chunks=(replace(CHUNK, candidates=(Candidate(KEY, 1, 0.5, 0.5),)),)).to_json())
    change(body["content"])
    return refusal(Take.from_json, seal("everanimate-take-1", body["content"]), kind=Altered)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("number", -1), ("number", True), ("number", "1"), ("settings", []), ("output", None), ("widgets", "x")],
        *[("seed", -1), ("seed", 2**64), ("seed", None), ("first", -1), ("only", -2), ("only", True), ("of", -1)],
        *[("anew", None), ("chunks", {}), ("chunks", None), ("state", "done"), ("state", []), ("video", None)],
    ],
)
def test_a_take_of_values_that_none_has_is_refused(name, value):
    assert told(lambda body: body.update({name: value})) == f"one whose take has another kind of {name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("key", "x" * 32), ("key", "../" + "0" * 29), ("key", None), ("start", -1), ("start", 2**31), ("stop", 9.0)],
        *[("noise_seed", -1), ("seconds", 1e300), ("drift", True), ("candidates", None), ("candidates", {})],
    ],
)
def test_a_chunk_of_values_that_none_has_is_refused(name, value):
    assert told(lambda body: body["chunks"][0].update({name: value})) == f"one whose chunk has another kind of {name}"


def test_a_take_with_other_fields_is_refused():
    assert told(lambda body: body.pop("video")) == "one whose take has other fields"
    assert told(lambda body: body.update(more=1)) == "one whose take has other fields"
    for chunk in (None, [], {}, {"key": KEY}):
        assert told(lambda body, chunk=chunk: body["chunks"].append(chunk)) == "one whose chunk has other fields"
    for other in (None, [], {"key": KEY}):
        change = lambda body, other=other: body["chunks"][0]["candidates"].append(other)  # noqa: E731
        assert told(change) == "one whose candidate has other fields"
    change = lambda body: body["chunks"][0]["candidates"][0].update(key="x")  # noqa: E731
    assert told(change) == "one whose candidate has another kind of key"


# --- what differs ----------------------------------------------------------------------------------------------------


def changes(**changed):
    """What is said of a take that differs so from TAKE."""
    return [str(change) for change in differences(TAKE, replace(TAKE, **changed))]


def test_takes_that_differ_in_nothing():
    assert changes() == []
    # Neither their numbers nor their chunks are of the user's doing.
    assert changes(number=4, chunks=(), state=FINISHED) == []


def test_a_widget_is_named_with_its_two_values():
    assert changes(widgets={"seed": 6, "prompt": "turns"}, seed=6) == ["seed was 5 and is 6"]
    # A widget that there was not says nothing.
    assert changes(widgets={**TAKE.widgets, "later": 1}) == []


def test_a_widget_explains_what_shows_elsewhere():
    was = replace(TAKE, widgets={"steps": 4})
    now = replace(was, widgets={"steps": 8}, settings={**TAKE.settings, "sigmas": [1.0, 0.0]})
    assert [str(change) for change in differences(was, now)] == ["steps was 4 and is 8"]
    now = replace(was, settings={**TAKE.settings, "sigmas": [1.0, 0.0]})
    assert [str(change) for change in differences(was, now)] == [
        f"sigmas was {[1.0, 1 / 3, 0.0]} and is [1.0, 0.0]",
    ]


def test_settings_that_a_widget_switches_on_are_no_news():
    off = {"restore_strength": 0.0, "restore_schedule": "gaussian"}
    was = replace(TAKE, widgets=off)
    on = off | {"restore_strength": 0.5}
    now = replace(was, widgets=on, settings={**TAKE.settings, **on})
    assert [str(change) for change in differences(was, now)] == ["restore_strength was 0.0 and is 0.5"]
    assert [str(change) for change in differences(now, was)] == ["restore_strength was 0.5 and is 0.0"]
    # A length that is that of the driving video is told where that is another one.
    was = replace(TAKE, widgets={"total_frames": 0})
    now = replace(was, output={**TAKE.output, "total_frames": 20})
    assert [str(change) for change in differences(was, now)] == ["total_frames was 14 and is 20"]


def test_without_a_widget_the_seed_is_told_by_itself():
    was = replace(TAKE, widgets={})
    assert [str(change) for change in differences(was, replace(was, seed=6))] == ["seed was 5 and is 6"]


def test_what_stands_for_an_input_is_not_shown():
    assert changes(settings={**TAKE.settings, "network": "other"}) == ["the model was é and is other"]
    was = replace(TAKE, settings={"network": KEY, "references": KEY, "lora": None})
    now = replace(was, settings={"network": OTHER, "references": OTHER, "lora": KEY})
    assert [str(change) for change in differences(was, now)] == [
        "the LoRA on the model is another one",
        "the model is another one",
        "the reference is another one",
    ]


def test_length_rate_and_sound_are_named():
    output = {"total_frames": 20, "fps": "25", "sound": KEY, "sound_start": 0.5}
    assert changes(output=output) == [
        "fps was 24000/1001 and is 25",
        "the sound is another one",
        "sound_start was 0.0 and is 0.5",
        "total_frames was 14 and is 20",
    ]
    assert changes(settings={**TAKE.settings, "restore_strength": 0.5}) == [
        "restore_strength was not set and is 0.5",
    ]
