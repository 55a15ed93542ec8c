"""LoRA files: every naming gives the same weights, every wrong file its own message."""

import io
import json
import pickle
import re
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from everanimate_core.errors import InputError
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
from everanimate_core.lora.fit import Coverage, apply_lora, check_coverage, delta, describe, measure_coverage
from everanimate_core.lora.names import Key, LoraError, normalise_key, to_diffusers, to_original

WIDTH, FFN, BLOCKS = 6, 8, 2
ALPHA = 3.0
DIFFUSERS = {
    "self_attn.q": "attn1.to_q",
    "self_attn.k": "attn1.to_k",
    "self_attn.v": "attn1.to_v",
    "self_attn.o": "attn1.to_out.0",
    "cross_attn.q": "attn2.to_q",
    "cross_attn.k": "attn2.to_k",
    "cross_attn.v": "attn2.to_v",
    "cross_attn.o": "attn2.to_out.0",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
}
TARGETS = [f"blocks.{block}.{suffix}" for block in range(BLOCKS) for suffix in DIFFUSERS]

AB = ("lora_A.weight", "lora_B.weight")
DEFAULT = ("lora_A.default.weight", "lora_B.default.weight")
DOWN_UP = ("lora_down.weight", "lora_up.weight")


def in_diffusers(target):
    _, block, suffix = target.split(".", 2)
    return f"blocks.{block}.{DIFFUSERS[suffix]}"


def flat(target):
    return target.replace(".", "_")


def same(target):
    return target


# id: (prefix, how the target is written, names of A and B, format found)
NAMINGS = {
    "bare": ("", same, AB, "bare"),
    "released": ("", same, DEFAULT, "released"),
    "bare down/up": ("", same, DOWN_UP, "bare down/up"),
    "pipe.dit": ("pipe.dit.", same, AB, "pipe.dit"),
    "pipe.dit default": ("pipe.dit.", same, DEFAULT, "pipe.dit"),
    "transformer": ("transformer.", same, AB, "transformer"),
    "diffusers": ("transformer.", in_diffusers, AB, "diffusers"),
    "diffusers without prefix": ("", in_diffusers, AB, "diffusers"),
    "peft": ("base_model.model.", same, AB, "peft"),
    "peft default": ("base_model.model.", same, DEFAULT, "peft"),
    "peft diffusers": ("base_model.model.", in_diffusers, AB, "peft, diffusers names"),
    "comfyui": ("diffusion_model.", same, AB, "comfyui"),
    "comfyui default": ("diffusion_model.", same, DEFAULT, "comfyui"),
    "comfyui down/up": ("diffusion_model.", same, DOWN_UP, "comfyui down/up"),
    "kohya": ("lora_unet_", flat, DOWN_UP, "kohya"),
}


def shape(target):
    return {"0": (FFN, WIDTH), "2": (WIDTH, FFN)}.get(target.rsplit(".", 1)[1], (WIDTH, WIDTH))


def rank(target):
    return 4 if "cross_attn" in target else 2


def factors(seed=0):
    """{target: (A, B)} of a LoRA of two ranks."""
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for target in TARGETS:
        out, width = shape(target)
        a = torch.randn(rank(target), width, generator=generator)
        b = torch.randn(out, rank(target), generator=generator)
        result[target] = (a, b)
    return result


def named(naming, alpha):
    prefix, write, (name_a, name_b), _ = NAMINGS[naming]
    tensors = {}
    for target, (a, b) in factors().items():
        name = prefix + write(target)
        tensors |= {f"{name}.{name_a}": a, f"{name}.{name_b}": b}
        if alpha:
            tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return tensors


def model_weights(prefix="", write=same, dtype=torch.float32):
    generator = torch.Generator().manual_seed(7)
    weights = {target: torch.randn(*shape(target), generator=generator) for target in TARGETS}
    return {f"{prefix}{write(target)}.weight": weight.to(dtype) for target, weight in weights.items()}


def lora_of(scale=1.0, **metadata):
    return Lora(tuple(LoraLayer(target, a, b, scale) for target, (a, b) in factors().items()), "released", metadata)


