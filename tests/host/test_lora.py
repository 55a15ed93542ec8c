"""LoRA files in the host."""

import pytest
import tiny_models
import torch
from graphs import PACK, aligned, condition, first_memory, plan, sample
from safetensors.torch import load_file, save_file

RANK = 4
TARGETS = [f"{kind}.{part}" for kind in ("self_attn", "cross_attn") for part in "qkvo"] + ["ffn.0", "ffn.2"]


@pytest.fixture(scope="module")
def released(comfy):
    """A random LoRA under the released key names, in the host's loras folder: its name and tensors."""
    network, generator = comfy.load_model().model.diffusion_model, torch.Generator().manual_seed(7)
    tensors = {}
    for block in range(len(network.blocks)):
        for target in TARGETS:
            rows, columns = network.get_submodule(f"blocks.{block}.{target}").weight.shape
            name = f"blocks.{block}.{target}.lora"
            tensors[f"{name}_A.default.weight"] = torch.randn(RANK, columns, generator=generator) / columns**0.5
            tensors[f"{name}_B.default.weight"] = torch.randn(rows, RANK, generator=generator) / RANK
    save_file(tensors, comfy.base / "models" / "loras" / "released.safetensors")
    return "released.safetensors", tensors


def load(comfy, name, strength=1.0, model=None):
    """The model behind Load EverAnimate LoRA."""
    model = comfy.load_model() if model is None else model
    return comfy.call("EverAnimateLoadLora", model=model, lora_name=name, strength=strength)[0]


def latents(comfy, model):
    chunk = condition(comfy, first_memory(comfy), plan(comfy, total=9))
    return sample(comfy, model, *chunk)["samples"]


@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_every_layer_is_merged_exactly(comfy, released, strength):
    from comfy import model_management

    name, tensors = released
    model = load(comfy, name, strength)
    assert len(model.patches) == 100
    original = load_file(comfy.base / "models" / "diffusion_models" / tiny_models.MODEL_FILES[torch.float32])
    model_management.load_models_gpu([model], force_full_load=True)
    merged = model.model.diffusion_model.state_dict()
    for block in range(10):
        for target in TARGETS:
            key = f"blocks.{block}.{target}"
            a, b = (tensors[f"{key}.lora_{part}.default.weight"] for part in "AB")
            expected = original[f"{key}.weight"] + strength * b @ a
            torch.testing.assert_close(merged[f"{key}.weight"], expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(merged["blocks.0.self_attn.q.bias"], original["blocks.0.self_attn.q.bias"])


def test_the_stock_loader_matches_no_layer_of_the_released_names(comfy, released):
    (model,) = comfy.call("LoraLoaderModelOnly", model=comfy.load_model(), lora_name=released[0], strength_model=1.0)
    assert not model.patches


def test_ours_equals_the_stock_loader_on_a_converted_file_before_and_after_alignment(comfy, released):
    name, _ = released
    convert = comfy.module(PACK, "everanimate_core.lora").convert
    loras = comfy.base / "models" / "loras"
    convert(loras / name, loras / "converted.safetensors", "comfyui")
    stock = {"lora_name": "converted.safetensors", "strength_model": 0.8}
    ours = latents(comfy, load(comfy, name, 0.8))
    (after,) = comfy.call("LoraLoaderModelOnly", model=aligned(comfy), **stock)
    before = aligned(comfy, comfy.call("LoraLoaderModelOnly", model=comfy.load_model(), **stock)[0])
    assert torch.equal(latents(comfy, after), ours)
    assert torch.equal(latents(comfy, before), ours)
    assert (latents(comfy, aligned(comfy)) - ours).std() > 0.02 * ours.std()


def test_two_loras_add_up(comfy, released):
    name, _ = released
    twice = latents(comfy, load(comfy, name, 0.25, load(comfy, name, 0.25)))
    torch.testing.assert_close(twice, latents(comfy, load(comfy, name, 0.5)), rtol=1e-4, atol=1e-4)


def test_a_lora_of_another_model_is_refused(comfy):
    tensors = {}
    for part, shape in (("A", (RANK, 5120)), ("B", (5120, RANK))):
        tensors[f"blocks.0.self_attn.q.lora_{part}.default.weight"] = torch.zeros(shape)
    save_file(tensors, comfy.base / "models" / "loras" / "other.safetensors")
    with pytest.raises(ValueError, match="a LoRA of another model, 0 of 1 layers fit"):
        load(comfy, "other.safetensors")
