import json

import pytest
import torch
from tensor_parts import randn

from everanimate_core.digests import SAMPLES_PER_WEIGHT, digest, file_digest, sha256, weights_digest


def test_every_part_matters():
    x, y = randn(4, 6), randn(4, 6, seed=1)
    flipped = x.clone()
    flipped.view(torch.int32)[3, 5] ^= 1
    different = [
        (),
        (x,),
        (x, x),
        (x, y),
        (y, x),
        (x.T,),
        (x.reshape(6, 4),),
        (x.flatten(),),
        (x[None],),
        (x.double(),),
        (x.half(),),
        (x.bfloat16(),),
        (x.view(torch.int32),),
        (flipped,),
        (torch.zeros(2),),
        (-torch.zeros(2),),
        (torch.zeros(0, 2),),
        (torch.zeros(2, 0),),
        (torch.tensor(1.0),),
        (torch.tensor([1.0]),),
        (torch.tensor(True),),
        (None,),
        ("",),
        ("", ""),
        ("a", "b"),
        ("ab",),
        ("b", "a"),
        (["a", "b"],),
        (1,),
        (1.0,),
        (1.5,),
        ("1",),
        (True,),
        (0,),
        (False,),
        ({},),
        ({"a": 1},),
        ({"a": 2},),
        ({"b": 1},),
        ({"a": [1]},),
        (x, "a"),
        ("a", x),
    ]
    names = [digest(*parts) for parts in different]
    assert len(set(names)) == len(different)
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)


def test_what_is_equal_has_one_name():
    x = randn(3, 4)
    assert digest(x) == digest(x.clone()) == digest(x.T.contiguous().T) == digest(x[None][0])
    assert digest(x.requires_grad_()) == digest(x.detach())
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": (2, None), "a": 1})
    settings = {"fps": 1 / 3, "sigmas": [1.0, 0.1 + 0.2], "name": "é"}
    assert digest(json.loads(json.dumps(settings))) == digest(settings)
    # Written down in manifests: it may not change from one version to the next.
    assert digest(torch.arange(3.0), "a", {"b": 1}) == "9459d30d03070c5a21d7d0b42e188c0b"


def test_a_not_a_number_has_a_name():
    nan = torch.tensor([float("nan"), 1.0])
    assert digest(nan) == digest(nan.clone()) != digest(torch.tensor([0.0, 1.0]))


def weights():
    return {"b.weight": randn(40, 7), "a.weight": randn(3, 5, seed=1), "a.bias": randn(3, seed=2).half()}


def test_a_network_has_one_name_whatever_the_order():
    network = weights()
    assert weights_digest(network.items()) == weights_digest(reversed(network.items()))
    assert weights_digest(network.items()) == weights_digest(list(weights().items()))


@pytest.mark.parametrize("place", [0, 2, 14])
def test_every_value_of_a_small_weight_counts(place):
    network = weights()
    network["a.weight"].view(-1).view(torch.int32)[place] ^= 1
    assert weights_digest(network.items()) != weights_digest(weights().items())


def test_sampled_values_of_a_large_weight_count():
    before, step = weights_digest(weights().items()), 280 // SAMPLES_PER_WEIGHT
    for sample in range(SAMPLES_PER_WEIGHT):
        network = weights()
        network["b.weight"].view(-1)[sample * step] += 1e-6
        assert weights_digest(network.items()) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda network: network.update({"c.weight": network.pop("b.weight")}),
        lambda network: network.update({"b.weight": network["b.weight"].T.contiguous().T.reshape(7, 40)}),
        lambda network: network.update({"b.weight": network["b.weight"].double()}),
        lambda network: network.update({"c.bias": torch.zeros(1)}),
        lambda network: network.pop("a.bias"),
    ],
)
def test_names_shapes_types_and_number_count(change):
    network = weights()
    change(network)
    assert weights_digest(network.items()) != weights_digest(weights().items())


def test_weights_of_half_precision_and_without_values():
    network = {"scale": torch.tensor(2.0), "none": torch.zeros(0), "fp8": randn(40).to(torch.float8_e4m3fn)}
    assert weights_digest(network.items()) == weights_digest(dict(network).items())
    assert weights_digest(network.items()) != weights_digest({**network, "scale": torch.tensor(3.0)}.items())


def test_the_whole_file_counts(tmp_path):
    # More than is read at once.
    content = bytes(range(256)) * (5 << 10)
    names = set()
    for changed in (content, content + b"x", content[:-1], b"y" + content[1:], content[:-1] + b"z", b""):
        (tmp_path / "file").write_bytes(changed)
        names.add(file_digest(tmp_path / "file"))
    assert len(names) == 6
    (tmp_path / "other").write_bytes(content)
    assert file_digest(str(tmp_path / "other")) in names
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "none")


def test_sha256_is_that_of_other_programs(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
