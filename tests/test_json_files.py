"""JSON and text of strangers: what is right comes through, what is wrong has one line that says so."""

import json

import pytest

from everanimate_core.errors import one_line, shown
from everanimate_core.json_files import (
    MOST_DIGITS,
    MOST_NESTED,
    check_fields,
    parse_json,
    read_json,
    read_text,
    write_json,
)


def refuse(got):
    return ValueError(f"Test: {got}.")


def refusal(call, *args, **options):
    with pytest.raises(ValueError) as caught:
        call(*args, refuse, **options)
    message = str(caught.value)
    assert message.startswith("Test: ")
    assert message.isprintable()
    assert len(message) < 300
    return message.removeprefix("Test: ").removesuffix(".")


def test_what_is_written_is_whole_and_the_same_on_every_system(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, "é"], "b": None})
    written = b'{\n "a": [\n  1,\n  "\\u00e9"\n ],\n "b": null\n}\n'
    assert path.read_bytes() == written
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert path.read_bytes() == written and list(tmp_path.iterdir()) == [path]


def test_what_is_right_comes_through(tmp_path):
    value = {"a": [1, -2.5, True, None, "é\n"], "b": {"c": 2**64 - 1}, "d": "\U0001f600"}
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json", refuse) == value
    assert parse_json("[" * MOST_NESTED + "]" * MOST_NESTED, refuse)
    assert parse_json("1" * MOST_DIGITS, refuse) == int("1" * MOST_DIGITS)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"\xff\xfe{", "no UTF-8 text (byte 0 is 0xff)"),
        ('{"a": "é"}'.encode("latin-1"), "no UTF-8 text (byte 7 is 0xe9)"),
        ("{}".encode("utf-16-le"), "no UTF-8 text (NUL bytes)"),
        (b"", "no JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"{'a': 1}", "no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        (b'{"a": 1} x', "no JSON (Extra data: line 1 column 10 (char 9))"),
        (b"9" * 5000, "a number of 5000 digits"),
        (b"[1e999]", "a number that is not finite (1e999)"),
        (b"[NaN]", "a number that is not finite (NaN)"),
        (b"[-Infinity]", "a number that is not finite (-Infinity)"),
        (b"[" * 100_000, "JSON of more than 100 levels"),
        (b"[" * 101 + b"]" * 101, "JSON of more than 100 levels"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "JSON of more than 100 levels"),
        (b'["\\ud800"]', "text with half a character ('\\ud800')"),
        (b'{"\\udfff": 1}', "text with half a character ('\\udfff')"),
    ],
)
def test_what_is_wrong(tmp_path, content, got):
    (tmp_path / "a.json").write_bytes(content)
    found = refusal(read_json, tmp_path / "a.json")
    # Which words Python has for a fault of the syntax is its own affair.
    assert found == got or (found.startswith("no JSON (") and got.startswith("no JSON ("))


def test_files_that_cannot_be_read(tmp_path):
    assert refusal(read_text, tmp_path / "none").startswith("a file that cannot be read (")
    assert refusal(read_text, tmp_path).startswith("a file that cannot be read (")
    (tmp_path / "large").write_bytes(b" " * 1_000_000 + b"1")
    assert refusal(read_text, tmp_path / "large", most=1_000_000) == "more than 1 MB"
    assert refusal(read_json, tmp_path / "large", most=1_000_000) == "more than 1 MB"
    assert read_json(tmp_path / "large", refuse) == 1


KINDS = {"step": int, "loss": float, "name": (str, type(None)), "on": bool, "parts": list}
RIGHT = {"step": 1, "loss": 2, "name": None, "on": False, "parts": []}


def test_fields_of_the_right_types():
    assert check_fields(RIGHT, KINDS, refuse) == RIGHT
    assert check_fields({**RIGHT, "more": 1}, KINDS, refuse, others=True)["more"] == 1


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ([], "a list instead of an object"),
        (True, "true or false instead of an object"),
        (None, "null instead of an object"),
        ({}, "no 'step'"),
        ({**RIGHT, "step": True}, "'step' True, which is not a whole number"),
        ({**RIGHT, "step": 1.0}, "'step' 1.0, which is not a whole number"),
        ({**RIGHT, "loss": "2"}, "'loss' '2', which is not a number"),
        ({**RIGHT, "loss": False}, "'loss' False, which is not a number"),
        ({**RIGHT, "name": {}}, "'name' {}, which is not text or null"),
        ({**RIGHT, "on": 0}, "'on' 0, which is not true or false"),
        ({**RIGHT, "parts": {"a\n": 1}}, "'parts' {'a\\n': 1}, which is not a list"),
        ({**RIGHT, "mo\x1bre": 1}, "the unknown 'mo\\x1bre'"),
    ],
)
def test_fields_that_are_wrong(value, got):
    assert refusal(check_fields, value, KINDS) == got


def test_messages_show_what_cannot_be_seen():
    assert one_line("a\nb\r\x1b[31m\0\u202e\u2028\udc80é") == r"a\nb\r\x1b[31m\x00\u202e\u2028\udc80é"
    assert one_line("abcdef", 3) == "abc..."
    assert len(shown("x" * 10_000)) < 100
    assert len(shown([[[[[1] * 100] * 100] * 100] * 100])) < 1000
