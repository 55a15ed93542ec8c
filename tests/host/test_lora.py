"""LoRA files in the host."""

import pytest
import tiny_models
import torch
from base_folder import PACK
from graphs import aligned, condition, first_memory, plan, sample
from loras import RANK, TARGETS, load, write_released
from refusals import refusal
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def released(comfy):
    return write_released(comfy)


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
    convert = comfy.module(PACK, "everanimate_core.lora.files").convert
    loras = comfy.base / "models" / "loras"
    convert(loras / name, loras / "converted.safetensors", "comfyui")
    stock = {"lora_name": "converted.safetensors", "strength_model": 0.8}
    ours = latents(comfy, load(comfy, name, 0.8))
    (after,) = comfy.call("LoraLoaderModelOnly", model=aligned(comfy), **stock)
    before = aligned(comfy, comfy.call("LoraLoaderModelOnly", model=comfy.load_model(), **stock)[0])
    assert torch.equal(latents(comfy, after), ours)
    assert torch.equal(latents(comfy, before), ours)
    assert (latents(comfy, aligned(comfy)) - ours).std() > 0.02 * ours.std()


def test_a_strength_that_is_no_number_is_refused(comfy, released):
    with pytest.raises(ValueError, match=r"^Load EverAnimate LoRA: strength is a finite number \(1\.0\); got nan\.$"):
        load(comfy, released[0], float("nan"))


