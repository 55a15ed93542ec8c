"""The list of jobs in a file."""

import json

import pytest
from refusals import refusal

from everanimate_core.batch.jobs import read_jobs
from everanimate_core.errors import InputError


@pytest.fixture
def read(tmp_path):
    """read(text) -> the jobs in a file with this text."""

    def call(text):
        path = tmp_path / "jobs.jsonl"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_jobs(path)

    return call


def test_lines_with_their_numbers_and_what_they_say(read, tmp_path):
    jobs = read('{"name": "Tänzerin", "seed": 7}\n\n  \n{"frames": 9, "name": "dance (2)"}\r\n')
    assert [(job.line, job.name, job.values) for job in jobs] == [
        (1, "Tänzerin", {"seed": 7}),
        (4, "dance (2)", {"frames": 9}),
    ]
    assert {job.folder for job in jobs} == {tmp_path}


def test_a_file_from_windows_with_a_byte_order_mark(read):
    assert [job.name for job in read(b'\xef\xbb\xbf{"name": "a"}\r\n{"name": "b"}\r\n')] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 must be a JSON object with a name ("),
        ("[]", "line 2 must be a JSON object with a name ("),
        ("{}", "no 'name'."),
        ('{"name": 7}', "'name' 7, which is not text."),
        (
            '{"name": ""}',
            "line 2 must have a name that every system can keep (Tänzerin, dance (2)); got '': an empty name.",
        ),
        ('{"name": "../a"}', "'../a': the sign '/'."),
        ('{"name": "a:b"}', "the sign ':'."),
        ('{"name": "CON"}', "a device of Windows."),
        ('{"name": "a\\u0000"}', r"the sign '\x00'."),
        ('{"name": "a.mp4"}', "a name that files of a run have."),
        ('{"name": "FIRST"}', "line 2 must have a name of its own; got 'FIRST', which line 1 has."),
        ('{"name": "x", "seed": NaN}', "a number that is not finite (NaN)"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(read, line, said):
    message = refusal(read, json.dumps({"name": "first"}) + "\n" + line + "\n" + "{", kind=InputError)
    assert message.startswith("line 2 ") and said in message


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_a_file_without_jobs(read, text, tmp_path):
    with pytest.raises(InputError, match=r"^jobs must be a file of jobs, one a line .* got none in .*jobs\.jsonl\.$"):
        read(text)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"^jobs must be .* got a file that cannot be read \(No such file"):
        read_jobs(tmp_path / "none.jsonl")
