"""Beacons: what of the frames is kept, what sees what, and which networks are refused."""

from types import SimpleNamespace

import pytest
import torch
from refusals import refusal
from torch import nn
from video_model_parts import LANGUAGE, drawn

from everanimate_core.longanimation.beacon import BeaconNetwork, BeaconSettings
from everanimate_core.longanimation.prompt import PREFIX, SUFFIX

# A window: three frames of 16 tokens, of which two beacons stay.
WINDOW, TOKENS, BEACONS = 48, 16, 2


def network(**changed):
    return drawn(BeaconNetwork(BeaconSettings(**LANGUAGE | changed)), 0)


@pytest.fixture(scope="module")
def beacons():
    return network()


@pytest.fixture(scope="module")
def features():
    return torch.randn(8, TOKENS, 64, generator=torch.Generator().manual_seed(1))


def memory(net, features):
    return net.end(net.read(net.begin(), features))


def test_what_is_kept(beacons, features):
    past = beacons.begin()
    assert past.shape == (2, 5, len(PREFIX), 32)
    read = beacons.read(past, features)
    assert read.shape == (2, 5, len(PREFIX) + 8 * BEACONS, 32)
    assert torch.equal(read[:, :, : len(PREFIX)], past)
    found = beacons.end(read)
    assert found.shape == (2, 3, len(PREFIX) + 8 * BEACONS + len(SUFFIX), 32)
    assert torch.equal(found[:, :, : -len(SUFFIX)], read[:, [0, 2, 4]])


