"""What any object holds, as JSON values that a digest can stand for: containers walked, networks by their weights.

Hosts hand over conditionings and samplers of which a run knows nothing but that the next start must have the same.
"""

import functools
import io
import json
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from ..digests import digest, weights_digest
from ..errors import InputError

Known = Callable[[Any], Any]
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType)


class InPart:
    """Marks a value of which tensors are too large to be read whole: a few values of each stand for them."""

    def __init__(self, value: Any):
        self.value = value


def content_digest(value: Any, name: str, known: Known = lambda value: value) -> str:
    """32 hex digits that stand for all that `value`, the input `name` of a run, holds.

    known(value) puts something else in the place of an object that only the host understands, or returns it as it is.
    Lists and tuples are alike, and devices, places in memory and the code of functions do not count. Raises ValueError,
    which says where, for what nothing can stand for: open files, iterators, locks, weights that are not there.
    """
    return digest(_Walk(known, name).content(value, name))


class _Walk:
    """One walk through a value. What is met again is not walked again."""

    def __init__(self, known: Known, name: str):
        self.known, self.name = known, name
        self.seen: dict[tuple[int, bool], tuple[Any, str]] = {}

    def content(self, value: Any, where: str, in_part: bool = False) -> Any:
        """`value` if it is a plain one, else a digest of it. where: its place, for messages."""
        if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, Enum)):
            return value
        key = id(value), in_part
        if key not in self.seen:
            # The value is kept, so that no other gets its id. Where it holds itself, it is "again" inside.
            self.seen[key] = value, "again"
            self.seen[key] = value, digest(self.parts(value, where, in_part))
        return self.seen[key][1]

    def parts(self, value: Any, where: str, in_part: bool) -> list:
        """What a value is made of, as JSON values."""
        while (instead := self.known(value)) is not value:
            value = instead
        if isinstance(value, InPart):
            return [self.content(value.value, where, in_part=True)]
        inside = functools.partial(self.content, in_part=in_part)
        kind = type(value).__qualname__
        if isinstance(value, Tensor):
            self.check(not value.is_meta, value, where)
            return ["tensor", weights_digest([("", value)]) if in_part else digest(value)]
        if isinstance(value, nn.Module):
            weights = value.state_dict()
            self.check(not any(weight.is_meta for weight in weights.values()), value, where)
            return [kind, weights_digest(weights.items())]
        if isinstance(value, Mapping):
            entries = [[inside(key, where), inside(part, f"{where}[{key!r}]")] for key, part in value.items()]
            return ["mapping", sorted(entries, key=json.dumps)]
        if isinstance(value, (list, tuple)):
            return ["list", *(inside(part, f"{where}[{i}]") for i, part in enumerate(value))]
        if isinstance(value, (set, frozenset)):
            return ["set", *sorted((inside(part, where) for part in value), key=json.dumps)]
        if isinstance(value, bytes):
            return ["bytes", value.hex()]
        if isinstance(value, Enum):
            return [kind, value.name]
        if isinstance(value, torch.device):
            return [kind]
        if isinstance(value, (torch.dtype, type, types.ModuleType)):
            return [kind, getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or str(value)]
        if isinstance(value, functools.partial):
            return [kind, inside(value.func, where), inside(value.args, where), inside(value.keywords, where)]
        if isinstance(value, types.MethodType):
            return [kind, value.__func__.__qualname__, inside(value.__self__, f"{where}.__self__")]
        if isinstance(value, _FUNCTIONS):
            held = [getattr(value, name, None) for name in ("__defaults__", "__kwdefaults__")]
            held += [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
            return [kind, value.__qualname__, inside(held, where)]
        if hasattr(value, "__array__") and hasattr(value, "dtype"):  # NumPy's, which is not imported for it
            return [kind, inside(torch.as_tensor(value), where)]
        self.check(hasattr(value, "__dict__") and not isinstance(value, io.IOBase), value, where)
        return [kind, *([name, inside(part, f"{where}.{name}")] for name, part in sorted(vars(value).items()))]

    def check(self, possible: bool, value: Any, where: str) -> None:
        """Raise ValueError unless something can stand for `value`."""
        if not possible:
            raise InputError(
                self.name,
                "must hold what can be compared when the run goes on",
                "tensors, numbers, text, models with their weights in memory",
                f"a {type(value).__qualname__} at {where}",
            )
