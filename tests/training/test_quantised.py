"""A frozen base in 8 bits: which layers, what it computes, and what is said without the package."""

import sys

import pytest
import torch

from everanimate_core.errors import InputError
from everanimate_core.everanimate.geometry import ChunkGeometry
from everanimate_core.training.memory_need import Step, step_need
from everanimate_core.training.network import Network
from everanimate_core.training.quantised import quantise, quantised_layers


@pytest.mark.parametrize(("kind", "error"), [("int8", 0.01), ("fp8", 0.05)])
def test_the_base_takes_a_byte_a_weight_and_computes_nearly_the_same(wan, kind, error):
    pytest.importorskip("torchao")
    network, stock = Network(wan(), 4, 2, 0), wan()
    layers = quantised_layers(network.transformer)
    assert [name.replace(".base_layer", "") for name in layers] == quantised_layers(stock)
    # Ten of every block with the text's, two more for the picture, and four of the face adapter.
    assert len(layers) == 5 * 12 + 4
    quantise(network.transformer, kind)
    for name, own in zip(layers, quantised_layers(stock), strict=True):
        layer, before = network.transformer.get_submodule(name), stock.get_submodule(own)
        assert layer.weight.qdata.element_size() == 1 and layer.weight.qdata.shape == before.weight.shape
        tokens = torch.randn(5, before.in_features, generator=torch.Generator().manual_seed(0))
        difference = (layer(tokens) - before(tokens)).norm() / before(tokens).norm()
        assert 0 < difference < error
    assert {value.dtype for value in network.trained().values()} == {torch.float32}


def test_the_arithmetic_knows_the_bytes_of_the_base(wan):
    pytest.importorskip("torchao")
    transformer = wan()
    need = step_need(Step(transformer, ChunkGeometry(9), 64, 64, half=False, rank=2, quantised=True))
    plain = step_need(Step(transformer, ChunkGeometry(9), 64, 64, half=False, rank=2))
    # What is multiplied out of a block is there while it works.
    assert need.device["working"] > plain.device["working"]
    quantise(transformer, "int8")
    held = [getattr(value, "qdata", value) for value in transformer.parameters()]
    assert need.device["base"] == sum(value.nbytes for value in held)


def test_a_missing_package_names_the_extra(wan, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    message = (
        r"^quantised other than none needs torchao \(pip install 'everanimate\[quantised\]'\); got int8 without it"
    )
    with pytest.raises(InputError, match=message):
        quantise(wan(), "int8")
