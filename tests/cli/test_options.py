"""The options of every command: those of 0.1.0 with their defaults, what came later, and what their help says."""

import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import pytest
from cli_parts import unboxed

from everanimate_core.cli.colour import RELEASED_SIZE
from everanimate_core.cli.main import COMMANDS, parse
from everanimate_core.cli.options import as_options, called, chosen, names, settings_options
from everanimate_core.driving.settings import Settings as DrivingSettings
from everanimate_core.errors import InputError
from everanimate_core.everanimate.settings import Settings
from everanimate_core.knobs import knob, knobs
from everanimate_core.longanimation.settings import Settings as ColourSettings
from everanimate_core.runs.settings import RunSettings
from everanimate_core.training.pace import Pace
from everanimate_core.training.recipe import Recipe

ROOMS = (Settings, RunSettings, DrivingSettings, Recipe, Pace)
TOYS = ("toy", "toy-baseline", "toy-memory", "toy-full", "toy-even-baseline")
# Those of the settings of driving videos; rates are fractions.
DRIVING = {f"--{name.replace('_', '-')}": setting.default for name, setting in knobs(DrivingSettings).items()}
DRIVING["--fps"] = Fraction(0)
# {command: (the fewest arguments, {option: its value then})}. None: what the model was trained at, or that there is
# none.
# `--fps 0` is what no --fps was: that of the pose.
OPTIONS = {
    "animate": (
        "--reference a.png --out o.mp4",
        {
            "--reference": (Path("a.png"),),
            "--out": Path("o.mp4"),
            "--pose": None,
            "--video": None,
            "--face": None,
            "--background": None,
            "--mask": None,
            "--model": "toy",
            "--parts": None,
            "--lora": None,
            "--lora-strength": 1.0,
            "--prompt": "",
            "--prompts": None,
            "--negative-prompt": "",
            "--width": None,
            "--height": None,
            "--frames": 0,
            "--fps": 0,
            "--steps": None,
            "--shift": 5.0,
            "--cfg": 1.0,
            "--seed": 0,
            "--seed-mode": "released",
            "--identity-latents": 4,
            "--motion-latents": 1,
            "--chunk-frames": None,
            "--overlap": 4,
            "--continuation": "pingpong",
            "--keyframes": "random",
            "--clip-source": "last_frame",
            "--fit": "stretch",
            "--tiled": False,
            "--latent-context": False,
            "--restore": 0.0,
            "--restore-schedule": "gaussian",
            "--restore-target": "statistics",
            "--device": None,
            "--dtype": None,
            "--processes": 1,
            "--run": None,
            "--from-chunk": 0,
            "--on-change": "new take",
            "--only-chunk": -1,
            "--candidates": 1,
            "--beside": "all",
            "--resume": True,
            "--engine": "auto",
            "--pose-models": None,
            "--keypoints": None,
            **{name: value for name, value in DRIVING.items() if name not in ("--width", "--height", "--fps")},
        },
    ),
    "prepare": (
        "",
        {
            "VIDEO": None,
            "--reference": None,
            "--out": None,
            "--engine": "auto",
            "--pose-models": None,
            "--keypoints": None,
            "--fetch-models": False,
            **DRIVING,
        },
    ),
    "demo": (
        "",
        {
            "--method": "animate",
            "--out": Path("demo"),
            "--seconds": 60.0,
            "--seed": 0,
            "--video": None,
            "--engine": "auto",
            "--pose-models": None,
            "--keypoints": None,
        },
    ),
    "ablate": (
        "",
        {
            "--method": "animate",
            "--memory": False,
            "--out": Path("ablation"),
            "--rows": (),
            "--seconds": None,
            "--worlds": 8,
            "--first-world": 100,
            "--noises": 2,
            "--scene": (),
            "--set": (),
            "--planted": False,
            "--weights": None,
            "--lpips": None,
            "--lora": (),
        },
    ),
    "train": (
        "--stage 1 --data d --model toy --out o",
        {
            "--stage": 1,
            "--data": Path("d"),
            "--model": "toy",
            "--parts": None,
            "--out": Path("o"),
            "--resume": False,
            "--lora": None,
            "--from-scratch": False,
            "--recipe": "released",
            "--rank": None,
            "--steps": 4000,
            "--batch": 8,
            "--accumulate": None,
            "--rate": 1e-4,
            "--schedule": "gaussian",
            "--augmented": 0.5,
            "--perturbation": None,
            "--perturbed-motion": 0.0,
            "--rate-schedule": "constant",
            "--warmup": 100,
            "--clip-norm": 0.0,
            "--ema": 0.0,
            "--quantised": "none",
            "--held-out": 0,
            "--seed": 0,
            "--dry-run": False,
            "--launch": None,
            "--precision": None,
            "--checkpointing": True,
            "--offload": False,
            "--workers": None,
            "--save-every": 250,
            "--sample-every": 0,
        },
    ),
    "train precompute": (
        "--data d --model toy --out o",
        {
            "--data": "d",
            "--model": "toy",
            "--parts": None,
            "--out": Path("o"),
            "--films": None,
            "--width": None,
            "--height": None,
            "--chunk-frames": None,
            "--fps": 25,
            "--fit": "crop",
            "--candidates": 16,
            "--reference": "start",
            "--anchors": "released",
            "--motion-pixels": False,
        },
    ),
    "train-toy": ("--out o", {"--out": Path("o"), "--seed": 0, "--minutes": None, "--only": (), "--compile": False}),
    "evaluate": (
        "",
        {
            "VIDEO": None,
            "--against": None,
            "--reference": None,
            "--out": None,
            "--chunk-frames": 77,
            "--overlap": 4,
            "--face-boxes": None,
            "--person-boxes": None,
            "--reference-box": None,
            "--lpips": None,
            "--inception": None,
            "--videomae": None,
            "--fetch-lpips": None,
        },
    ),
    "takes": ("dance.mp4", {"RUN": Path("dance.mp4"), "--prune": None, "--yes": False}),
    "post": (
        "g.json",
        {"GRAPH": Path("g.json"), "[NODE.INPUT=VALUE...]": None, "--server": "http://127.0.0.1:8188"},
    ),
    "batch status": ("results", {"ROOT": Path("results")}),
    "batch": (
        "jobs.jsonl --out results",
        {
            "JOBS.jsonl": Path("jobs.jsonl"),
            "--out": Path("results"),
            "--address": None,
            "--gpus-per-job": 1.0,
            "--engine": "diffusers",
            "--graph": None,
            "--comfyui": None,
            "--python": None,
            "--comfyui-arguments": "",
        },
    ),
    "lora inspect": ("f.safetensors", {"FILE": Path("f.safetensors")}),
    "lora convert": (
        "s.safetensors d.safetensors",
        {
            "SOURCE": Path("s.safetensors"),
            "DESTINATION": Path("d.safetensors"),
            "--format": "comfyui",
            "--dtype": None,
        },
    ),
    "colour": (
        "l.mp4 --reference r.png --out o.mp4",
        {
            "LINEART": Path("l.mp4"),
            "--reference": Path("r.png"),
            "--out": Path("o.mp4"),
            "--model": "toy",
            "--sketch": None,
            "--memory-file": None,
            "--video-model": None,
            "--reference-lineart": None,
            "--prompt": "",
            "--prompts": None,
            "--negative-prompt": "",
            "--device": None,
            "--dtype": None,
            "--run": None,
            "--steps": None,
            "--cfg": None,
            "--seed": 0,
            "--seed-mode": "fixed",
            "--window-frames": 81,
            "--overlap": 17,
            "--reference-mode": "global",
            "--strength": 0.5,
            "--blocks": "skip-layer",
            "--fuse": True,
            "--fuse-from": None,
            "--lines": "dark_on_light",
            "--threshold": 0.78,
            "--memory-frames": 650,
            "--local-frames": 20,
            "--memory-append": False,
            "--width": None,
            "--height": None,
            "--frames": 0,
            "--fps": 0,
            "--fit": "stretch",
            "--tiled": False,
            "--resume": True,
            "--from-chunk": 0,
            "--on-change": "new take",
            "--only-chunk": -1,
            "--candidates": 1,
            "--beside": "all",
        },
    ),
    "longanimation convert": (
        "a.safetensors b.safetensors",
        {"SOURCE": Path("a.safetensors"), "DESTINATION": Path("b.safetensors"), "--dtype": None, "--video-xl": False},
    ),
}