def test_the_prefix_is_read_as_transformers_reads_it(beacons):
    """Keys before they are rotated, and values, of every layer."""
    from transformers import Qwen2Config, Qwen2Model

    config = Qwen2Config(
        vocab_size=len(PREFIX),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    model = Qwen2Model(config).eval()
    weights = {name: value for name, value in beacons.state_dict().items() if "beacon" not in name}
    weights["embed_tokens.weight"] = weights["embed_tokens.weight"][: len(PREFIX)]
    unused = model.load_state_dict(weights, strict=False)
    assert not unused.unexpected_keys
    assert all(name.startswith(("layers.4", "norm")) for name in unused.missing_keys)
    found = {}
    for number, layer in enumerate(model.layers):
        for kind, part in enumerate((layer.self_attn.k_proj, layer.self_attn.v_proj)):
            part.register_forward_hook(lambda _, __, out, place=(kind, number): found.update({place: out[0]}))
    with torch.no_grad():
        model(torch.arange(len(PREFIX))[None])
    theirs = torch.stack([torch.stack([found[kind, number] for number in range(5)]) for kind in (0, 1)])
    torch.testing.assert_close(beacons.begin(), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("first", [3, 6])
def test_two_calls_make_what_one_call_makes_where_the_first_fills_its_windows(beacons, features, first):
    past = beacons.begin()
    whole = beacons.read(past, features)
    assert torch.equal(beacons.read(beacons.read(past, features[:first]), features[first:]), whole)
    # Not so where a window is broken in two.
    other = beacons.read(beacons.read(past, features[:4]), features[4:])
    assert not torch.allclose(other, whole, atol=1e-2)


def test_beacons_know_what_came_before_them_and_nothing_else(beacons, features):
    past = beacons.begin()
    whole = beacons.read(past, features)
    for frame in (0, 4, 7):
        changed = features.clone()
        changed[frame, 3] += 1
        same = (beacons.read(past, changed) == whole).all(3)[:, 4].all(0)
        before = len(PREFIX) + frame * BEACONS
        assert same[:before].all()
        assert not same[before:].any()


def test_the_window_counts(features):
    """What a window has read of its own tokens is more than what its beacons say to the next."""
    one, other = memory(network(), features), memory(network(window=16), features)
    assert one.shape == other.shape
    assert not torch.allclose(one, other, atol=1e-2)


def test_beacons_can_be_taken_away(beacons, features):
    """The next ones then do not know of them."""
    past = beacons.read(beacons.begin(), features[:3])
    cut = torch.cat([past[:, :, : len(PREFIX)], past[:, :, len(PREFIX) + 2 * BEACONS :]], 2)
    further = beacons.read(cut, features[3:])
    assert further.shape[2] == len(PREFIX) + 6 * BEACONS
    assert not torch.allclose(further[:, 4, -1], beacons.read(past, features[3:])[:, 4, -1], atol=1e-2)


def test_without_weights_of_their_own_beacons_take_those_of_the_tokens(features):
    plain, own = network(beacon_parts=("v",)), network()
    names = [name for name, _ in plain.named_parameters() if "beacon" in name and "embed" not in name]
    assert names and all(".beacon_v_proj." in name for name in names)
    state = {name: value for name, value in plain.state_dict().items() if "beacon_v" not in name}
    for part in ("q", "k", "v"):
        for name, value in list(state.items()):
            if f".{part}_proj." in name:
                state[name.replace(f".{part}_proj.", f".beacon_{part}_proj.")] = value
    own.load_state_dict(state)
    plain.load_state_dict({name: value for name, value in state.items() if name in plain.state_dict()})
    torch.testing.assert_close(memory(own, features), memory(plain, features), rtol=1e-5, atol=1e-5)


def test_nothing_is_there_behind_what_is_read():
    net = network(read_layers=(0, -2))
    assert len(net.layers) == 4
    names = {name.rpartition(".")[0] for name, _ in net.layers[3].named_parameters()}
    parts = {f"self_attn.{kind}{part}_proj" for kind in ("", "beacon_") for part in ("k", "v")}
    assert names == {"input_layernorm", *parts}


def test_layers_are_of_the_classes_that_come_in():
    class Own:
        pass

    kinds = ("Linear", "Embedding", "RMSNorm")
    made = {name: type(name, (getattr(nn, name), Own), {}) for name in kinds}
    net = BeaconNetwork(BeaconSettings(**LANGUAGE), SimpleNamespace(**made), device="meta", dtype=torch.float16)
    leaves = [part for part in net.modules() if not list(part.children())]
    assert {type(part).__name__ for part in leaves} == set(kinds)
    assert all(isinstance(part, Own) for part in leaves)
    assert {(value.device.type, value.dtype) for value in net.parameters()} == {("meta", torch.float16)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window": 44}, "window must be a multiple of the ratio (8) (1440); got 44."),
        ({"window": 0}, "window must be between 1 and 1048576; got 0."),
        ({"layers": 1001}, "layers must be between 1 and 1000; got 1001."),
        ({"width": 72}, "width must be a multiple of twice the heads (16); got 72."),
        ({"kv_heads": 3}, "heads must be a multiple of kv_heads (3); got 8."),
        ({"norm_eps": 0}, "norm_eps must be above 0; got 0."),
        ({"rope_theta": float("nan")}, "rope_theta must be a number, not NaN or infinity; got nan."),
        ({"beacon_parts": ("q", "mlp")}, "beacon_parts must be of q, k, v; got q, mlp."),
        ({"beacon_parts": ("q", "q")}, "beacon_parts must be of q, k, v; got q, q."),
        ({"read_layers": (-9, -1)}, "read_layers must be at least one of the 5 layers (-9, -5, -1); got [-9, -1]."),
        ({"read_layers": ()}, "read_layers must be at least one of the 5 layers (-9, -5, -1); got []."),
    ],
)
def test_networks_that_cannot_be_are_refused(changed, message):
    assert refusal(BeaconSettings, **LANGUAGE | changed) == message


def test_the_layers_of_the_released_network():
    settings = BeaconSettings(3584, 18944, 28, 4, 28, 1440, 1e6, 1e-6)
    assert settings.read == [19, 23, 27]
    assert settings.kv_width == 512
