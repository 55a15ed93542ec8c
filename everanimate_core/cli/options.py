"""How a command's options are declared: fields of a dataclass, from which tyro makes the command line.

Options that are settings come from where the settings are declared: `settings_options(Settings)`.
"""

from dataclasses import field, make_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..everanimate.settings import Settings
from ..knobs import Knob, knobs
from ..media.rates import MAX_FPS, file_rate
from ..runs.settings import RunSettings
from ..toy.network.state import SETTINGS as TOY_SETTINGS
from ..toy.network.state import TOY, TOYS
from ..toy.world.raster import SIZE as TOY_SIZE

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
# What the toy was trained at, where it is not what was released.
_TOY_VALUES: dict[type, dict[str, Any]] = {
    Settings: {"chunk_frames": TOY_SETTINGS.chunk_frames, "steps": TOY_SETTINGS.steps},
    RunSettings: {"width": TOY_SIZE, "height": TOY_SIZE},
}


def option_name(name: str) -> str:
    """The option of a setting or input: total_frames -> frames, seed_mode -> seed-mode."""
    return _OPTIONS.get(name, name).replace("_", "-")


def option(kind: Any, help: str, metavar: str, default: Any = None) -> Any:
    """The type of a field that is an option; its help ends with the default, unless that is None or says nothing."""
    hint = "" if default in (None, "", ()) else f"(default: {default})"
    return Annotated[kind, tyro.conf.arg(help=help, metavar=metavar, help_behavior_hint=hint)]


def _fps(texts: list[str]) -> Fraction:
    try:
        return file_rate(Fraction(texts[0]))
    except (ValueError, ZeroDivisionError):
        rule = f"must be above 0 and at most {MAX_FPS} (25, 23.976, 30000/1001)"
        raise ValueError(f"{rule}; got {texts[0]}.") from None


# A frame rate, exact: 25, 23.976 or 30000/1001.
Fps = Annotated[
    Fraction,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="FPS",
        instance_from_str=_fps,
        is_instance=lambda value: isinstance(value, Fraction),
        str_from_instance=lambda value: [str(value)],
    ),
]
MODEL = f"diffusers folder, transformer file, or one that is embedded: {', '.join(map(repr, TOYS))}"
Parts = option(Path | None, "diffusers folder for all but the transformer, if --model is a file", "DIR")


def settings_options(settings: type, *only: str) -> type:
    """A dataclass of options, one for each knob of a class of settings, or for these only.

    What the toy was trained at otherwise is None where it is not given; see `chosen`.
    """
    toy = _TOY_VALUES.get(settings, {})
    declared = [_field(knob, toy.get(name)) for name, knob in knobs(settings).items() if not only or name in only]
    return make_dataclass(f"{settings.__name__}Options", declared, frozen=True)


def _field(declared: Knob, toy: Any) -> tuple[str, Any, Any]:
    """A setting as a field of options. toy: what the toy was trained at, None where that is the default."""
    kind: Any = Fps if declared.name == "fps" else declared.kind
    if declared.choices is not None:
        kind = Literal[declared.choices]
    default, shown = declared.default, declared.default
    if toy is not None:
        kind, default, shown = kind | None, None, f"{shown}, {toy} for --model {TOY}"
    # Of texts and switches tyro shows the choices.
    metavar = None if declared.kind in (str, bool) else declared.unit.replace(" ", "-").upper() or "N"
    argument = tyro.conf.arg(
        name=option_name(declared.name), help=declared.help, metavar=metavar, help_behavior_hint=f"(default: {shown})"
    )
    if declared.name == "fps":
        default = Fraction(0)
    return declared.name, Annotated[kind, argument], field(default=default)


def chosen(settings: type, options: Any, model: str) -> Any:
    """The settings that an instance of `settings_options` says; what was not given is what the model was trained at."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    toy = _TOY_VALUES[settings] if model in TOYS else {}
    return settings(**(toy | given))
