"""Files of boxes: what is wrong is said in a line of our own, whatever the file holds."""

import json
import random

import pytest
from mutations import mutations

from everanimate_core.evaluation.boxes import read_boxes

RULE = "face_boxes must be a JSON list of boxes or null, one a frame, in whole pixels ([[10, 5, 30, 25], ...]); got "


@pytest.fixture
def read(tmp_path):
    """read(content, gaps) -> boxes, or what is said of the file."""

    def call(content, gaps=True):
        path = tmp_path / "boxes.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            return read_boxes("face_boxes", path, gaps)
        except ValueError as refused:
            return str(refused).replace(str(path), "FILE")

    return call


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_boxes(read, encoding):
    assert read("[[1, 2, 3, 4], null]".encode(encoding)) == [[1, 2, 3, 4], None]
    assert read("[]") == []


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("", "no JSON (Expecting value: line 1 column 1 (char 0)) in FILE."),
        ("[[1, 2, 3, 4],\n[", "no JSON (Expecting value: line 2 column 2 (char 16)) in FILE."),
        ("[]".encode("utf-16"), "no UTF-8 text (byte 0 is 0xff) in FILE."),
        (b"\x00\xff\xfe", "no UTF-8 text (byte 1 is 0xff) in FILE."),
        ("[" * 100_000, "JSON of more than 100 levels in FILE."),
        ('{"a":' * 100_000, "JSON of more than 100 levels in FILE."),
        (f"[[1, 2, 3, {'9' * 5000}]]", "a number of 5000 digits in FILE."),
        (f"[[1, 2, 3, {2**31}]]", "[1, 2, 3, 2147483648] for frame 0 in FILE."),
        ("[[1, 2, 3, 4], [1, 2, 3]]", "[1, 2, 3] for frame 1 in FILE."),
        ("[[1, 2, 3, 4.0]]", "[1, 2, 3, 4.0] for frame 0 in FILE."),
        ("[[1, 2, 3, true]]", "[1, 2, 3, True] for frame 0 in FILE."),
        ("[[1, 2, 3, NaN]]", "a number that is not finite (NaN) in FILE."),
        ("[[1, 2, 3, 1e999]]", "a number that is not finite (1e999) in FILE."),
        ('["\\u001b[31m\\u202e"]', r"'\x1b[31m\u202e' for frame 0 in FILE."),
        ('"\\u001b[31m"', r"'\x1b[31m' in FILE."),
        (f'["{"x" * 100_000}"]', f"'{'x' * 37}...{'x' * 38}' for frame 0 in FILE."),
        ('{"0": [1, 2, 3, 4]}', "{'0': [1, 2, 3, 4]} in FILE."),
        ("null", "None in FILE."),
        ("[" * 40 + "1" + "]" * 40, "[[[[...]]]] for frame 0 in FILE."),
    ],
    ids=lambda text: repr(text)[:24],
)
def test_what_is_wrong_is_said(read, content, got):
    assert read(content) == RULE + got


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"^face_boxes must be .*; got a file that cannot be read \(.*\) in .*none\.$"):
        read_boxes("face_boxes", tmp_path / "none")


def test_null_where_every_frame_has_a_box(read):
    assert "must be a JSON list of boxes, one a frame" in read("[null]", gaps=False)


def test_a_name_with_control_characters(tmp_path):
    path = tmp_path / "a\x1b[31m\nb.json"
    path.write_text("1")
    with pytest.raises(ValueError, match=r"got 1 in .*a\\x1b\[31m\\nb\.json\.$"):
        read_boxes("face_boxes", path)


def test_whatever_a_file_holds(read):
    """Damaged files: boxes, or one printable line of ours."""
    chance = random.Random(0)
    pieces = ["[", "]", "{", "}", '"', ",", ":", "null", "true", "NaN", "-", "1e9", "9" * 5000, "\\u0000", "\x1b", "é"]
    for _ in range(mutations(400)):
        text = list(json.dumps([[chance.randrange(99) for _ in range(4)] for _ in range(chance.randrange(4))]))
        for _ in range(chance.randrange(6)):
            text.insert(chance.randrange(len(text) + 1), chance.choice(pieces) * chance.choice([1, 1, 1, 2000]))
        content = "".join(text).encode()
        if chance.random() < 0.3:
            content = content[: chance.randrange(len(content) + 1)] + chance.randbytes(chance.randrange(3))
        said = read(content)
        if isinstance(said, list):
            assert all(box is None or all(type(side) is int for side in box) for box in said)
        else:
            assert said.startswith(RULE) and said.isprintable() and len(said) < 400, said
