"""How a command's options are declared: fields of a dataclass, from which tyro makes the command line.

Options that are settings come from where the settings are declared: `settings_options(Settings)`.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field, is_dataclass, make_dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from ..errors import one_line
from ..everanimate.settings import Settings
from ..knobs import Knob, knobs
from ..longanimation.settings import Settings as ColourSettings
from ..runs.settings import RunSettings
from ..toy.network.colour_state import SETTINGS as COLOUR_TOY_SETTINGS
from ..toy.network.state import SETTINGS as TOY_SETTINGS
from ..toy.network.state import TOY, TOYS
from ..toy.world.raster import SIZE as TOY_SIZE
from ..training.pace import Pace

# Settings and inputs whose options have shorter names than they.
_OPTIONS = {
    "total_frames": "frames",
    "restore_strength": "restore",
    "pose_video": "pose",
    "face_video": "face",
    "background_video": "background",
    "character_mask": "mask",
    "reference_images": "reference",
}
# Without exponents: one of many digits would take hours to be read.
_RATE = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9}|/[0-9]{1,9})?")
# A name of two words or more, as settings have them; what is a part of a path is none.
_NAME = re.compile(r"(?<![\w./\\-])[a-z]+(?:_[a-z]+)+(?![\w/\\]|\.\w)")
# What the toy was trained at, where it is not what was released.
_TOY_VALUES: dict[type, dict[str, Any]] = {
    Settings: {"chunk_frames": TOY_SETTINGS.chunk_frames, "steps": TOY_SETTINGS.steps},
    ColourSettings: {name: getattr(COLOUR_TOY_SETTINGS, name) for name in ("steps", "cfg", "fuse_from")},
    RunSettings: {"width": TOY_SIZE, "height": TOY_SIZE},
    # A batch at once, in one process: so small that nothing is gained otherwise.
    Pace: {"accumulate": 1, "workers": 0},
}


def option_name(name: str) -> str:
    """The option of a setting or input: total_frames -> frames, seed_mode -> seed-mode."""
    return _OPTIONS.get(name, name).replace("_", "-")


def names(options: type) -> dict[str, str]:
    """What the command line calls the fields of a dataclass of options: {"seed_mode": "--seed-mode", "file": "FILE"}.

    Those of a dataclass within it are its own, as on the command line.
    """
    found: dict[str, str] = {}
    for name, kind in get_type_hints(options, include_extras=True).items():
        inside = kind.__origin__
        if isinstance(inside, type) and is_dataclass(inside):
            found |= names(inside)
        else:
            placed = tyro.conf.Positional in kind.__metadata__
            metavars = (getattr(part, "metavar", "") for part in kind.__metadata__)
            found[name] = next(filter(None, metavars)) if placed else f"--{option_name(name)}"
    return found


def called(options: type, field: str) -> str | None:
    """What the command line calls a field of an InputError, or two ("a and b"); None for what is no option."""
    own = names(options)
    parts = [own.get(part) or own.get(option_name(part).replace("-", "_"), "") for part in field.split(" and ")]
    return " and ".join(parts) if all(parts) else None


def as_options(text: str, called: Callable[[str], str | None]) -> str:
    """`text` with the settings in it as the command line calls them: chunk_frames - 2 -> --chunk-frames - 2."""
    return _NAME.sub(lambda name: called(name[0]) or name[0], text)


def naming(options: type) -> Callable[[str], str]:
    """What the command line calls the settings and inputs of a dataclass of options, for the notes of a method."""
    own = names(options)
    return lambda name: own.get(name) or own[option_name(name).replace("-", "_")]


def option(kind: Any, help: str, metavar: str | None, default: Any = None) -> Any:
    """The type of a field that is an option. default: what its help says is used without it, None if it is required."""
    hint = "" if default is None else f"(default: {default})"
    return Annotated[_readable(kind), tyro.conf.arg(help=help, metavar=metavar, help_behavior_hint=hint)]


def _spec(read: Callable[[list[str]], Any], nargs: int | Literal["*"] = 1) -> Any:
    """How tyro reads an option; what `read` says of a text that cannot be read is shown."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=nargs,
        metavar="",
        instance_from_str=read,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def _one(kind: type, text: str) -> Any:
    """A value of the type `kind`; where int and float would speak of literals and bases, plain words."""
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"must be {what}; got {one_line(text, 40)}.") from None


def _readable(kind: Any) -> Any:
    """A number, or a number or None, with what reads it."""
    number = next((number for number in (int, float) if kind in (number, number | None)), None)
    return kind if number is None else Annotated[kind, _spec(lambda texts: _one(number, texts[0]))]