@pytest.fixture(scope="module")
def halves(comfy, released):
    """Two LoRAs on the same layers that add up to the first: the names of their files."""
    loras, (_, tensors) = comfy.base / "models" / "loras", released
    for half, ranks in (("first", slice(0, RANK // 2)), ("second", slice(RANK // 2, None))):
        part = {name: value[ranks] if "lora_A" in name else value[:, ranks] for name, value in tensors.items()}
        save_file({name: value.contiguous() for name, value in part.items()}, loras / f"{half}_half.safetensors")
    return "first_half.safetensors", "second_half.safetensors"


def test_two_loras_on_the_same_layers_add_up(comfy, released, halves):
    first, second = halves
    both = load(comfy, second, 0.5, load(comfy, first, 0.5))
    torch.testing.assert_close(
        latents(comfy, both), latents(comfy, load(comfy, released[0], 0.5)), rtol=1e-4, atol=1e-4
    )


def test_a_lora_on_other_layers_is_another(comfy, released, halves):
    loras = comfy.base / "models" / "loras"
    for block in (0, 1):
        part = {name: value for name, value in released[1].items() if name.startswith(f"blocks.{block}.")}
        save_file(part, loras / f"block_{block}.safetensors")
    model = load(comfy, "block_1.safetensors", model=load(comfy, "block_0.safetensors"))
    assert len(model.patches) == 2 * len(TARGETS)


def converted(comfy, name, layers, dtype=None):
    """The LoRA under other layer names and in another type: the name of its file."""
    loras = comfy.base / "models" / "loras"
    comfy.module(PACK, "everanimate_core.lora.files").convert(
        loras / name, loras / f"as_{layers}.safetensors", layers, dtype
    )
    return f"as_{layers}.safetensors"


def stock(comfy, name, strength=0.3):
    """The model behind the stock loader."""
    loader = {"lora_name": name, "strength_model": strength}
    return comfy.call("LoraLoaderModelOnly", model=comfy.load_model(), **loader)[0]


@pytest.mark.parametrize(
    ("layers", "dtype"), [("comfyui", None), ("kohya", torch.bfloat16), ("comfyui", torch.float16)]
)
def test_the_same_lora_twice_is_refused(comfy, released, layers, dtype):
    name, _ = released
    for model in (load(comfy, name), stock(comfy, converted(comfy, name, layers, dtype))):
        assert refusal(load, comfy, name, 0.5, model) == (
            "Load EverAnimate LoRA: a LoRA is added to a model once (remove the other loader, or change its strength "
            "instead); got released.safetensors, of which 100 layers are on the model already "
            "(diffusion_model.blocks.0.self_attn.q.weight)."
        )


@pytest.mark.parametrize("alpha", [RANK / 2, None])
def test_a_lora_that_holds_alpha_is_the_same_as_one_that_does_not(comfy, released, alpha):
    name, tensors = released
    factor = 1 if alpha is None else RANK / alpha
    scaled = {key: value * factor if "lora_B" in key else value for key, value in tensors.items()}
    scaled = {f"diffusion_model.{key}": value for key, value in scaled.items()}
    for key in [key for key in scaled if "lora_A" in key and alpha is not None]:
        scaled[key.replace("lora_A.default.weight", "alpha")] = torch.tensor(alpha)
    save_file(scaled, comfy.base / "models" / "loras" / "scaled.safetensors")
    with pytest.raises(ValueError, match="100 layers are on the model already"):
        load(comfy, name, model=stock(comfy, "scaled.safetensors"))


def test_a_lora_that_was_trained_on_from_another_is_another(comfy, released):
    """Its weights are near those of the other, though not by rounding alone."""
    name, tensors = released
    generator = torch.Generator().manual_seed(7)
    further = {
        key: value + 0.05 * value.abs().max() * (2 * torch.rand(value.shape, generator=generator) - 1)
        for key, value in tensors.items()
    }
    save_file(further, comfy.base / "models" / "loras" / "further.safetensors")
    model = load(comfy, "further.safetensors", model=load(comfy, name))
    assert [len(patches) for patches in model.patches.values()] == [2] * len(model.patches) == [2] * 100


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number(comfy, released, strength):
    with pytest.raises(ValueError, match=rf"^Load EverAnimate LoRA: strength .*; got {strength}\.$"):
        load(comfy, released[0], strength)


def test_a_lora_of_another_model_is_refused(comfy):
    tensors = {}
    for part, shape in (("A", (RANK, 5120)), ("B", (5120, RANK))):
        tensors[f"blocks.0.self_attn.q.lora_{part}.default.weight"] = torch.zeros(shape)
    save_file(tensors, comfy.base / "models" / "loras" / "other.safetensors")
    with pytest.raises(ValueError, match="a LoRA of another model, 0 of 1 layers fit"):
        load(comfy, "other.safetensors")


def test_a_lora_of_our_trainer_loads_in_ours_and_converted_in_the_stock_loader(comfy):
    """From the training network to the host's toy: all 50 layers, and the same merged weights both ways."""
    from comfy import model_management

    from everanimate_core.lora.files import convert, lora_from_tensors, save_lora
    from everanimate_core.toy.network.dit import load_dit
    from everanimate_core.training.network import Network

    with torch.inference_mode(False):
        network = Network(load_dit(), anchors=4, rank=RANK, seed=0)
        generator = torch.Generator().manual_seed(5)
        trained = {
            name: torch.randn(value.shape, generator=generator) / 16 for name, value in network.trained().items()
        }
        loras = comfy.base / "models" / "loras"
        save_lora(loras / "trained.safetensors", lora_from_tensors(trained))
        convert(loras / "trained.safetensors", loras / "trained_comfyui.safetensors", "comfyui")
    toy = comfy.call("EverAnimateLoadToy", seed=0, frames=1)[0]
    ours = load(comfy, "trained.safetensors", model=toy)
    (stock,) = comfy.call("LoraLoaderModelOnly", model=toy, lora_name="trained_comfyui.safetensors", strength_model=1.0)
    assert len(ours.patches) == len(stock.patches) == 50
    merged = []
    for model in (ours, stock):
        model_management.load_models_gpu([model], force_full_load=True)
        weights = model.model.diffusion_model.state_dict()
        merged.append({key.removeprefix("diffusion_model."): weights[key.removeprefix("diffusion_model.")].clone()
                       for key in model.patches})  # fmt: skip
        model.unpatch_model()
    assert merged[0].keys() == merged[1].keys()
    for key in merged[0]:
        assert torch.equal(merged[0][key], merged[1][key])
    # A layer by hand: W + B A.
    a, b = (trained[f"blocks.2.ffn.net.2.lora_{part}.default.weight"] for part in "AB")
    expected = load_dit().blocks[2].ffn.net[2].weight + b @ a
    torch.testing.assert_close(merged[0]["blocks.2.ffn.2.weight"], expected, rtol=1e-5, atol=1e-5)
