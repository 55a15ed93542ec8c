"""The options of a command out of JSON values, by the names and the checks that the command line has for them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

import tyro

from ..errors import InputError, check_choice, shown
from .options import option_name


def from_values(options: type, values: Mapping[str, Any], folder: Path) -> Any:
    """An instance of a dataclass of options. values: by the names of the options, with - or _ in them: {"frames": 50,
    "seed_mode": "fixed"}. folder: from which paths are seen.

    Raises InputError for an option that there is not, one that is missing, and a value that does not fit.
    """
    known = allowed(options)
    given = {name.replace("_", "-"): (name, value) for name, value in values.items()}
    for name, (written, _) in given.items():
        if name not in known:
            raise InputError(written, "must be an option of the command", ", ".join(known), "a name that it has not")
    if len(given) < len(values):
        twice = next(name for name in values if given[name.replace("_", "-")][0] != name)
        raise InputError(twice, "must be given once", "", "it with - and with _")
    return _made(options, given, folder)


def allowed(options: type) -> list[str]:
    """The names of a command's options, without the dashes before them."""
    found = []
    for part in fields(options):
        kind = _kind(options, part.name)[0]
        found += allowed(kind) if _is_group(kind) else [option_name(part.name)]
    return found


def _made(options: type, given: Mapping[str, tuple[str, Any]], folder: Path) -> Any:
    values = {}
    for part in fields(options):
        kind, read = _kind(options, part.name)
        name = option_name(part.name)
        if _is_group(kind):
            values[part.name] = _made(kind, given, folder)
        elif name in given:
            values[part.name] = _value(*given[name], kind, read, folder)
        elif part.default is MISSING and part.default_factory is MISSING:
            raise InputError(name, "must be given", "", "none")
    return options(**values)


def _is_group(kind: Any) -> TypeGuard[type]:
    """Whether a field is a dataclass of options itself."""
    return isinstance(kind, type) and is_dataclass(kind)


def _kind(options: type, name: str) -> tuple[Any, Callable[[list[str]], Any] | None]:
    """The type of an option, None left out of it, and what reads it from texts, if something of its own does."""
    kind, read = get_type_hints(options, include_extras=True)[name], None
    while True:
        if get_origin(kind) is Annotated:
            specs = [part for part in kind.__metadata__ if isinstance(part, tyro.constructors.PrimitiveConstructorSpec)]
            read = specs[0].instance_from_str if specs else read
            kind = kind.__origin__
        elif get_origin(kind) in (Union, UnionType):
            kind = next(part for part in get_args(kind) if part is not NoneType)
        else:
            return kind, read


def _value(name: str, value: Any, kind: Any, read: Callable[[list[str]], Any] | None, folder: Path) -> Any:
    """A JSON value as that of an option."""
    several = get_origin(kind) is tuple
    if read is not None:
        texts = value if several and isinstance(value, list) else [value]
        right = (str,) if several else (str, int, float)
        if not all(isinstance(text, right) and not isinstance(text, bool) for text in texts):
            raise InputError(name, f"must be {'text, or a list of texts' if several else 'a number'}", "", shown(value))
        try:
            found = read([str(text) for text in texts])
        except ValueError as error:
            raise _refused(name, error) from None
        return tuple(_path(part, folder) for part in found) if several else found
    if get_origin(kind) is Literal:
        check_choice(name, value, get_args(kind))
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise InputError(name, "must be true or false", "", shown(value))
        return value
    if not isinstance(value, str):
        raise InputError(name, "must be text", "", shown(value))
    return _path(Path(value), folder) if kind is Path else value


def _refused(name: str, error: ValueError) -> InputError:
    """What reads an option says "must be ...; got ..."."""
    rule, _, got = str(error).rstrip(".").rpartition("; got ")
    return InputError(name, rule, "", got)


def _path(path: Any, folder: Path) -> Any:
    """A path as seen from a folder; what is none stays."""
    return Path(os.path.abspath(folder / path)) if isinstance(path, Path) else path
