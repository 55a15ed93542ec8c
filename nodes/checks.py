"""Inputs of nodes that are no numbers."""

from torch import Tensor

from ..everanimate_core.errors import check_finite


def check_images(**images) -> None:
    """Raise InputError when an IMAGE or MASK among these inputs holds NaN or infinity.

    A VIDEO holds whole numbers and is not read.
    """
    for name, frames in images.items():
        if isinstance(frames, Tensor):
            check_finite(name, frames)
