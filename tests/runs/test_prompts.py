import re

import pytest
from refusals import refusal

from everanimate_core.plan import ChunkPlan
from everanimate_core.runs.prompts import chunk_prompts, read_prompts


@pytest.fixture
def write(tmp_path):
    def file(text, encoding="utf-8"):
        path = tmp_path / "prompts.txt"
        path.write_bytes(text.encode(encoding))
        return path

    return file


def test_lines_of_frame_and_prompt(write):
    path = write("0: a woman dances\n\n  75 :  she turns: slowly  \n1000:\n")
    assert read_prompts(path) == [(0, "a woman dances"), (75, "she turns: slowly"), (1000, "")]
    assert read_prompts(str(path)) == read_prompts(path)


def test_files_from_windows(write):
    assert read_prompts(write("\ufeff0: né\r\n5: b\r\n")) == [(0, "né"), (5, "b")]


@pytest.mark.parametrize(
    ("text", "line", "number"),
    [
        ("0: a\nshe turns\n", "she turns", 2),
        ("0: a\n\n5 she turns\n", "5 she turns", 3),
        ("0: a\nshe turns: slowly\n", "she turns: slowly", 2),
        ("0: a\n-5: b\n", "-5: b", 2),
        ("0: a\n5.5: b\n", "5.5: b", 2),
        ("0: a\n²: b\n", "²: b", 2),
        ("0: a\n: b\n", ": b", 2),
        ("0: a\n5: b\n5: c\n", "5: c", 3),
        ("0: a\n5: b\n4: c\n", "4: c", 3),
        ("0: a\n0: b\n", "0: b", 2),
        ("\n1: a\n", "1: a", 2),
        ("0: a\n1000000000: b\n", "1000000000: b", 2),
        ("0: a\n\x1b[31m: b\n", "\x1b[31m: b", 2),
    ],
)
def test_a_line_that_is_none_is_named(write, text, line, number):
    path = write(text)
    assert refusal(read_prompts, path) == (
        "prompts must be lines of `frame: prompt`, frames rising from 0 (0: a woman dances); "
        f"got {line!r} in line {number} of {path}."
    )


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file(write, text):
    path = write(text)
    assert refusal(read_prompts, path) == (
        f"prompts must have a line for frame 0 (0: a woman dances); got none in {path}."
    )


def test_a_file_that_is_no_text(write):
    path = write("0: né", "latin-1")
    assert refusal(read_prompts, path) == (
        f"prompts must be a file of UTF-8 text (save it as such); got no UTF-8 text (byte 4 is 0xe9) in {path}."
    )


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        assert refusal(read_prompts, path) == f"prompts must be a file that is there (prompts.txt); got {path}."


def test_every_chunk_has_the_prompt_of_its_first_new_frame():
    # The chunks add the frames 0..8, 9..13, 14..18, 19..23.
    plan = ChunkPlan(24, chunk_frames=9, overlap=4)
    assert chunk_prompts([(0, "a")], plan) == ["a"] * 4
    assert chunk_prompts([(0, "a"), (9, "b")], plan) == ["a", "b", "b", "b"]
    assert chunk_prompts([(0, "a"), (10, "b")], plan) == ["a", "a", "b", "b"]
    assert chunk_prompts([(0, "a"), (14, "b"), (15, "c"), (19, "d")], plan) == ["a", "a", "b", "d"]
    # Beyond the end: for when the run is made longer.
    assert chunk_prompts([(0, "a"), (24, "b")], plan) == ["a"] * 4
    assert chunk_prompts([(0, "a"), (24, "b")], ChunkPlan(25, 9, 4))[4:] == ["b"]


def test_a_number_without_end_is_a_line_of_ours(write):
    told = refusal(read_prompts, write("0: a\n" + "9" * 5000 + ": b\n"))
    assert re.match(r"prompts must be lines of .* got '99+\.\.\.9+: b' in line 2 of", told)
    assert len(told) < 400


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_text_of_another_encoding(write, encoding):
    told = refusal(read_prompts, write("0: a", encoding))
    assert told.startswith("prompts must be a file of UTF-8 text (save it as such); got no UTF-8 text")