def tiny_diffusers_model():
    # Imported here: the other tests also run where the cli extra, which brings diffusers, is not installed.
    from diffusers import WanAnimateTransformer3DModel

    torch.manual_seed(0)
    return WanAnimateTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=12,
        ffn_dim=8,
        text_dim=8,
        freq_dim=8,
        num_layers=5,
        latent_channels=16,
        in_channels=36,
        image_dim=8,
        added_kv_proj_dim=12,
        motion_encoder_channel_sizes={str(2**power): 2 for power in range(2, 11)},
        motion_encoder_size=4,
        motion_style_dim=4,
        motion_dim=2,
        motion_encoder_dim=4,
        face_encoder_hidden_dim=8,
        face_encoder_num_heads=1,
        inject_face_latents_blocks=5,
    )


# --- names ---


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_merges_to_exactly_w_plus_strength_scale_b_a(tmp_path, naming, alpha):
    save_file(named(naming, alpha), tmp_path / "lora.safetensors")
    lora = read_lora(tmp_path / "lora.safetensors")
    assert lora.format == NAMINGS[naming][3]
    assert lora.has_alpha is alpha
    assert [layer.target for layer in lora.layers] == TARGETS

    weights = model_weights()
    assert apply_lora(weights, lora, strength=0.7) == Coverage(20, 20, [], [], 20)

    before = model_weights()
    for target, (a, b) in factors().items():
        scale = ALPHA / rank(target) if alpha else 1.0
        expected = before[f"{target}.weight"] + 0.7 * scale * (b @ a)
        assert torch.equal(weights[f"{target}.weight"], expected), target


@pytest.mark.parametrize(
    ("key", "understood"),
    [
        ("blocks.12.self_attn.q.lora_A.default.weight", Key("blocks.12.self_attn.q", "A", "released")),
        ("blocks.12.ffn.2.lora_B.weight", Key("blocks.12.ffn.2", "B", "bare")),
        ("transformer.blocks.3.ffn.net.0.proj.lora_B.weight", Key("blocks.3.ffn.0", "B", "diffusers")),
        (
            "diffusion_model.blocks.3.cross_attn.k_img.lora_up.weight",
            Key("blocks.3.cross_attn.k_img", "B", "comfyui down/up"),
        ),
        ("lora_unet_blocks_10_cross_attn_v_img.lora_down.weight", Key("blocks.10.cross_attn.v_img", "A", "kohya")),
        ("lora_unet_blocks_1_attn1_to_out_0.alpha", Key("blocks.1.self_attn.o", "alpha", "kohya")),
        ("pipe.dit.blocks.0.ffn.0.alpha", Key("blocks.0.ffn.0", "alpha", "pipe.dit")),
        ("blocks.0.self_attn.q.weight", None),
        ("blocks.0.self_attn.norm_q.lora_A.weight", None),
        ("face_adapter.fuser_blocks.0.linear1_q.lora_A.weight", None),
        ("transformer_2.blocks.0.attn1.to_q.lora_A.weight", None),
        ("lora_unet_double_blocks_0_img_attn_proj.lora_down.weight", None),
        ("blocks.0.self_attn.q.lora_magnitude_vector", None),
    ],
)
def test_one_key_is_understood_or_not(key, understood):
    assert normalise_key(key) == understood


def test_names_of_the_real_diffusers_model_map_both_ways():
    linears = {
        name
        for name, module in tiny_diffusers_model().named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith("blocks.")
    }
    assert len(linears) == 5 * 12
    originals = {to_original(name) for name in linears}
    assert len(originals) == 5 * 12
    assert {to_diffusers(name) for name in originals} == linears
    assert {name for name in originals if name.startswith("blocks.4.")} == {
        f"blocks.4.{suffix}" for suffix in [*DIFFUSERS, "cross_attn.k_img", "cross_attn.v_img"]
    }
    for target in TARGETS:
        assert to_diffusers(target) == in_diffusers(target)


def test_a_name_that_is_no_block_layer_is_refused():
    with pytest.raises(LoraError, match=r"^a layer is .*; got blocks\.0\.norm2\.$"):
        to_original("blocks.0.norm2")
    with pytest.raises(LoraError, match=r"got head\.head"):
        to_diffusers("head.head")


# --- alpha from PEFT settings ---


def test_alpha_of_diffusers_metadata_counts(tmp_path):
    settings = json.dumps({"transformer.lora_alpha": 8, "transformer.r": 2, "transformer.alpha_pattern": {}})
    save_file(named("diffusers", False), tmp_path / "lora.safetensors", {"lora_adapter_metadata": settings})
    lora = read_lora(tmp_path / "lora.safetensors")
    assert lora.has_alpha
    assert {layer.target: layer.scale for layer in lora.layers} == {target: 8 / rank(target) for target in TARGETS}


