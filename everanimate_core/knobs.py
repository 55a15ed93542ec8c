"""How a setting is declared: its default, what it may be, its unit and what it does, once for every host.

A class of settings is a frozen dataclass whose fields are made by `knob`. Nodes draw their widgets from it, the command
line its options, and the core checks the values. Each room declares its own: `everanimate.settings`, `runs.settings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, cast, get_type_hints

from .errors import InputError, check_number


@dataclass(frozen=True)
class Knob:
    """A declared setting.

    kind: int, float, bool or str. low, high: what a number may be, both included; high is None where there is no end.
    choices: what a text may be; None for any. step: of a widget; a whole number must be low + n step. unit: of a
    number, for people. help: what it does, in one or two sentences. rare: whether it is seldom set, so that hosts may
    hide it at first.
    """

    name: str
    kind: type
    default: Any
    help: str
    low: float | None
    high: float | None
    step: float | None
    choices: tuple[str, ...] | None
    unit: str
    rare: bool

    def check(self, value: Any) -> None:
        """Raise InputError unless `value` is one that this setting may have."""
        if self.choices is not None and value not in self.choices:
            raise InputError(self.name, f"must be one of {', '.join(self.choices)}", self.default, value)
        if self.kind in (int, float):
            # Whole numbers are finite, and may be too large for isfinite.
            if isinstance(value, float):
                check_number(self.name, value, self.default)
            if self.high is None and not self.low <= value:
                raise InputError(self.name, f"must be at least {self.low}", self.default, value)
            if self.high is not None and not self.low <= value <= self.high:
                raise InputError(self.name, f"must be between {self.low} and {self.high}", self.default, value)
            if self.kind is int and self.step is not None:
                self._check_step(value)

    @property
    def steps(self) -> range:
        """What a whole number with ends and a step may be."""
        low, high, step = cast(tuple[int, int, int], (self.low, self.high, self.step))
        return range(low, high + 1, step)

    def _check_step(self, value: int) -> None:
        if value in self.steps:
            return
        step, rest = self.steps.step, self.steps.start % self.steps.step
        if rest == 0:
            raise InputError(self.name, f"must be a multiple of {step}", self.default, value)
        below = value - (value - rest) % step
        raise InputError(self.name, f"must be {step}n + {rest}, such as {below} or {below + step}", "", value)


def knob(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    choices: Sequence[str] | None = None,
    unit: str = "",
    rare: bool = False,
) -> Any:
    """A field of a class of settings; see Knob."""
    declared = {"help": help, "low": low, "high": high, "step": step, "unit": unit, "rare": rare}
    return field(default=default, metadata=declared | {"choices": None if choices is None else tuple(choices)})


def like(settings: type, name: str, **other: Any) -> Any:
    """A field that declares what another class of settings declares. other: default or help, where they differ."""
    part = next(part for part in fields(settings) if part.name == name)
    return field(default=other.pop("default", part.default), metadata={**part.metadata, **other})


def knobs(settings: type) -> dict[str, Knob]:
    """The settings that a class declares, by name, in its order."""
    kinds = get_type_hints(settings)
    declared = {part.name: part for part in fields(settings) if part.metadata}
    return {name: Knob(name, kinds[name], part.default, **part.metadata) for name, part in declared.items()}


def check_knobs(settings: Any) -> None:
    """Raise InputError, naming the setting, unless all of an instance's values are allowed."""
    for name, declared in knobs(type(settings)).items():
        declared.check(getattr(settings, name))


def changed(settings: Any, *but: str) -> dict[str, Any]:
    """Those of an instance's values that are not the default, by name. but: settings that are left out."""
    others = [knob for name, knob in knobs(type(settings)).items() if name not in but]
    return {knob.name: getattr(settings, knob.name) for knob in others if getattr(settings, knob.name) != knob.default}
