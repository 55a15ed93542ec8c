"""Which engine finds the people in a video."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ...downloads import cache_folder
from ...errors import InputError
from .engine import Engine
from .fetch import PACKAGE, install_command
from .litert import LitertEngine
from .onnx import OnnxEngine
from .weights import read_weights

AUTO = "auto"
ENGINES = (AUTO, OnnxEngine.name, LitertEngine.name)


def chosen_engine(name: str, folder: Path | None, masks: bool, say: Callable[[str], None]) -> Engine:
    """One of ENGINES, with the networks in `folder` or, without one, in the user's cache; for litert see read_weights.

    auto: onnx where the folder holds its files, else litert. masks: whether they are needed, which onnx does not find.
    say: is given a line where onnx cannot serve with ONNX files that are there. Raises InputError where networks are
    missing or are others, ImportError without the package that runs them; both say how to get what is missing.
    """
    place = folder or cache_folder()
    if name == OnnxEngine.name:
        return OnnxEngine(place)
    if name == AUTO and not masks and any(place.glob("*.onnx")):
        try:
            return OnnxEngine(place)
        except (InputError, ImportError) as error:
            say(f"The engine onnx is left out: {error}")
    return _litert(folder)


def _litert(folder: Path | None) -> LitertEngine:
    weights = read_weights(folder)
    try:
        import_module(PACKAGE)
    except ImportError as error:
        way = f"the extra pose of everanimate; get what is missing with: {install_command(folder)}"
        raise ImportError(f"the engine litert needs the package ai-edge-litert ({way}); got {error}.") from error
    return LitertEngine(weights)
