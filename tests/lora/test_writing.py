"""LoRA files written under other names, and what is said of them."""

import io
import json

import pytest
import torch
from lora_parts import AB, ALPHA, DIFFUSERS, NAMINGS, TARGETS, factors, lora_of, model_weights, named
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from everanimate_core.lora.files import (
    FORMATS,
    Lora,
    LoraLayer,
    convert,
    host_state_dict,
    lora_from_tensors,
    lora_state_dict,
    read_lora,
    save_lora,
)
from everanimate_core.lora.fit import delta, describe
from everanimate_core.lora.names import LoraError


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("naming", ["released", "diffusers", "kohya"])
@pytest.mark.parametrize("alpha", [False, True])
def test_convert_keeps_weights_and_metadata(tmp_path, naming, alpha, format):
    source, target, back = (tmp_path / f"{name}.safetensors" for name in ("source", "target", "back"))
    save_file(named(naming, alpha), source, {"iteration": "1000"})
    lora = convert(source, target, format)
    converted = read_lora(target)
    assert converted.format == format
    assert converted.metadata["iteration"] == "1000"
    convert(target, back, NAMINGS[naming][3])
    assert read_lora(back).format == NAMINGS[naming][3]
    for was, now, later in zip(lora.layers, converted.layers, read_lora(back).layers, strict=True):
        assert was.target == now.target == later.target
        assert torch.equal(now.A, was.A) and torch.equal(later.A, was.A)
        if alpha and format in ("comfyui", "kohya"):
            assert now.scale == was.scale == ALPHA / was.rank
            assert torch.equal(now.B, was.B)
        else:
            assert now.scale == 1.0
            assert torch.equal(now.B, was.B * was.scale)
        # 3/2 and 3/4 are short in binary, so folding them into B moves only the rounding of the product.
        torch.testing.assert_close(delta(now), delta(was), rtol=0, atol=1e-6)
        torch.testing.assert_close(delta(later), delta(was), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("format", "value"), [("released", 3.015625), ("comfyui", 1.0)])
def test_rounding_comes_last_and_spares_alpha(format, value):
    # 1 + 2^-8 rounds to 1 in bfloat16, three times that to 3 + 2^-6.
    layer = LoraLayer("blocks.0.ffn.0", torch.full((2, 6), 1 + 2**-8), torch.full((8, 2), 1 + 2**-8), 3.0)
    tensors = lora_state_dict(Lora((layer,)), format, torch.bfloat16)
    a, b, *alpha = tensors.values()
    assert (a.dtype, b.dtype) == (torch.bfloat16, torch.bfloat16)
    assert (a == 1).all() and (b == value).all()
    assert alpha == ([] if format == "released" else [torch.tensor(6.0)])


@pytest.mark.parametrize("naming", ["released", "comfyui", "kohya", "diffusers", "peft"])
def test_a_written_format_has_exactly_the_names_of_that_naming(naming):
    expected = named(naming, naming in ("comfyui", "kohya"))
    written = lora_state_dict(lora_from_tensors(expected), naming)
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("naming", NAMINGS)
def test_host_state_dict_has_the_names_that_the_host_matches(naming):
    tensors = host_state_dict(lora_from_tensors(named(naming, True)))
    assert len(tensors) == 3 * len(TARGETS)
    for target, (a, b) in factors().items():
        assert torch.equal(tensors[f"diffusion_model.{target}.lora_A.weight"], a)
        assert torch.equal(tensors[f"diffusion_model.{target}.lora_B.weight"], b)
        assert tensors[f"diffusion_model.{target}.alpha"].item() == ALPHA


def test_a_scale_of_one_keeps_the_dtype_and_a_folded_one_becomes_float32():
    layer = LoraLayer("blocks.0.ffn.0", torch.ones(1, 2).bfloat16(), torch.ones(2, 1).bfloat16(), 1.0)
    name = "blocks.0.ffn.0.lora_B.default.weight"
    assert lora_state_dict(Lora((layer,)))[name].dtype == torch.bfloat16
    folded = lora_state_dict(Lora((LoraLayer(layer.target, layer.A, layer.B, 1 / 3),)))[name]
    assert folded.dtype == torch.float32
    assert torch.equal(folded, torch.full((2, 1), 1 / 3))


def test_saving_over_a_file_replaces_it_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "lora.safetensors"
    path.write_bytes(b"old")
    (tmp_path / "link").hardlink_to(path)
    save_lora(path, lora_of(2.0, author="me"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"lora.safetensors", "link"}
    # The old bytes are still whole: the file was exchanged, not written over.
    assert (tmp_path / "link").read_bytes() == b"old"
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "author": "me"}
    for target, (a, b) in factors().items():
        assert torch.equal(load_file(path)[f"{target}.lora_A.default.weight"], a)
        assert torch.equal(load_file(path)[f"{target}.lora_B.default.weight"], 2 * b)


