"""Files that say whether they are as they were written."""

import json
import random
from pathlib import Path

import pytest
import torch
from refusals import refusal

import everanimate_core
from everanimate_core.digests import digest
from everanimate_core.runs.sealed import (
    Altered,
    check_kinds,
    is_count,
    is_number,
    is_score,
    is_seed,
    is_text,
    is_texts,
    seal,
    unseal,
)

KIND = "everanimate-take-1"
BODY = {"network": "é", "sigmas": [1.0, 1 / 3, 0.0], "none": None, "yes": True, "seed": 2**64 - 1}


def altered(content):
    """What is said of a content that is not as it was written."""
    return refusal(unseal, KIND, content, kind=Altered)


def test_what_was_sealed_comes_back():
    assert unseal(KIND, seal(KIND, BODY)) == BODY
    assert unseal(KIND, seal(KIND, {})) == {}


def test_the_content_of_a_file():
    assert json.loads(seal(KIND, BODY)) == {
        "format": KIND,
        "versions": {"everanimate": everanimate_core.__version__, "torch": torch.__version__},
        "digest": digest(KIND, BODY),
        "content": BODY,
    }


def test_the_version_is_the_packages():
    pyproject = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    assert f'version = "{everanimate_core.__version__}"' in pyproject


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_file_holds_what_is_no_json(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        seal(KIND, {"drift": value})


def changed(**changes):
    return lambda content: json.dumps({**json.loads(content), **changes}).encode()


def without(name):
    return lambda content: json.dumps({k: v for k, v in json.loads(content).items() if k != name}).encode()


@pytest.mark.parametrize(
    "alter",
    [
        lambda content: content.replace(b"18446744073709551615", b"0"),
        lambda content: content.replace(b"true", b"false"),
        lambda content: content.replace(b'"none"', b'"some"'),
        changed(digest="0" * 32),
        changed(digest=None),
        changed(content={}),
        changed(content=[]),
        changed(format="everanimate-chunk-1"),
        changed(format="x"),
        changed(format=1),
        changed(format=[KIND]),
        without("format"),
        without("digest"),
        without("content"),
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        *[lambda content, other=other: other for other in (b"", b"[]", b"null", b'"content"', b"{}", b"1" * 5000)],
        *[lambda content, other=other: other for other in (b"[" * 10**5, b'{"format":' * 5000, b"\xff\xfe\x00")],
    ],
)
def test_altered_content_is_refused(alter):
    content = seal(KIND, BODY)
    assert alter(content) != content
    assert altered(alter(content)) == "an altered one"


def test_a_file_of_a_version_to_come_is_named():
    for other in ("everanimate-take-2", "everanimate-take-10"):
        assert altered(seal(other, BODY)) == f"one of another version of EverAnimate (format '{other}')"
    assert altered(seal("everanimate-take-\x1b[2J", {})).isprintable()
    # A seal of its own for each kind of file.
    assert altered(seal("everanimate-chunk-1", BODY)) == "an altered one"


def test_no_altered_byte_changes_what_is_read():
    whole, chance = seal(KIND, BODY), random.Random(0)
    for offset in range(len(whole)):
        content = bytearray(whole)
        content[offset] ^= chance.choice([1, 4, 32])
        try:
            body = unseal(KIND, bytes(content))
        except Altered as error:
            assert str(error).isprintable()
        else:
            # Only blanks and the versions can differ.
            assert body == BODY, offset


KINDS = {"name": is_text, "frames": is_count}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"name": "x"}, "one whose take has other fields"),
        ({"name": "x", "frames": 1, "more": 1}, "one whose take has other fields"),
        ([], "one whose take has other fields"),
        (None, "one whose take has other fields"),
        ("name", "one whose take has other fields"),
        ({"name": 1, "frames": 1}, "one whose take has another kind of name"),
        ({"name": "x", "frames": "1"}, "one whose take has another kind of frames"),
    ],
)
def test_fields_and_their_kinds_are_checked(body, told):
    check_kinds({"name": "x", "frames": 1}, KINDS, "take")
    assert refusal(check_kinds, body, KINDS, "take", kind=Altered) == told


NO_NUMBERS = [None, True, False, "1", [], {}, [1]]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (is_text, ["", "x"], [None, 1, True, b"x", ["x"]]),
        (is_count, [0, 1, 2**31 - 1], [-1, 2**31, 1.0, *NO_NUMBERS]),
        (is_seed, [0, 2**64 - 1], [-1, 2**64, 1.0, *NO_NUMBERS]),
        (is_number, [0, -1, 1.5, 1e299], [1e300, -1e300, 10**301, float("inf"), float("nan"), *NO_NUMBERS]),
        (is_score, [None, 0.5], [True, "x", float("nan")]),
        (is_texts, [{}, {"pose": "x"}], [None, [], {"pose": 1}, "x"]),
    ],
)
def test_kinds_of_values(kind, good, bad):
    assert [value for value in good if not kind(value)] == []
    assert [value for value in bad if kind(value)] == []
