"""The options of a command out of JSON values."""

from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import pytest
from refusals import refusal

from everanimate_core.cli import animate, colour, train_precompute
from everanimate_core.cli.main import parse
from everanimate_core.cli.options import names
from everanimate_core.cli.values import allowed, from_values
from everanimate_core.errors import InputError

FOLDER = Path("/films")
LEAST = {"reference": "me.png", "out": "/out.mp4"}


def made(**values):
    return from_values(animate.Options, {**LEAST, **values}, FOLDER)


@pytest.mark.parametrize("command", [animate, colour, train_precompute])
def test_the_names_are_those_of_the_command_line(command):
    line = {option.removeprefix("--").lower() for option in names(command.Options).values()}
    assert set(allowed(command.Options)) == line


def test_values_are_what_the_command_line_reads():
    """Two ways to the same options."""
    values = {
        "reference": ["/films/a.png", "/films/b.png"],
        "out": "/out.mp4",
        "pose": "/films/pose.mp4",
        "model": "toy",
        "lora_strength": 0.5,
        "prompt": "a person",
        "dtype": "float32",
        "frames": 50,
        "fps": "30000/1001",
        "shift": 3,
        "seed-mode": "fixed",
        "latent_context": True,
        "resume": False,
        "engine": "litert",
        "retarget": "fit",
    }
    text = "--reference /films/a.png /films/b.png --out /out.mp4 --pose /films/pose.mp4 --model toy --lora-strength 0.5"
    arguments = [*text.split(), "--prompt", "a person", "--dtype", "float32", "--frames", "50", "--fps", "30000/1001"]
    arguments += [
        "--shift",
        "3",
        "--seed-mode",
        "fixed",
        "--latent-context",
        "--no-resume",
        "--engine",
        "litert",
        "--retarget",
        "fit",
    ]
    assert from_values(animate.Options, values, FOLDER) == parse(animate.Options, "animate", arguments)


def test_what_is_not_said_is_the_default():
    alone = parse(animate.Options, "animate", ["--reference", "/films/me.png", "--out", "/out.mp4"])
    assert made() == alone
    assert {part.name for part in fields(made())} == {part.name for part in fields(animate.Options)}


def test_paths_are_seen_from_the_folder():
    options = made(pose="../pose.mp4", lora="/loras/a.safetensors", prompts="in/prompts.txt", model="toy")
    assert options.reference == (Path("/films/me.png"),)
    assert (options.pose, options.lora) == (Path("/pose.mp4"), Path("/loras/a.safetensors"))
    assert (options.prompts, options.model) == (Path("/films/in/prompts.txt"), "toy")


@pytest.mark.parametrize(
    ("value", "rate"), [(25, 25), (23.976, Fraction("23.976")), ("30000/1001", Fraction(30000, 1001))]
)
def test_rates_are_exact(value, rate):
    assert made(fps=value).output.fps == rate


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"frames": "many"}, "frames must be a whole number; got many."),
        ({"frames": 1.5}, "frames must be a whole number; got 1.5."),
        ({"frames": True}, "frames must be a number; got True."),
        ({"frames": None}, "frames must be a number; got None."),
        ({"frames": [1]}, "frames must be a number; got [1]."),
        ({"fps": "fast"}, "fps must be a number or a fraction (25, 23.976, 30000/1001); got fast."),
        ({"tiled": "yes"}, "tiled must be true or false; got 'yes'."),
        ({"fit": "nice"}, "fit must be one of stretch, crop, pad, error; got 'nice'."),
        ({"fit": ["crop"]}, "fit must be one of stretch, crop, pad, error; got ['crop']."),
        ({"lora": 3}, "lora must be text; got 3."),
        ({"prompt": {}}, "prompt must be text; got {}."),
        ({"reference": ["a", 3]}, "reference must be text, or a list of texts; got ['a', 3]."),
        ({"reference": []}, "reference must have 1 or more; got none."),
        ({"seed_mode": "fixed", "seed-mode": "fixed"}, "seed_mode must be given once; got it with - and with _."),
    ],
)
def test_values_that_do_not_fit(values, said):
    assert refusal(made, kind=InputError, **values) == said


def test_an_option_that_there_is_not():
    assert refusal(made, total_frames=9, kind=InputError).startswith(
        "total_frames must be an option of the command (reference, out, pose, face, "
    )


def test_an_option_that_is_missing():
    assert (
        refusal(from_values, animate.Options, {"reference": "a.png"}, FOLDER, kind=InputError)
        == "out must be given; got none."
    )