def test_equal_loras_make_equal_files(tmp_path):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    for path in (one, other):
        save_lora(path, lora_of(**{f"fact_{number}": "x" for number in range(12)}))
    assert one.read_bytes() == other.read_bytes()


def test_a_lora_in_8_bits_is_written_as_it_is(tmp_path):
    a, b = torch.ones(2, 3).to(torch.float8_e4m3fn), torch.ones(5, 2).to(torch.float8_e5m2)
    save_lora(tmp_path / "lora.safetensors", Lora((LoraLayer("blocks.0.ffn.0", a, b),)))
    (layer,) = read_lora(tmp_path / "lora.safetensors").layers
    assert (layer.A.dtype, layer.B.dtype) == (torch.float8_e4m3fn, torch.float8_e5m2)
    assert torch.equal(delta(layer), torch.full((5, 3), 2.0))


def test_a_failed_save_keeps_the_old_file_and_no_part(tmp_path):
    (tmp_path / "lora.safetensors").mkdir()
    with pytest.raises(OSError):
        save_lora(tmp_path / "lora.safetensors", lora_of())
    assert [entry.name for entry in tmp_path.iterdir()] == ["lora.safetensors"]


def test_a_lora_in_memory_does_not_follow_its_file(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_lora(path, lora_of())
    lora = read_lora(path)
    with path.open("r+b") as file:
        file.seek(-200, io.SEEK_END)
        file.write(bytes(200))
    for layer in lora.layers:
        assert torch.equal(layer.A, factors()[layer.target][0])
        assert torch.equal(layer.B, factors()[layer.target][1])


def test_convert_in_place(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file(named("peft", False), path)
    convert(path, path, "kohya")
    lora = read_lora(path)
    assert lora.format == "kohya"
    for layer in lora.layers:
        assert torch.equal(layer.A, factors()[layer.target][0])


def test_trained_parameters_can_be_saved(tmp_path):
    layer = LoraLayer("blocks.0.ffn.0", torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(2, 5)).T)
    save_lora(tmp_path / "lora.safetensors", Lora((layer,)))
    assert torch.equal(delta(read_lora(tmp_path / "lora.safetensors").layers[0]), torch.full((5, 3), 2.0))


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(LoraError, match=r"known format \(released, comfyui, kohya, diffusers, peft\); got onnx\."):
        save_lora(tmp_path / "lora.safetensors", lora_of(), "onnx")
    assert list(tmp_path.iterdir()) == []


def test_describe_counts_what_is_there():
    lora = lora_from_tensors(named("kohya", True), {"author": "me"})
    report = describe(lora, {name: weight for name, weight in model_weights().items() if ".0." in name})
    assert json.loads(json.dumps(report)) == {
        "format": "kohya",
        "layers": 20,
        "ranks": {"2": 12, "4": 8},
        "alpha": True,
        "scales": [0.75, 1.5],
        "blocks": {"first": 0, "last": 1, "count": 2},
        "targets": dict.fromkeys(DIFFUSERS, 2),
        "dtypes": ["float32"],
        "parameters": 2 * (4 * 4 * 12 + 4 * 2 * 12 + 2 * 2 * 14),
        "metadata": {"author": "me"},
        "coverage": {
            "complete": False,
            "matched": 11,
            "total": 20,
            "missing": [f"blocks.1.{suffix}" for suffix in DIFFUSERS if suffix != "ffn.0"],
            "wrong_shape": [],
            "model_layers": 11,
        },
    }
    assert "coverage" not in describe(lora)


def test_layers_come_in_block_order_not_in_text_order():
    a, b = torch.ones(1, 2), torch.ones(2, 1)
    names = ["blocks.10.self_attn.q", "blocks.2.ffn.0", "blocks.2.cross_attn.v_img", "blocks.2.self_attn.q"]
    tensors = {f"{name}.{part}": half for name in names for part, half in zip(AB, (a, b), strict=True)}
    assert [layer.target for layer in lora_from_tensors(tensors).layers] == names[::-1]


def test_a_file_of_two_namings_reports_both():
    a, b = torch.ones(1, 2), torch.ones(2, 1)
    tensors = {"blocks.0.ffn.0.lora_A.weight": a, "blocks.0.ffn.0.lora_B.weight": b}
    tensors |= {"lora_unet_blocks_0_ffn_2.lora_down.weight": a, "lora_unet_blocks_0_ffn_2.lora_up.weight": b}
    assert lora_from_tensors(tensors).format == "bare + kohya"
