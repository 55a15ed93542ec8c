"""Lists and captions as people bring them: what is right is read, all else is refused in words of our own."""

import json
import random

import pytest
from mutations import mutations

from everanimate_core.errors import InputError
from everanimate_core.training.lists import read_caption, read_films

JSON = '{"video": "a.mp4", "pose": "a.pose.mp4"}\n'
GOOD = {
    "mark of Windows' editors": ("films.csv", b"\xef\xbb\xbfvideo,face\r\na,b\r\n", [{"video": "a", "face": "b"}]),
    "suffix in capitals": ("FILMS.CSV", b"video\na.mp4\n", [{"video": "a.mp4"}]),
    "old Macintosh": ("films.jsonl", b'{"video": "a"}\r{"video": "b"}\r', [{"video": "a"}, {"video": "b"}]),
    "null and empty": ("films.jsonl", b'{"video": "a.mp4", "pose": null, "prompt": ""}', [{"video": "a.mp4"}]),
    "quotes": ("films.csv", b'video,prompt\na,"b ""no"", c"\n', [{"video": "a", "prompt": 'b "no", c'}]),
    "prompt of two lines": ("films.csv", b'video,prompt\na,"one\ntwo"\n', [{"video": "a", "prompt": "one\ntwo"}]),
    "line separator": ("films.jsonl", '{"video": "a\u2028.mp4"}\n'.encode(), [{"video": "a\u2028.mp4"}]),
}
BAD = {
    "nested deeply": ("films.jsonl", JSON + "[" * 100_000, "in line 2 of"),
    "nested": ("films.jsonl", JSON + '{"video": ' + "[" * 500 + "]" * 500 + "}", "in line 2 of"),
    "long number": ("films.jsonl", JSON + '{"video": ' + "9" * 5000 + "}", "a number of 5000 digits in line 2 of"),
    "NaN": ("films.jsonl", '{"video": NaN}', "in line 1 of"),
    "list as row": ("films.jsonl", '["a.mp4"]', "a list instead of an object in line 1 of"),
    "number as row": ("films.jsonl", "5", "in line 1 of"),
    "object as pose": ("films.jsonl", '{"video": "a", "pose": {}}', r"'pose' \{\}, which is not .* in line 1 of"),
    "true as prompt": ("films.jsonl", '{"video": "a", "prompt": true}', "'prompt' True, which is not .* in line 1 of"),
    "empty video": ("films.jsonl", '{"video": ""}', "an empty video in line 1 of"),
    "null as video": ("films.jsonl", '{"video": null}', "'video' None, which is not text in line 1 of"),
    "other key": ("films.jsonl", '{"video": "a", "vidoe": "b"}', "the unknown 'vidoe' in line 1 of"),
    "half a character": ("films.jsonl", '{"video": "\\ud800"}', "half a character .* in line 1 of"),
    "escape in path": ("films.jsonl", '{"video": "a\\u001b[31m"}', r"character in video 'a\\x1b\[31m' in line 1"),
    "NUL in a path": ("films.jsonl", '{"video": "a\\u0000"}', "control character in video .* in line 1 of"),
    "no quote at the end": ("films.csv", 'video,prompt\na,b\nc,"d\n', "unexpected end of data in line 3 of"),
    "quotes inside": ("films.csv", 'video,prompt\na,"she said "no""\n', "in line 2 of"),
    "huge field": ("films.csv", "video\n" + "a" * 200_000 + "\n", "field larger than field limit .* in line 2 of"),
    "semicolons": ("films.csv", "video;pose\na.mp4;b.mp4\n", "must have the columns .*; got video;pose in line 1 of"),
    "column twice": ("films.csv", "video,video\na,b\n", "must have the columns .*, each once .* in line 1 of"),
    "column without a name": ("films.csv", "video,\na,b\n", "must have the columns .* in line 1 of"),
    "empty": ("films.csv", "", "got none in line 1 of"),
    "value too many": ("films.csv", "video,pose\na,b,c\n", "got 3 values for 2 columns in line 2 of"),
    "UTF-16": ("films.csv", "video\na.mp4\n".encode("utf-16"), "must be UTF-8 text .*; got no UTF-8 text"),
    "UTF-16 without a mark": ("films.csv", "video\na\n".encode("utf-16-le"), "must be UTF-8 text .*; got no UTF-8"),
    "Latin-1": ("films.jsonl", '{"video": "é.mp4"}'.encode("latin-1"), "must be UTF-8 text .*; got no UTF-8 text"),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_right_is_read(tmp_path, case):
    name, content, rows = GOOD[case]
    (tmp_path / name).write_bytes(content)
    assert list(read_films(tmp_path / name)) == rows


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_is_refused_with_its_line(tmp_path, case):
    name, content, message = BAD[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"^data .*{message}") as refused:
        list(read_films(tmp_path / name))
    assert type(refused.value) is InputError and str(refused.value).isprintable() and len(str(refused.value)) < 600


def test_a_caption(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf one\r\ntwo \r\n")
    assert read_caption(path) == "one\ntwo"
    for content in (b"caf\xe9", "one".encode("utf-16"), b"a\0b"):
        path.write_bytes(content)
        message = r"^data must have captions in UTF-8 text \(save them as such\); got no UTF-8 text .* in .*a\.txt\.$"
        with pytest.raises(ValueError, match=message):
            read_caption(path)


def mutated(rng, content):
    """Content with a few places changed, cut or said twice."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, other = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        piece = rng.choice(
            [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"{", b"[" * 300, b"9" * 5000, b"NaN", b"\\ud800", b"\x1b", b""]
        )
        content[at : other if rng.random() < 0.3 else at] = piece
    return bytes(content)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_whatever_is_in_a_list_it_is_read_or_refused(tmp_path, suffix):
    rng, path = random.Random(1), tmp_path / f"films{suffix}"
    rows = [{"video": "a.mp4", "pose": "b.mp4", "prompt": 'she "says", yes'}, {"video": "c.mp4"}]
    whole = b'video,pose,prompt\na.mp4,b.mp4,"she ""says"", yes"\nc.mp4,,\n'
    if suffix == ".jsonl":
        whole = "".join(json.dumps(row) + "\n" for row in rows).encode()
    refused = 0
    for _ in range(mutations(400)):
        path.write_bytes(mutated(rng, whole))
        try:
            list(read_films(path))
        except ValueError as error:
            refused += 1
            assert type(error) is InputError and str(error).startswith("data must ") and str(error).isprintable()
    assert refused > mutations(400) / 4
