"""Packages that only some of the work needs: what is missing is named when that work begins, not before."""

from importlib import import_module
from types import ModuleType

# What pip calls the packages whose modules have another name.
_INSTALLED_AS = {"cv2": "opencv-python"}


def needed(module: str, who: str) -> ModuleType:
    """The package `module`; ImportError, in the name of `who`, that says how to install it when it is not there."""
    try:
        return import_module(module)
    except ImportError as error:
        package = _INSTALLED_AS.get(module, module)
        raise ImportError(f"{who}: the package {package} is needed (pip install {package}); got {error}.") from error
