"""Which engine finds the people in a driving video, by what is connected, installed and in the host's folders."""

import sys
from importlib.util import find_spec
from pathlib import Path

import folder_paths

from ..everanimate_core.driving.engines.engine import Engine
from ..everanimate_core.driving.engines.litert import LitertEngine
from ..everanimate_core.driving.engines.onnx import OnnxEngine
from ..everanimate_core.driving.engines.weights import COMMAND, read_weights
from ..everanimate_core.errors import InputError
from .people import SdposeEngine

AUTO = "auto"
# The folder of the host's models that files of the engines lie in; older hosts do not know it by themselves.
FOLDER = "detection"
WHEEL = "mediapipe-0.10.21-*.whl"


def chosen_engine(name: str, masks: bool, pose_model=None, pose_vae=None, detector=None) -> Engine:
    """The engine of that name; for AUTO sdpose where any of its models is connected, else onnx where its files are,
    else litert. masks: whether the engine has to find them, which onnx does not.

    Raises InputError or ImportError, which say what is missing.
    """
    models = (pose_model, pose_vae, detector)
    if name == SdposeEngine.name or (name == AUTO and any(model is not None for model in models)):
        return SdposeEngine(*models)
    if name == OnnxEngine.name or (name == AUTO and not masks and onnx_folder() is not None):
        return onnx_engine()
    return litert_engine()


def model_folders() -> list[Path]:
    """The folders in which files of the engines may lie, those that people add to the host included."""
    if FOLDER in folder_paths.folder_names_and_paths:
        return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
    return [Path(folder_paths.models_dir) / FOLDER]


def onnx_folder() -> Path | None:
    """The first of the folders with an .onnx file; None where there is none."""
    return next((folder for folder in model_folders() if any(folder.glob("*.onnx"))), None)


def onnx_engine() -> OnnxEngine:
    """The engine onnx, with the networks in the host's folder. Raises InputError where they are not there."""
    try:
        return OnnxEngine(onnx_folder() or model_folders()[0])
    except InputError as error:
        # The core calls the folder as the command line does.
        raise InputError(f"models/{FOLDER}", error.rule, error.example, error.got) from error


def litert_engine() -> LitertEngine:
    """The engine litert, with the networks in a wheel in the host's folder, or in the package mediapipe where that is
    installed. Raises InputError, which says the one command that gets what is missing."""
    place = next((folder for folder in model_folders() if any(folder.glob(WHEEL))), None)
    if find_spec("ai_edge_litert") is None:
        got = "no package ai-edge-litert"
    else:
        try:
            return LitertEngine(read_weights(place))
        except InputError as error:
            got = error.got
    rule = f"litert needs the package ai-edge-litert and a mediapipe wheel in models/{FOLDER} (36 MB)"
    raise InputError("engine", rule, fetch_command(), got)


def fetch_command() -> str:
    """What to run once, in the host's own Python, to get all that litert needs."""
    pip = f'"{sys.executable}" -m'
    folder = model_folders()[0]
    return f'{pip} pip install ai-edge-litert && {pip} {COMMAND} --dest "{folder}"'
