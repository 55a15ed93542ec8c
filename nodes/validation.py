"""What the widgets of a node hold is checked when a graph is queued, before anything is loaded.

The host hands its validation function the inputs that its signature names, None for one that comes from a link, and
leaves its own check of them out: the settings check all that it checks. An answer would be repeated for every input
that is named, so what is wrong is raised, once.
"""

from inspect import Parameter, Signature

import folder_paths

from ..everanimate_core.knobs import knobs
from ..everanimate_core.runs.names import run_folder
from .node import in_its_name


def widgets_checked(*settings: type, run_ending: str | None = None, **fixed) -> classmethod:
    """The `validate_inputs` of a node with widgets of these classes of settings.

    run_ending: of the name of a run's folder (see names.run_folder), at a node with a run_name. fixed: values of
    settings that are not asked for at the node. Settings that depend on each other are looked at together only where
    none of them comes from a link.
    """

    def validate_inputs(cls, **values) -> bool:
        for kind in settings:
            given = {name: value for name, value in values.items() if name in knobs(kind)}
            for name, value in given.items():
                if value is not None:
                    knobs(kind)[name].check(value)
            if None not in given.values():
                kind(**{name: value for name, value in fixed.items() if name in knobs(kind)} | given)
        if values.get("run_name") is not None:
            run_folder(folder_paths.get_output_directory(), values["run_name"], run_ending)
        return True

    names = [*dict.fromkeys(name for kind in settings for name in knobs(kind))]
    names += [] if run_ending is None else ["run_name"]
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in names]
    validate_inputs.__signature__ = Signature([Parameter("cls", Parameter.POSITIONAL_OR_KEYWORD), *parameters])
    return classmethod(in_its_name(validate_inputs))
