"""Samples that processes read ahead are those that are made when they are asked for."""

from dataclasses import replace

import pytest
import torch

from everanimate_core.errors import InputError
from everanimate_core.training.reading import read_ahead
from everanimate_core.training.recipe import Recipe
from everanimate_core.training.records import FilmSet
from everanimate_core.training.samples import encode_material, make_sample

RECIPE = Recipe(2, seed=3)
PORTIONS = [range(0, 3), range(3, 4), range(8, 10), range(20, 22)]


@pytest.mark.parametrize("workers", [0, 2])
def test_in_order_and_bit_for_bit(films, settings, codec, workers):
    state = torch.random.get_rng_state()
    found = list(read_ahead(RECIPE, films, PORTIONS, workers))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [len(portion) for portion in found] == [3, 1, 2, 2]
    for portion, numbers in zip(found, PORTIONS, strict=True):
        for material, number in zip(portion, numbers, strict=True):
            batch, expected = encode_material(material, settings, codec), make_sample(RECIPE, films, number, codec)
            for name, value in vars(expected).items():
                assert value is None if value is None else torch.equal(getattr(batch, name), value), name


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fault_comes_where_its_portion_would_have_come(films, tmp_path, workers):
    (tmp_path / "000001.safetensors").write_bytes(b"no record")
    broken = FilmSet(tmp_path, films.settings, ("000001.safetensors",))
    fault, again = read_ahead(replace(RECIPE, stage=1), broken, [range(1), range(1, 2)], workers)
    for error in (fault, again):
        assert type(error) is InputError and "000001.safetensors, which is not a complete" in str(error)
