from everanimate_core.training.journal import Journal


def test_rows_are_exact_and_those_after_the_step_are_written_once_more(tmp_path):
    path = tmp_path / "losses.csv"
    journal = Journal(path, 0)
    losses = [1 / 3, 0.1, 2.0]
    for step, loss in enumerate(losses):
        journal.write(step, loss, 1e-4)
    rows = path.read_text().splitlines()
    assert rows[0] == "step,loss,rate"
    assert [float(row.split(",")[1]) for row in rows[1:]] == losses
    Journal(path, 2).write(2, 2.0, 1e-4)
    assert path.read_text().splitlines() == rows


def test_a_row_cut_by_a_kill_does_not_stay(tmp_path):
    path = tmp_path / "losses.csv"
    Journal(path, 0).write(0, 0.5, 1e-4)
    with path.open("a") as file:
        file.write("1,0.2")
    Journal(path, 1).write(1, 0.25, 1e-4)
    assert path.read_text() == "step,loss,rate\n0,0.5,0.0001\n1,0.25,0.0001\n"
