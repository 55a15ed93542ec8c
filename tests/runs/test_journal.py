import shutil

import pytest

from everanimate_core.runs.journal import Journal

HEADER = "step,loss,rate"


def test_rows_are_exact_and_those_after_the_step_are_written_once_more(tmp_path):
    path = tmp_path / "losses.csv"
    journal = Journal(path, HEADER, 0)
    losses = [1 / 3, 0.1, 2.0]
    for step, loss in enumerate(losses):
        journal.write(step, loss, 1e-4)
    rows = path.read_text().splitlines()
    assert rows[0] == "step,loss,rate"
    assert [float(row.split(",")[1]) for row in rows[1:]] == losses
    Journal(path, HEADER, 2).write(2, 2.0, 1e-4)
    assert path.read_text().splitlines() == rows


def test_texts_stand_as_they_are(tmp_path):
    path = tmp_path / "log.csv"
    journal = Journal(path, "step,loss,psnr_unseen", 1)
    for step in (5, 10, 15):
        journal.write(step, f"0.{step}", "")
    Journal(path, "step,loss,psnr_unseen", 11).write(15, "0.7", "20.1")
    assert path.read_text() == "step,loss,psnr_unseen\n5,0.5,\n10,0.10,\n15,0.7,20.1\n"


def test_a_row_cut_by_a_kill_does_not_stay(tmp_path):
    path = tmp_path / "losses.csv"
    Journal(path, HEADER, 0).write(0, 0.5, 1e-4)
    with path.open("a") as file:
        file.write("1,0.2")
    Journal(path, HEADER, 1).write(1, 0.25, 1e-4)
    assert path.read_text() == "step,loss,rate\n0,0.5,0.0001\n1,0.25,0.0001\n"


def test_a_damaged_log_is_never_a_reason_to_stop(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_bytes(b"step,loss,rate\n0,0.5,0.1\n\xff\xfe,1,2\n" + b"1" * 5000 + b",1,2\n1,0.25,0.1\n2,0.2\n")
    Journal(path, HEADER, 3).write(3, 0.125, 0.1)
    assert path.read_bytes() == b"step,loss,rate\n0,0.5,0.1\n1,0.25,0.1\n3,0.125,0.1\n"


def test_rows_wait_while_another_program_keeps_the_file(tmp_path, monkeypatch):
    """A spreadsheet on Windows: the file cannot be opened until it is closed there."""
    path = tmp_path / "losses.csv"
    journal = Journal(path, HEADER, 0)
    opened = type(path).open

    def held(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", held)
    journal.write(0, 0.5, 0.1)
    monkeypatch.setattr(type(path), "open", opened)
    journal.write(1, 0.25, 0.1)
    assert path.read_bytes() == b"step,loss,rate\n0,0.5,0.1\n1,0.25,0.1\n"


def test_a_log_in_a_folder_that_is_gone_is_an_error(tmp_path):
    (tmp_path / "out").mkdir()
    journal = Journal(tmp_path / "out" / "losses.csv", HEADER, 0)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        journal.write(0, 0.5, 0.1)
