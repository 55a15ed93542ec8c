"""What every node of the pack is: a ComfyUI node that shows errors of the core under its own name."""

from collections.abc import Callable
from functools import wraps
from inspect import signature

from comfy_api.latest import io

from ..everanimate_core.errors import InputError
from ..everanimate_core.runs.stages import OutOfMemory
from ..everanimate_core.runs.store import RunFailed

_MEMORY_HELP = (
    "Or let more of the network wait in RAM: load it in fp8, start ComfyUI with --reserve-vram 4, or with --lowvram "
    "where it has no dynamic VRAM."
)


class SamplingError(InputError):
    """An input that cannot serve, seen while a chunk is sampled. node: in whose name it is said by the host's samplers.

    A node of the pack that samples says it in its own name.
    """

    def __init__(self, node: str, field: str, rule: str, example: object, got: object):
        super().__init__(field, rule, example, got)
        self.node, self.args = node, (f"{node}: {self}",)

    def __reduce__(self) -> tuple:
        return type(self), (self.node, self.field, self.rule, self.example, self.got)


def in_its_name(execute: Callable) -> Callable:
    """`execute` of a node class: errors become "Display Name: field rule (example); got x."."""

    @wraps(execute)
    def executed(cls: type[io.ComfyNode], *inputs, **named_inputs) -> io.NodeOutput:
        try:
            return execute(cls, *inputs, **named_inputs)
        except OutOfMemory as error:
            # Of its own class: the host frees its models after torch's error, and adds advice of its own.
            raise error.saying(f"{cls.define_schema().display_name}: {error.told(host=_MEMORY_HELP)}") from error
        except (InputError, RunFailed, ImportError) as error:
            # InputErrors are ValueErrors, of which some name another node.
            kind = next(kind for kind in (ValueError, RunFailed, ImportError) if isinstance(error, kind))
            said = f"{error.field} {error.said}".strip() if isinstance(error, InputError) else error
            raise kind(f"{cls.define_schema().display_name}: {said}") from error

    # The host hands `validate_inputs` what its signature names, and does not look through a wrapper by itself.
    executed.__signature__ = signature(execute)
    return executed
