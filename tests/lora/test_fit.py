"""Merging, what is not finite, and how a LoRA fits a model."""

import pytest
import torch
from lora_parts import (
    DIFFUSERS,
    TARGETS,
    in_diffusers,
    lora_of,
    model_weights,
    named,
    refused,
    same,
    shape,
    tiny_diffusers_model,
)
from refusals import refusal
from safetensors.torch import save_file

from everanimate_core.lora.files import (
    Lora,
    LoraLayer,
    convert,
    save_lora,
)
from everanimate_core.lora.fit import Coverage, apply_lora, check_coverage, delta, measure_coverage
from everanimate_core.lora.names import LoraError


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
    assert refusal(check_coverage, lora_of(), shapes, kind=LoraError) == (
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
