"""Samples read ahead: processes beside the training read records, perturb and augment, while the network learns.

A sample is a function of its number alone, so that it is the same whoever reads it, and when.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Dataset

from .recipe import Recipe
from .records import FilmSet
from .samples import Material, sample_material

# What a bad file or a full disk raises.
FAULTS = (ValueError, OSError, SafetensorError)
AHEAD = 2  # portions, for each process that reads


@dataclass(frozen=True)
class _Portions(Dataset):
    """Numbers of samples -> what they are made of, or why they cannot be made.

    A fault is handed over, not raised: torch would make another error of it, with a trace of the process that read.
    """

    recipe: Recipe
    films: FilmSet

    def __getitem__(self, numbers: range) -> list[Material] | Exception:
        try:
            return [sample_material(self.recipe, self.films, number) for number in numbers]
        except FAULTS as error:
            return error


def read_ahead(
    recipe: Recipe, films: FilmSet, portions: Iterable[range], workers: int
) -> Iterator[list[Material] | Exception]:
    """The samples of each portion, in order. workers: processes that read them ahead; 0: this one, when asked."""
    loader = DataLoader(
        _Portions(recipe, films),
        batch_size=None,
        sampler=portions,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        # Of its own: it draws a seed, and the global generator is nobody's business.
        generator=torch.Generator(),
    )
    return iter(loader)
