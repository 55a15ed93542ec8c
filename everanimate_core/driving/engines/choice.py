"""Which engine finds the people in a video."""

from collections.abc import Callable
from pathlib import Path

from ...errors import InputError
from .engine import Engine
from .litert import LitertEngine
from .onnx import OnnxEngine
from .weights import read_weights

AUTO = "auto"
ENGINES = (AUTO, OnnxEngine.name, LitertEngine.name)


def chosen_engine(name: str, folder: Path | None, masks: bool, say: Callable[[str], None]) -> Engine:
    """One of ENGINES, with the networks in `folder`; litert finds those of an installed mediapipe, too.

    auto: onnx where the folder holds its files, else litert. masks: whether they are needed, which onnx does not find.
    say: is given a line where onnx cannot serve with ONNX files that are there. Raises InputError where networks are
    missing or are others, ImportError without the package that runs them.
    """
    if name == OnnxEngine.name:
        if folder is None:
            raise InputError("pose_models", "must be given for the engine onnx", "a folder with its files", "none")
        return OnnxEngine(folder)
    if name == AUTO and not masks and folder is not None and any(folder.glob("*.onnx")):
        try:
            return OnnxEngine(folder)
        except (InputError, ImportError) as error:
            say(f"The engine onnx is left out: {error}")
    return LitertEngine(read_weights(folder))
