"""`everanimate train precompute`: a set of the toy's worlds that is completed, and what cannot serve."""

import json

import pytest
from cli_parts import DATA, state, unboxed

pytestmark = pytest.mark.usefixtures("new_accelerator")
SIZES = ["--width", "32", "--height", "16", "--chunk-frames", "9", "--candidates", "6"]
TOY = ["--data", "toy", "--model", "toy"]


def test_a_set_is_made_and_completed(command, tmp_path):
    out = tmp_path / "set"
    few, more = (["train", "precompute", *TOY, "--out", str(out), *SIZES, "--films", count] for count in "12")
    code, said, complaints = command(few)
    assert (code, complaints) == (0, "")
    assert said.endswith(f"Wrote {out}: 1 films, 0 left out\n")
    facts = json.loads((out / "set.json").read_text(encoding="utf-8"))["settings"]
    shown = {name: facts[name] for name in ("width", "height", "fps", "fit", "candidates")}
    assert shown == {"width": 32, "height": 16, "fps": "25", "fit": "crop", "candidates": 6}
    assert facts["geometry"]["frames"] == 9
    before = state(out)["000000.safetensors"]
    code, said, _ = command(more)
    assert (code, said.splitlines()[-1]) == (0, f"Wrote {out}: 2 films, 0 left out")
    assert state(out)["000000.safetensors"] == before


FILMS = [*TOY, "--films", "4"]
REFUSED = [
    (TOY, "--films: must be between 1 and 1000000 with --data toy (1024); got none."),
    ([*TOY, "--films", "0"], "--films: must be between 1 and 1000000 with --data toy (1024); got 0."),
    ([*TOY, "--films", "-4"], "--films: must be between 1 and 1000000 with --data toy (1024); got -4."),
    ([*TOY, "--films", "1000000000000"], "--films: must be between 1 and 1000000 with --data toy (1024); got 1000000"),
    (
        [*FILMS, "--data", str(DATA)],
        "--films: must be left out unless --data is toy or toy-lit, whose worlds it counts; got it",
    ),
    (["--data", "nowhere", "--model", "toy"], "--data: must be a folder, a .csv or a .jsonl file that exists"),
    ([*FILMS, "--model", "nowhere"], "--model: must be a folder or file that is there; got nowhere."),
    ([*FILMS, "--width", "30"], "--width: must be a multiple of 16 (832); got 30."),
    ([*FILMS, "--height", "8"], "--height: must be between 16 and 8192 (480); got 8."),
    ([*FILMS, "--chunk-frames", "8"], "--chunk-frames: must be 4n + 1, such as 5 or 9; got 8."),
    ([*FILMS, "--fps", "0"], "--fps: must be above 0 and at most 1000 (25, 29.97, 30000/1001); got 0."),
    ([*FILMS, "--fps", "1001"], "--fps: must be above 0 and at most 1000 (25, 29.97, 30000/1001); got 1001."),
    ([*FILMS, "--candidates", "38"], "--candidates: must be between the 4 anchors and the 37 frames of a first chunk"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_serve_is_refused_and_nothing_is_written(command, tmp_path, arguments, message):
    code, said, complaints = command(["train", "precompute", *arguments, "--out", str(tmp_path / "out")])
    assert (code, said) == (2, "")
    assert complaints.startswith(message) and complaints.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--films", "x"], "--films: must be a whole number; got x."),
        (["--fps", "x"], "--fps: must be a number or a fraction (25, 23.976, 30000/1001); got x."),
        (["--stage", "1"], "Unrecognized options: --stage"),
    ],
)
def test_options_that_do_not_parse(command, tmp_path, option, message):
    code, said, complaints = command(["train", "precompute", *TOY, *option, "--out", str(tmp_path / "out")])
    assert (code, said) == (2, "")
    assert message in unboxed(complaints)
    assert list(tmp_path.iterdir()) == []
