"""Every naming of a LoRA file gives the same weights."""

import json

import pytest
import torch
from lora_parts import (
    ALPHA,
    DIFFUSERS,
    NAMINGS,
    TARGETS,
    factors,
    in_diffusers,
    model_weights,
    named,
    rank,
    tiny_diffusers_model,
)
from safetensors.torch import save_file

from everanimate_core.lora.files import (
    FORMATS,
    lora_from_tensors,
    read_lora,
    save_lora,
)
from everanimate_core.lora.fit import Coverage, apply_lora, delta
from everanimate_core.lora.names import Key, LoraError, normalise_key, to_diffusers, to_original


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