def options_of(name):
    """The dataclass of a command's options."""
    return import_module(f"everanimate_core.cli.{name.replace(' ', '_').replace('-', '_')}").Options


def parsed(name, more=""):
    """The options of a command with the fewest arguments, and `more`."""
    return parse(options_of(name), name, f"{OPTIONS[name][0]} {more}".split())


def flat(options):
    """{option: value} of a dataclass of options."""
    own, found = names(type(options)), {}
    for field, value in vars(options).items():
        found |= flat(value) if is_dataclass(value) else {own[field]: value}
    return found


def required(name):
    """The options that a command must be given."""
    own, options = names(options_of(name)), fields(options_of(name))
    return {own[part.name] for part in options if part.default is MISSING and part.default_factory is MISSING}


@pytest.fixture
def help_of(command, monkeypatch):
    """help_of(name) -> {option: what the help says of it, from its metavar to its default}."""
    # Where there is room for two boxes beside each other, they could not be read.
    monkeypatch.setenv("COLUMNS", "100")

    def read(name):
        code, said, complaints = command([*name.split(), "--help"])
        assert (code, complaints) == (0, "")
        wanted = names(options_of(name)).values()
        first = [re.match(r"[│ ]{0,2}([^\s,]*)", line)[1] for line in said.splitlines()]
        starts = [number for number, word in enumerate(first) if word in wanted]
        found = {}
        for start, end in zip(starts, [*starts[1:], None], strict=True):
            entry = unboxed("\n".join(said.splitlines()[start:end])).removeprefix(first[start])
            found[first[start]] = re.match(r".*?\((default: [^)]*|required)\)|.*", entry)[0]
        return found

    return read


