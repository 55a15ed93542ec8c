"""Models whose weights are packed: GGUF files, and any whose state dict does not hold what its parameters are."""

import json

import pytest
import tiny_models
import torch
from base_folder import PACK, gguf_pack
from graphs import aligned, condition, first_memory, plan, sample
from loras import load, write_released
from packed import pack_linear_layers
from refusals import refusal
from safetensors.torch import load_file, save_file
from test_animate import animate, kept_latents

needs_pack = pytest.mark.skipif(gguf_pack() is None, reason="needs ComfyUI-GGUF (EVERANIMATE_GGUF=/path/to/it)")


@pytest.fixture(scope="module")
def released(comfy):
    return write_released(comfy)


def original(comfy):
    """The weights of the tiny model as they lie in its file."""
    return load_file(comfy.base / "models" / "diffusion_models" / tiny_models.MODEL_FILES[torch.float32])


def fresh_model(comfy):
    """The tiny model, loaded anew."""
    (model,) = comfy.call("UNETLoader", unet_name=tiny_models.MODEL_FILES[torch.float32], weight_dtype="default")
    return model


@pytest.fixture(scope="module")
def packed_model(comfy):
    model = fresh_model(comfy)
    pack_linear_layers(model.model)
    return model


def network_digest(comfy, model):
    return comfy.module(PACK, "nodes.fingerprint").network_digest(model)


def test_the_stand_in_lies_as_gguf_layers_do(packed_model):
    name = "diffusion_model.blocks.0.self_attn.q.weight"
    state, parameters = packed_model.model.state_dict(), dict(packed_model.model.named_parameters())
    assert state[name].is_meta and state[name].shape == (256, 1024)
    assert parameters[name].shape == (256, 256) and parameters[name].dtype == torch.uint8
    assert "diffusion_model.blocks.0.self_attn.q.temp.weight" in state.keys() - parameters.keys()


def test_a_lora_fits_by_the_shapes_of_the_parameters(comfy, packed_model, released):
    assert len(load(comfy, released[0], model=packed_model).patches) == 100


def test_a_lora_of_another_model_is_still_refused(comfy, packed_model):
    tensors = {"lora_A": torch.zeros(4, 1024), "lora_B": torch.zeros(256, 4)}
    tensors = {f"blocks.0.self_attn.q.{part}.default.weight": value for part, value in tensors.items()}
    save_file(tensors, comfy.base / "models" / "loras" / "packed_shape.safetensors")
    with pytest.raises(ValueError, match=r"expected \[256, 256\] got \[256, 1024\]"):
        load(comfy, "packed_shape.safetensors", model=packed_model)


def test_every_packed_weight_counts_in_the_digest(comfy, packed_model):
    before = network_digest(comfy, packed_model)
    weight = packed_model.model.diffusion_model.blocks[9].ffn[2].weight
    weight.data.flatten()[0] ^= 1
    changed = network_digest(comfy, packed_model)
    weight.data.flatten()[0] ^= 1
    assert before == network_digest(comfy, packed_model) != changed


def test_weights_that_are_not_in_memory_are_refused_by_name(comfy):
    model = fresh_model(comfy)
    layer = model.model.diffusion_model.blocks[0].ffn[0]
    layer.weight = torch.nn.Parameter(layer.weight.to("meta"), requires_grad=False)
    assert refusal(animate, comfy, "not_in_memory", aligned(comfy, model)) == (
        "Animate Long Video: model must have its weights in memory (as loader nodes give it); got "
        "diffusion_model.blocks.0.ffn.0.weight without values."
    )


# --- the pack itself


def write_gguf(path, weights, kind):
    """A GGUF file of the tiny model: the linear layers of its blocks quantised as `kind`, the rest in float32.

    Returns what the quantised weights stand for, {name: values}.
    """
    import gguf
    from gguf.quants import dequantize, quantize

    kind = getattr(gguf.GGMLQuantizationType, kind)
    writer, meant = gguf.GGUFWriter(path, "wan"), {}
    for name, weight in weights.items():
        values = weight.float().numpy()
        if weight.ndim == 2 and name.startswith("blocks.") and name.endswith("weight"):
            packed = quantize(values, kind)
            meant[name] = torch.from_numpy(dequantize(packed, kind))
            writer.add_tensor(name, packed, raw_dtype=kind)
            continue
        if weight.ndim > 4:  # the format knows no more: such files name the shape
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(weight.shape))
            values = values.reshape(weight.shape[0], -1)
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


@pytest.fixture(scope="module", params=["Q8_0", "Q4_0"])
def quantised(comfy, request):
    """The tiny model from a GGUF file through ComfyUI-GGUF's loader, and a plain model of the values it stands for."""
    models, weights = comfy.base / "models" / "diffusion_models", original(comfy)
    meant = write_gguf(models / f"tiny_{request.param}.gguf", weights, request.param)
    save_file(weights | meant, models / f"meant_{request.param}.safetensors")
    (model,) = comfy.call("UnetLoaderGGUF", unet_name=f"tiny_{request.param}.gguf")
    (plain,) = comfy.call("UNETLoader", unet_name=f"meant_{request.param}.safetensors", weight_dtype="default")
    return model, plain


def latents(comfy, model):
    chunk = condition(comfy, first_memory(comfy), plan(comfy, total=9))
    return sample(comfy, model, *chunk)["samples"]


@needs_pack
def test_a_lora_on_a_gguf_model_does_what_it_does_on_a_plain_one(comfy, quantised, released):
    model, plain = quantised
    with_lora = latents(comfy, load(comfy, released[0], model=model))
    expected = latents(comfy, load(comfy, released[0], model=plain))
    torch.testing.assert_close(with_lora, expected, rtol=2e-2, atol=2e-2 * float(expected.std()))
    assert (with_lora - latents(comfy, aligned(comfy, model))).std() > 0.02 * expected.std()


@needs_pack
def test_a_run_on_a_gguf_model_goes_on_with_the_same_file_only(comfy, quantised, released):
    model, plain = quantised
    named = f"gguf_{id(model)}"
    animate(comfy, named, load(comfy, released[0], model=model), total_frames=14)
    first = kept_latents(comfy, named)
    report = json.loads(animate(comfy, named, load(comfy, released[0], model=model), total_frames=19)[3])
    assert len(report["chunks"]) == 3
    assert all(torch.equal(one, other) for one, other in zip(first, kept_latents(comfy, named)[:2], strict=True))
    with pytest.raises(ValueError, match="the model is another one"):
        animate(comfy, named, load(comfy, released[0], model=plain), total_frames=19, on_change="stop")
