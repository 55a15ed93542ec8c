"""The authors' classes, from a checkout of their repository that LONGANIMATION_PATH names.

    git clone https://github.com/CN-makers/LongAnimation
    LONGANIMATION_PATH=LongAnimation python -m pytest tests/longanimation

Their pipeline opens CUDA tensors and an extractor of line art that tests do not need: both are replaced by name.
"""

import importlib.util
import os
import sys
import types
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

PATH = os.environ.get("LONGANIMATION_PATH")
needs_authors = pytest.mark.skipif(not PATH, reason="needs a checkout of LongAnimation: set LONGANIMATION_PATH")


def module(name):
    """One of the authors' modules, `models.NAME`."""
    folder = Path(PATH) / "models"
    if "models" not in sys.modules:
        package = types.ModuleType("models")
        package.__path__ = [str(folder)]
        sys.modules["models"] = package
        for part in ("lineart_extractor", "lineart_extractor.annotator", "lineart_extractor.annotator.lineart"):
            sys.modules[part] = types.ModuleType(part)
        sys.modules["lineart_extractor.annotator.lineart"].LineartDetector = object
    full = f"models.{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, folder / f"{name}.py")
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@contextmanager
def on_the_cpu():
    """Whatever is sent to CUDA stays where it is."""
    there = torch.Tensor.to

    def stay(self, *args, **kwargs):
        return there(self, *(("cpu", *args[1:]) if args and args[0] == "cuda" else args), **kwargs)

    torch.Tensor.to = stay
    try:
        yield
    finally:
        torch.Tensor.to = there