def test_alpha_of_peft_settings_beside_the_file_counts(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8, "use_rslora": True}))
    for name in ("adapter_model.safetensors", "other.safetensors"):
        save_file(named("peft", False), tmp_path / name)
    scales = {layer.target: layer.scale for layer in read_lora(tmp_path / "adapter_model.safetensors").layers}
    assert scales == {target: 8 / rank(target) ** 0.5 for target in TARGETS}
    assert {layer.scale for layer in read_lora(tmp_path / "other.safetensors").layers} == {1.0}


def test_an_alpha_tensor_goes_before_settings():
    settings = {"lora_adapter_metadata": json.dumps({"lora_alpha": 8})}
    lora = lora_from_tensors(named("diffusers", True), settings)
    assert {layer.scale for layer in lora.layers} == {ALPHA / 2, ALPHA / 4}


@pytest.mark.parametrize("format", FORMATS)
def test_settings_are_not_counted_twice_after_saving(tmp_path, format):
    settings = {"lora_adapter_metadata": json.dumps({"lora_alpha": 8}), "author": "me"}
    lora = lora_from_tensors(named("diffusers", False), settings)
    save_lora(tmp_path / "lora.safetensors", lora, format)
    again = read_lora(tmp_path / "lora.safetensors")
    assert again.metadata == {"author": "me", "format": "pt"}
    for layer, was in zip(again.layers, lora.layers, strict=True):
        assert torch.equal(delta(layer), delta(was))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"lora_alpha": 8, "alpha_pattern": {"blocks.0.attn1.to_q": 4}}', r"one alpha .* got lora_alpha 8 and"),
        ('{"r": 8}', "got lora_alpha None"),
        ('{"r":', "PEFT settings are JSON"),
        ("[]", "got a list instead of an object"),
        ("[" * 100_000, "got JSON of more than 100 levels"),
        ('{"lora_alpha": "8"}', "got lora_alpha '8' and"),
        ('{"lora_alpha": true}', "got lora_alpha True and"),
        ('{"lora_alpha": [8]}', r"got lora_alpha \[8\] and"),
        ('{"lora_alpha": NaN}', r"got a number that is not finite \(NaN\)"),
        ('{"lora_alpha": 1e39}', "weights, alpha and what they add up to are finite numbers"),
        ('{"lora_alpha": ' + "9" * 5000 + "}", "got a number of 5000 digits"),
        ('{"lora_alpha": 8, "use_rslora": "false"}', "got use_rslora 'false', which is not true or false"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(settings, message):
    with pytest.raises(LoraError, match=message):
        lora_from_tensors(named("diffusers", False), {"lora_adapter_metadata": settings})


# --- merging ---


def test_delta_is_float32_strength_scale_b_a():
    a, b = torch.tensor([[1.0, 2.0]]).bfloat16(), torch.tensor([[3.0], [-1.0]]).half()
    layer = LoraLayer("blocks.0.ffn.0", a, b, 0.5)
    assert layer.rank == 1
    assert layer.shape == (2, 2)
    assert delta(layer, -2.0).dtype == torch.float32
    assert delta(layer, -2.0).tolist() == [[-3.0, -6.0], [1.0, 2.0]]


def test_delta_is_made_on_the_device_asked_for():
    layer = LoraLayer("blocks.0.ffn.0", torch.ones(1, 2), torch.ones(3, 1))
    assert delta(layer).device == torch.device("cpu")
    assert delta(layer, 1.0, torch.device("meta")).device == torch.device("meta")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_merging_into_a_short_dtype_rounds_once(dtype):
    weights, lora = model_weights(dtype=dtype), lora_of(0.3)
    apply_lora(weights, lora, 1.3)
    for layer in lora.layers:
        before = model_weights(dtype=dtype)[f"{layer.target}.weight"]
        expected = (before.float() + delta(layer, 1.3)).to(dtype)
        assert torch.equal(weights[f"{layer.target}.weight"].float(), expected.float())


@pytest.mark.parametrize(("prefix", "write"), [("diffusion_model.", same), ("", in_diffusers)])
def test_a_state_dict_of_comfyui_or_diffusers_merges_alike(prefix, write):
    weights, plain = model_weights(prefix, write), model_weights()
    apply_lora(weights, lora_of())
    apply_lora(plain, lora_of())
    for target in TARGETS:
        assert torch.equal(weights[f"{prefix}{write(target)}.weight"], plain[f"{target}.weight"])


def test_a_diffusers_module_merges_in_place_and_only_where_asked():
    model, untouched = tiny_diffusers_model(), tiny_diffusers_model()
    layer = LoraLayer("blocks.4.cross_attn.o", torch.ones(1, 12), torch.full((12, 1), 0.5), 2.0)
    assert apply_lora(model, Lora((layer,)), 0.25) == Coverage(1, 1, [], [], 60)
    after = model.state_dict()
    for name, before in untouched.state_dict().items():
        expected = before + 0.25 if name == "blocks.4.attn2.to_out.0.weight" else before
        assert torch.equal(after[name], expected), name
    assert all(weight.requires_grad for weight in model.parameters())


def test_nothing_is_merged_when_one_layer_does_not_fit():
    weights = model_weights()
    del weights["blocks.1.ffn.2.weight"]
    with pytest.raises(LoraError):
        apply_lora(weights, lora_of())
    assert all(torch.equal(weight, model_weights()[name]) for name, weight in weights.items())


# --- what is not finite ---


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("lora_A.weight", r"got NaN or infinity in A of blocks\.1\.ffn\.0\.$"),
        ("lora_B.weight", r"got NaN or infinity in B of blocks\.1\.ffn\.0\.$"),
        ("alpha", r"got alpha (nan|inf|-inf) at blocks\.1\.ffn\.0\.$"),
    ],
)
def test_a_layer_that_is_not_finite_is_refused_by_name(tmp_path, part, message, value):
    tensors = named("comfyui", True)
    tensors[f"diffusion_model.blocks.1.ffn.0.{part}"].view(-1)[-1] = value
    save_file(tensors, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", message)
    with pytest.raises(LoraError, match=message):
        convert(tmp_path / "lora.safetensors", tmp_path / "other.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["lora.safetensors"]


@pytest.mark.parametrize(
    ("a", "b", "scale"),
    [
        (torch.full((1, 2), 1e30), torch.full((3, 1), 1e30), 1.0),
        (torch.full((1, 2), 1e300, dtype=torch.float64), torch.ones(3, 1), 1.0),
        (torch.ones(1, 2), torch.ones(3, 1), 1e39),
        (torch.ones(1, 2), torch.ones(3, 1), float("nan")),
        (torch.full((1, 2), float("inf")).to(torch.float8_e5m2), torch.ones(3, 1), 1.0),
    ],
)
def test_no_layer_adds_what_float32_cannot_hold(a, b, scale):
    with pytest.raises(LoraError, match=r"finite numbers .* blocks\.0\.ffn\.0"):
        LoraLayer("blocks.0.ffn.0", a, b, scale)


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_not_finite_changes_nothing(strength):
    weights = model_weights()
    with pytest.raises(LoraError, match=rf"strength is a finite number \(1\.0\); got {strength}\.$"):
        apply_lora(weights, lora_of(), strength)
    assert all(torch.equal(weight, model_weights()[name]) for name, weight in weights.items())


def test_weights_that_a_short_type_cannot_hold_are_not_written(tmp_path):
    lora = Lora((LoraLayer("blocks.0.ffn.0", torch.full((1, 2), 1e5), torch.ones(3, 1)),))
    with pytest.raises(LoraError, match=r"got blocks\.0\.ffn\.0, which does not fit into float16\.$"):
        save_lora(tmp_path / "lora.safetensors", lora, dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


# --- coverage ---


def test_complete_coverage_of_a_larger_model_from_shapes_alone():
    shapes = {name: tuple(weight.shape) for name, weight in model_weights("diffusion_model.").items()}
    shapes["diffusion_model.blocks.0.cross_attn.k_img.weight"] = (6, 6)
    shapes["diffusion_model.head.head.weight"] = (64, 6)
    coverage = check_coverage(lora_of(), shapes)
    assert coverage == Coverage(matched=20, total=20, missing=[], wrong_shape=[], model_layers=21)
    assert coverage.complete


def test_partial_coverage_is_refused_with_examples_of_both_sides():
    shapes = {f"blocks.0.{suffix}.weight": shape(f"x.{suffix}") for suffix in DIFFUSERS}
    shapes["blocks.0.self_attn.q.weight"] = (9, 6)
    coverage = measure_coverage(lora_of(), shapes)
    assert coverage == Coverage(9, 20, TARGETS[10:], ["blocks.0.self_attn.q expected [9, 6] got [6, 6]"], 10)
    assert not coverage.complete
    with pytest.raises(LoraError) as error:
        check_coverage(lora_of(), shapes)
    assert str(error.value) == (
        "every layer of the LoRA must fit the model "
        "(Wan2.2-Animate-14B: 40 blocks, width 5120); got a LoRA of another model, 9 of 20 layers fit; "
        "10 not in the model: blocks.1.self_attn.q, blocks.1.self_attn.k, blocks.1.self_attn.v and 7 more; "
        "1 of another shape: blocks.0.self_attn.q expected [9, 6] got [6, 6]; "
        "the model has 10 such layers, its names are blocks.0.self_attn.q, "
        "blocks.0.self_attn.k, blocks.0.self_attn.v and 7 more."
    )


def test_a_lora_without_layers_covers_nothing():
    with pytest.raises(LoraError, match="0 of 0 layers fit"):
        check_coverage(Lora(()), model_weights())


def test_no_coverage_names_what_the_model_has_instead():
    with pytest.raises(LoraError, match=r"0 of 20 layers fit; 20 not .* has 0 such layers, its names are a.weight\.$"):
        check_coverage(lora_of(), {"a.weight": (6, 6)})


# --- writing ---


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


# --- report ---


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


# --- wrong files ---


def refused(path, message):
    with pytest.raises(LoraError, match=message) as error:
        read_lora(path)
    assert re.fullmatch(r"[^:]+ \(.+\); got .+\.", str(error.value))
    assert isinstance(error.value, InputError)


def test_a_missing_file_and_a_folder(tmp_path):
    refused(tmp_path / "none.safetensors", "none.safetensors, which is not a file")
    refused(tmp_path, "which is not a file")


@pytest.mark.parametrize("kept", [0, 5, 8, 100, -1])
def test_a_truncated_file(tmp_path, kept):
    path = tmp_path / "lora.safetensors"
    save_file(named("released", False), path)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "got lora.safetensors, which is not a complete safetensors file")


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "lora.safetensors"
    path.write_text("<html>404: this file was not found on the server</html>")
    refused(path, "got lora.safetensors, which is not a complete safetensors file")


class Canary:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["lora.pt", "lora.ckpt", "lora.safetensors", "LORA.PTH"])
@pytest.mark.parametrize("kind", ["zip", "old torch", "pickle"])
def test_a_pickle_is_refused_unopened_whatever_its_name(tmp_path, name, kind):
    canary, buffer = Canary(tmp_path / "opened"), io.BytesIO()
    if kind == "pickle":
        pickle.dump(canary, buffer)
    else:
        torch.save(canary, buffer, _use_new_zipfile_serialization=kind == "zip")
    (tmp_path / name).write_bytes(buffer.getvalue())
    refused(tmp_path / name, f"pickle files are not opened.*got {name}")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("name", ["lora.bin", "LORA.PT"])
def test_a_pickle_of_the_oldest_kind_has_no_magic_but_a_name(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps({"blocks.0.ffn.0.lora_A.weight": 1}, protocol=0))
    refused(tmp_path / name, f"pickle files are not opened.*got {name}")


def test_a_header_length_that_looks_like_a_pickle_is_not_one(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_lora(path, Lora((LoraLayer("blocks.0.ffn.0", torch.ones(1, 2), torch.ones(2, 1)),)))
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    path.write_bytes(struct.pack("<Q", 0x0280) + data[8 : 8 + length].ljust(0x0280) + data[8 + length :])
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert torch.equal(delta(read_lora(path).layers[0]), torch.ones(2, 2))


A, B = torch.ones(2, 6), torch.ones(6, 2)
Q = "blocks.0.self_attn.q"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{Q}.weight": torch.ones(6, 6), "head.head.weight": B}, "pairs of A.*got 2 tensors and not one of a LoRA"),
        ({}, "got 0 tensors and not one of a LoRA: none"),
        (
            {"blocks.0.attn.q.lora_A.weight": A.clone(), f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B},
            r"linear layer of a Wan block .*got 1 of 3 that do not: blocks.0.attn.q.lora_A.weight\.",
        ),
        ({"lora_unet_double_blocks_0_img_mlp_0.lora_down.weight": A}, "got 1 of 1 that do not: lora_unet_double"),
        ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B, f"{Q}.diff": A.clone()}, f"1 of 3 that do not: {Q}.diff"),
        ({f"{Q}.lora_A.weight": A, f"{Q}.alpha": torch.tensor(1.0)}, r"both A and B .*got 2 without the other"),
        ({f"{Q}.lora_up.weight": B}, f"got 1 without the other: {Q}.lora_up.weight"),
        (
            {f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B, "blocks.1.ffn.0.alpha": torch.tensor(1.0)},
            "got 1 without the other: blocks.1.ffn.0.alpha",
        ),
        (
            {f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B, f"diffusion_model.{Q}.lora_A.weight": A.clone()},
            rf"one A, one B.*{Q}.lora_A.weight",
        ),
        (
            {f"{Q}.lora_A.weight": torch.ones(2, 6, 1, 1), f"{Q}.lora_B.weight": B},
            rf"got A \[2, 6, 1, 1\] and B \[6, 2\] at {Q}",
        ),
        ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": torch.ones(12)}, r"got A \[2, 6\] and B \[12\]"),
        ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": torch.ones(6, 3)}, r"got A \[2, 6\] and B \[6, 3\]"),
        ({f"{Q}.lora_A.weight": torch.ones(0, 6), f"{Q}.lora_B.weight": torch.ones(6, 0)}, r"rank at .*A \[0, 6\]"),
        (
            {f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B, f"{Q}.alpha": torch.ones(2)},
            rf"alpha is one number .*got a tensor \[2\] at {Q}",
        ),
    ],
)
def test_a_file_that_is_no_lora_of_this_family(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", message)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_whole_numbers_are_no_weights(tmp_path, dtype):
    save_file({f"{Q}.lora_A.weight": A.to(dtype), f"{Q}.lora_B.weight": B.to(dtype)}, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", f"floating-point numbers .*got {str(dtype)[6:]} in A of {Q}")


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        (f"diffusion_model.{Q}.diff_b", "as those for distillation"),
        ("diffusion_model.blocks.0.norm3.diff", "as those for distillation"),
        ("diffusion_model.img_emb.proj.1.lora_down.weight", "as those for distillation"),
        ("diffusion_model.time_projection.1.lora_up.weight", "as those for distillation"),
        ("diffusion_model.head.head.lora_down.weight", "as those for distillation"),
        ("lora_unet_text_embedding_0.lora_down.weight", "as those for distillation"),
        (f"diffusion_model.{Q}.dora_scale", "this is a DoRA"),
        (f"lora_unet_{flat(Q)}.hada_w1_a", "this is a LyCORIS file"),
    ],
)
def test_files_for_the_hosts_own_loader_are_sent_there(tmp_path, more, kind):
    tensors = {f"diffusion_model.{Q}.lora_down.weight": A, f"diffusion_model.{Q}.lora_up.weight": B, more: A.clone()}
    save_file(tensors, tmp_path / "lora.safetensors")
    refused(
        tmp_path / "lora.safetensors", rf"got 1 of 3 that do not: {more}; this is .*LoraLoaderModelOnly\) beside ours"
    )
    refused(tmp_path / "lora.safetensors", kind)


def test_a_file_of_differences_alone_is_sent_there_too(tmp_path):
    save_file({"diffusion_model.blocks.0.norm3.diff": A}, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", r"not one of a LoRA: .*diff; this is .*LoraLoaderModelOnly")


def test_a_dora_that_no_loader_reads_is_to_be_merged(tmp_path):
    tensors = {
        f"{Q}.lora_A.weight": A,
        f"{Q}.lora_B.weight": B,
        f"{Q}.lora_magnitude_vector.default.weight": A[0].clone(),
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    refused(tmp_path / "lora.safetensors", r"this is a DoRA of PEFT: merge it into the model \(merge_and_unload\)")


def test_names_with_line_ends_and_numbers_without_end_stay_on_one_line(tmp_path):
    save_file(
        {f"{Q}.lora_A.weight": A, "a\n\x1b[31mb": B, f"blocks.{'9' * 5000}.ffn.0.lora_A.weight": A.clone()},
        tmp_path / "x",
    )
    with pytest.raises(LoraError) as error:
        read_lora(tmp_path / "x")
    assert str(error.value).isprintable()
    assert r"a\n\x1b[31mb" in str(error.value)
    assert len(str(error.value)) < 500
