"""`everanimate train-toy`: what it hands to the training, and limits that cannot serve."""

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", (Path("toy"), 0, None, False, ())),
        ("--seed 7 --minutes 1.5 --compile", (Path("toy"), 7, 1.5, True, ())),
        ("--no-compile", (Path("toy"), 0, None, False, ())),
        ("--only memory baseline", (Path("toy"), 0, None, False, ("memory", "baseline"))),
    ],
)
def test_what_is_handed_on(command, monkeypatch, more, expected):
    calls = []
    monkeypatch.setattr("everanimate_core.cli.train_toy.train_toy", lambda *inputs: calls.append(inputs))
    assert command(["train-toy", "--out", "toy", *more.split()]) == (0, "", "")
    assert calls == [expected]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--minutes", "nan"], "--minutes: must be a finite number above 0 (600); got nan."),
        (["--minutes", "inf"], "--minutes: must be a finite number above 0 (600); got inf."),
        (["--minutes", "0"], "--minutes: must be a finite number above 0 (600); got 0.0."),
        (["--seed", "-1"], "--seed: must be between 0 and 2^32 - 1 (0); got -1."),
        (["--seed", str(2**32)], f"--seed: must be between 0 and 2^32 - 1 (0); got {2**32}."),
    ],
)
def test_limits_that_cannot_serve_are_refused_and_nothing_is_written(command, tmp_path, more, message):
    assert command(["train-toy", "--out", str(tmp_path / "toy"), *more]) == (2, "", f"{message}\n")
    assert list(tmp_path.iterdir()) == []
