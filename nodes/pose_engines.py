"""Which engine finds the people in a driving video, by what is connected and what lies in the host's folders."""

from collections.abc import Sequence
from pathlib import Path

import folder_paths

from ..everanimate_core.driving.engines.choice import AUTO, chosen_engine
from ..everanimate_core.driving.engines.engine import Engine
from ..everanimate_core.driving.engines.litert import LitertEngine
from ..everanimate_core.driving.engines.weights import WHEELS
from ..everanimate_core.errors import InputError
from .host import say
from .people import SdposeEngine

# The folder of the host's models that files of the engines lie in; older hosts do not know it by themselves.
FOLDER = "detection"


def pose_engine(name: str, masks: bool, pose_model=None, pose_vae=None, detector=None) -> Engine:
    """The engine of that name; for AUTO sdpose where any of its models is connected, else onnx where its files are,
    else litert. masks: whether the engine has to find them, which onnx does not.

    Raises InputError or ImportError, which say what is missing.
    """
    models = (pose_model, pose_vae, detector)
    if name == SdposeEngine.name or (name == AUTO and any(model is not None for model in models)):
        return SdposeEngine(*models)
    wanted = [WHEELS] if masks or name == LitertEngine.name else ["*.onnx", WHEELS]
    try:
        return chosen_engine(name, networks_folder(wanted), masks, say)
    except InputError as error:
        # The core calls the folder as the command line does.
        raise InputError(f"models/{FOLDER}", error.rule, error.example, error.got) from error


def model_folders() -> list[Path]:
    """The folders in which files of the engines may lie, those that people add to the host included."""
    if FOLDER in folder_paths.folder_names_and_paths:
        return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]
    return [Path(folder_paths.models_dir) / FOLDER]


def networks_folder(wanted: Sequence[str]) -> Path:
    """The first of the folders with a file that is wanted, the first pattern before all others; without one, the first
    folder."""
    folders = model_folders()
    return next((folder for pattern in wanted for folder in folders if any(folder.glob(pattern))), folders[0])