def test_every_command_is_looked_at():
    assert OPTIONS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", OPTIONS)
def test_options_and_defaults(name):
    assert flat(parsed(name)) == OPTIONS[name][1]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_a_help_with_its_default(name, help_of):
    said = help_of(name)
    assert said.keys() == OPTIONS[name][1].keys()
    for option, text in said.items():
        sentence, default = re.fullmatch(r"(.*[a-z].*) \((default: .+|required)\)", text).groups()
        assert sentence.endswith(".") and len(sentence.split()) > 2, option
        assert (default == "required") == (option in required(name)), option
        value = OPTIONS[name][1][option]
        if option not in required(name) and value not in (None, "", ()):
            values = value if isinstance(value, tuple) else (value,)
            assert default == f"default: {' '.join(map(str, values))}", option


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_of_a_setting_with_a_unit_says_it(name, help_of):
    said, own = help_of(name), names(options_of(name))
    declared = [setting for room in ROOMS for setting in knobs(room).values() if setting.unit and setting.name in own]
    for setting in declared:
        unit = setting.unit.upper().replace(" ", "-")
        assert said[own[setting.name]].split()[0] == unit, setting.name
    assert bool(declared) == (name in ("animate", "prepare", "colour", "train", "train precompute", "evaluate"))


@pytest.mark.parametrize("model", ["Wan2.2-Animate-14B-Diffusers", "toy", "toy-baseline"])
def test_the_settings_of_animate_are_those_of_the_core_or_what_the_toy_was_trained_at(model):
    options = parsed("animate", f"--model {model}")
    settings, video = chosen(Settings, options.settings, model), chosen(RunSettings, options.output, model)
    if model in TOYS:
        assert settings == Settings(steps=4, chunk_frames=33)
        assert video == RunSettings(width=64, height=64)
    else:
        assert settings == Settings()
        assert video == RunSettings()


@pytest.mark.parametrize("model", ["CogVideoX1.5-5B-I2V", "toy"])
def test_the_settings_of_colour_are_those_of_the_core_at_the_released_size_or_what_its_toy_was_trained_at(model):
    options = parsed("colour", f"--model {model}")
    settings = chosen(ColourSettings, options.settings, model)
    video = chosen(RunSettings, options.video, model, RELEASED_SIZE)
    if model == "toy":
        assert settings == ColourSettings(steps=10, cfg=1.0, fuse_from=6)
        assert video == RunSettings(width=64, height=64)
    else:
        assert settings == ColourSettings()
        assert video == RunSettings(width=1024, height=576)


