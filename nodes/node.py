"""What every node of the pack is: a ComfyUI node that shows errors of the core under its own name."""

from collections.abc import Callable
from functools import wraps

from comfy_api.latest import io

from ..everanimate_core.errors import InputError
from ..everanimate_core.runs.store import RunFailed


def in_its_name(execute: Callable) -> Callable:
    """`execute` of a node class: errors become "Display Name: field rule (example); got x."."""

    @wraps(execute)
    def executed(cls: type[io.ComfyNode], *inputs, **named_inputs) -> io.NodeOutput:
        try:
            return execute(cls, *inputs, **named_inputs)
        except (InputError, RunFailed) as error:
            kind = ValueError if isinstance(error, InputError) else RunFailed
            raise kind(f"{cls.define_schema().display_name}: {error}") from error

    return executed