def several(kind: type, least: int = 1, most: int | None = None) -> Any:
    """The type of an option with so many values, one or more if nothing is said; a tuple."""

    def read(texts: list[str]) -> tuple:
        if not least <= len(texts) <= (len(texts) if most is None else most):
            rule = f"{least} or more" if most is None else f"at most {most}"
            raise ValueError(f"must have {rule}; got {len(texts) or 'none'}.")
        return tuple(_one(kind, text) for text in texts)

    return Annotated[tuple[kind, ...] | None, _spec(read, least if least == most else "*")]


def _fps(texts: list[str]) -> Fraction:
    with suppress(ValueError, ZeroDivisionError):  # ZeroDivisionError: "1/0"
        if _RATE.fullmatch(texts[0]):
            return Fraction(texts[0])
    raise ValueError(f"must be a number or a fraction (25, 23.976, 30000/1001); got {one_line(texts[0], 40)}.")


# A frame rate, exact: 25, 23.976 or 30000/1001.
Fps = Annotated[Fraction, _spec(_fps)]
MODEL = f"Diffusers folder, transformer file, or one that is embedded: {', '.join(map(repr, TOYS))}."
# Options that several commands have.
Prompt = option(str, "What the video is to show, in words.", "TEXT", "none")
Prompts = option(
    Path | None, "Prompts that change: lines of `frame: prompt`, such as `125: a person waves`.", "FILE", "none"
)
NegativePrompt = option(str, "What it is not to show. It counts only where --cfg is not 1.", "TEXT", "none")
Device = option(
    str | None,
    "Where the network runs, as torch calls it: cpu, cuda, cuda:1.",
    "DEVICE",
    "the accelerator, if there is one",
)
Dtype = option(
    Literal["bfloat16", "float32"] | None,
    "Number type of the network.",
    "{bfloat16,float32}",
    "float32 on a CPU, else bfloat16",
)
SavedDtype = option(
    Literal["float32", "float16", "bfloat16"] | None,
    "Number type of the written weights.",
    "{float32,float16,bfloat16}",
    "as they are",
)
Parts = option(Path | None, "Diffusers folder for all but the transformer, if --model is a file.", "DIR", "none")


def settings_options(
    settings: type,
    *only: str,
    released: Mapping[str, Any] = {},
    helps: Mapping[str, str] = {},
    otherwise: Mapping[str, str] = {},
) -> type:
    """A dataclass of options, one for each knob of a class of settings, or for these only.

    What the toy was trained at otherwise is None where it is not given; see `chosen`. released, helps: defaults and
    words of a command that are not those of the settings. otherwise: of settings that another option decides where they
    are not given, what the help says of that; they are None then.
    """
    toy = _TOY_VALUES.get(settings, {})
    other = {name: f"{value} for --model {TOY}" for name, value in toy.items()} | dict(otherwise)
    own = {name: f"--{option_name(name)}" for name in knobs(settings)}
    declared = [
        _field(
            replace(
                knob,
                default=released.get(name, knob.default),
                help=as_options(helps.get(name, knob.help), own.get),
            ),
            other.get(name),
        )
        for name, knob in knobs(settings).items()
        if not only or name in only
    ]
    return make_dataclass(f"{settings.__name__}Options", declared, frozen=True)


def _field(declared: Knob, other: str | None) -> tuple[str, Any, Any]:
    """A setting as a field of options. other: what is said of another default, None where there is none."""
    kind: Any
    kind, default = declared.kind, declared.default
    if declared.choices is not None:
        kind = Literal[declared.choices]
    elif declared.name == "fps":
        kind, default = Fps, Fraction(default)
    shown = "none" if default == "" else default
    if other is not None:
        kind, default, shown = kind | None, None, f"{shown}, {other}"
    metavar: str | None = declared.unit.replace(" ", "-").upper() or ("TEXT" if declared.kind is str else "N")
    if declared.choices is not None:
        metavar = f"{{{','.join(declared.choices)}}}"  # tyro would count None among them
    elif declared.kind is bool:
        metavar = None  # tyro shows both ways
    argument = tyro.conf.arg(
        name=option_name(declared.name), help=declared.help, metavar=metavar, help_behavior_hint=f"(default: {shown})"
    )
    return declared.name, Annotated[_readable(kind), argument], field(default=default)


def chosen(settings: type, options: Any, model: str, released: Mapping[str, Any] = {}) -> Any:
    """The settings that an instance of `settings_options` says; what was not given is what the model was trained at."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    trained = _TOY_VALUES.get(settings, {}) if model in TOYS else released
    return settings(**{**trained, **given})