def test_what_is_given_goes_before_what_the_toy_was_trained_at():
    options = parsed("animate", "--steps 20 --width 832 --frames 9 --fps 23.976 --no-resume")
    assert chosen(Settings, options.settings, "toy") == Settings(steps=20, chunk_frames=33)
    expected = RunSettings(width=832, height=64, total_frames=9, fps=Fraction("23.976"), resume=False)
    assert chosen(RunSettings, options.output, "toy") == expected


def test_the_settings_of_precompute_are_those_of_animate_but_for_the_crop():
    options = parsed("train precompute", "--model Wan2.2-Animate-14B-Diffusers")
    assert chosen(Settings, options.chunk, options.model) == Settings()
    assert chosen(RunSettings, options.video, options.model) == RunSettings(fit="crop")


@dataclass(frozen=True)
class Grown(Settings):
    """The settings, with one more of each kind."""

    new_count: int = knob(3, "How many.", low=1, high=9, unit="pieces")
    new_share: float = knob(0.5, "How much.", low=0.0, high=1.0)
    new_way: str = knob("up", "Which way.", choices=("up", "down"))
    new_switch: bool = knob(False, "Whether.")
    new_text: str = knob("", "Which words.")
    new_point: str = knob("1,2", "Which point.", unit="x,y")


def test_a_new_setting_is_an_option_without_anything_else(capsys):
    options = settings_options(Grown)
    assert list(names(options)) == list(knobs(Grown))
    assert chosen(Grown, parse(options, "grown", []), "wan") == Grown()
    given = "--new-count 4 --new-share 0.25 --new-way down --new-switch --new-text x --new-point 3,4 --seed 5"
    new = {
        "new_count": 4,
        "new_share": 0.25,
        "new_way": "down",
        "new_switch": True,
        "new_text": "x",
        "new_point": "3,4",
    }
    expected = Grown(seed=5, **new)
    for model in ("wan", *TOYS):
        assert chosen(Grown, parse(options, "grown", given.split()), model) == expected
    with pytest.raises(SystemExit):
        parse(options, "grown", ["--help"])
    said = unboxed(capsys.readouterr().out)
    for entry in (
        "--new-count PIECES How many. (default: 3)",
        "--new-share N How much. (default: 0.5)",
        "--new-way {up,down} Which way. (default: up)",
        "--new-switch, --no-new-switch Whether. (default: False)",
        "--new-text TEXT Which words. (default: none)",
        "--new-point X,Y Which point. (default: 1,2)",
    ):
        assert entry in said


@pytest.mark.parametrize("model", ["wan", "toy"])
def test_a_new_setting_out_of_its_range_is_refused_by_its_option(model):
    options = parse(settings_options(Grown), "grown", ["--new-count", "10"])
    with pytest.raises(InputError) as refused:
        chosen(Grown, options, model)
    assert called(type(options), refused.value.field) == "--new-count"


@pytest.mark.parametrize("name", OPTIONS)
def test_the_help_names_options_as_the_command_line_does(name, help_of):
    settings = {setting for room in (*ROOMS, ColourSettings) for setting in knobs(room) if "_" in setting}
    for option, text in help_of(name).items():
        assert not settings & set(re.findall(r"\w+(?!\.\w|\w)", text)), option  # held_out.csv is a file
        assert "None" not in text, option


def test_settings_in_words_are_options_and_parts_of_paths_are_not():
    def called_here(name):
        return called(options_of("animate"), name)

    assert as_options("0 and chunk_frames - 2; got pose_video.", called_here) == "0 and --chunk-frames - 2; got --pose."
    for path in ("pose_video.mp4", "/pose_video/a.mp4", "C:\\pose_video", "my pose_video.mov", "last_frame"):
        assert as_options(path, called_here) == path


def test_what_fields_of_errors_are_called():
    options = options_of("animate")
    assert called(options, "seed_mode") == "--seed-mode"
    assert called(options, "total_frames") == "--frames"
    assert called(options, "pose_video") == called(options, "pose") == "--pose"
    assert called(options, "background_video and character_mask") == "--background and --mask"
    assert called(options_of("evaluate"), "video") == "VIDEO"
    # No options: words, the groups that options stand in, and settings of other commands.
    for field in ("", "this run", "frames", "settings", "output", "rank", "seed and rank"):
        assert called(options, field) is None
