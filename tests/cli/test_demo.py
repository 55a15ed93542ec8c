"""`everanimate demo`: what it hands to the demo, and numbers that cannot serve."""

from pathlib import Path

import pytest


@pytest.fixture
def handed(monkeypatch):
    """What the demo is called with, without making it."""
    calls = []
    for name in ("make_demo", "make_colour_demo"):
        monkeypatch.setattr(
            f"everanimate_core.cli.demo.{name}", lambda *inputs, name=name: calls.append((name, *inputs))
        )
    return calls


def test_without_options(command, handed):
    assert command(["demo"]) == (0, "", "")
    ((*inputs, say),) = handed
    assert inputs == ["make_demo", Path("demo"), 60.0, 0]
    assert callable(say)


def test_with_every_option(command, handed):
    more = ["--method", "colour", "--out", "there", "--seconds", "2.5", "--seed", "7"]
    assert command(["demo", *more]) == (0, "", "")
    assert handed[0][:4] == ("make_colour_demo", Path("there"), 2.5, 7)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400"])
def test_seconds_are_finite(command, handed, value):
    code, said, complaints = command(["demo", f"--seconds={value}"])
    assert (code, said) == (2, "")
    assert complaints == f"--seconds: must be a number, not NaN or infinity (60); got {float(value)}.\n"
    assert not handed


@pytest.mark.parametrize("seconds", ["0", "-1", "0.01"])
def test_less_than_a_frame_is_refused_and_nothing_is_written(command, tmp_path, seconds):
    code, said, complaints = command(["demo", "--out", str(tmp_path / "demo"), f"--seconds={seconds}"])
    assert (code, said) == (2, "")
    assert complaints == f"--seconds: must be at least 0.04 (60); got {float(seconds)}.\n"
    assert list(tmp_path.iterdir()) == []
