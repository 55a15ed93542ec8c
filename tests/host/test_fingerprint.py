"""What a run is known by: every weight of the checkpoint, and all that LoRAs, conditionings and samplers hold."""

import json
import threading

import pytest
import tiny_models
import torch
from base_folder import PACK
from graphs import aligned
from loras import load, write_released
from refusals import refusal
from safetensors.torch import load_file, save_file
from tensor_parts import randn
from test_animate import animate, run_folder

FILE = tiny_models.MODEL_FILES[torch.float32]


@pytest.fixture(scope="module")
def identity(comfy):
    return comfy.module(PACK, "nodes.fingerprint")


@pytest.fixture(scope="module")
def released(comfy):
    return write_released(comfy)


def load_unet(comfy, name=FILE, dtype="default"):
    """A model of a diffusion_models file, loaded anew."""
    return comfy.call("UNETLoader", unet_name=name, weight_dtype=dtype)[0]


def merged_unet(comfy, layer="patch_embedding"):
    """The same with a LoRA merged into one layer of the file."""
    folder = comfy.base / "models" / "diffusion_models"
    weights = load_file(folder / FILE)
    weight = weights[f"{layer}.weight"]
    up, down = randn(weight.shape[0], 4, seed=1), randn(4, weight[0].numel(), seed=2)
    weights[f"{layer}.weight"] = weight + 0.01 * (up @ down).view(weight.shape)
    save_file(weights, folder / "merged.safetensors")
    return load_unet(comfy, "merged.safetensors")


# --- the network


@pytest.mark.parametrize("layer", ["blocks.0.self_attn.q", "blocks.9.ffn.2", "head.head", "patch_embedding"])
def test_a_checkpoint_with_a_merged_lora_is_another(comfy, identity, layer):
    """0.1.0 looked at biases and norms only, which a LoRA leaves as they are."""
    base, merged = load_unet(comfy), merged_unet(comfy, layer)
    old = comfy.module(PACK, "nodes.fingerprint_0_1_0")
    assert old.network_digest(base) == old.network_digest(merged)
    assert identity.network_digest(base) != identity.network_digest(merged)
    assert identity.network_digest(base) == identity.network_digest(load_unet(comfy))


@pytest.mark.parametrize("dtype", ["default", "fp8_e4m3fn"])
@pytest.mark.parametrize("memory", [1e32, 1_000_000], ids=["whole", "in parts"])
def test_loras_that_another_graph_left_in_the_weights_do_not_count(comfy, identity, released, dtype, memory):
    from comfy import model_management

    base = load_unet(comfy, dtype=dtype)
    before = identity.network_digest(base)
    with_lora = load(comfy, released[0], model=base)
    assert identity.network_digest(with_lora) == before
    with_lora.patch_model(lowvram_model_memory=memory, device_to=torch.device("cpu"))
    # In parts, the host adds the LoRA of some layers only when they are used.
    assert (len(with_lora.backup) == 100) == (memory > 1e9)
    assert identity.network_digest(with_lora) == identity.network_digest(base) == identity.network_digest(base.clone())
    assert identity.network_digest(base) == before
    with_lora.unpatch_model()
    assert identity.network_digest(base) == before
    model_management.unload_all_models()


def test_weights_that_the_host_turns_into_the_type_it_uses_do_not_count_as_others(comfy, identity):
    """Loading on demand rounds parameters that lie beside whole modules for good, when they are first needed."""
    model = load_unet(comfy)
    block = model.model.diffusion_model.blocks[0]
    block.modulation_comfy_model_dtype = torch.bfloat16
    before = identity.network_digest(model)
    block.modulation.data = block.modulation.data.to(torch.bfloat16)
    assert identity.network_digest(model) == before
    block.modulation.data[0, 0, 0] += 1
    assert identity.network_digest(model) != before


def test_no_weight_is_read_whole(comfy, identity):
    """Weights lie in files that are read where they are touched: 14B of them must not be."""
    model = load_unet(comfy)
    for (_, weight), (_, again) in zip(identity.original_weights(model), identity.original_weights(model), strict=True):
        assert weight.data_ptr() == again.data_ptr()


# --- LoRAs


def patched(comfy, seed=0, alpha=None, strength=1.0, key="self_attn.q", part=None):
    """A model with one patch on it."""
    from comfy.weight_adapter import LoRAAdapter

    model = comfy.load_model().clone()
    patch = LoRAAdapter(set(), (randn(256, 4, seed=seed), randn(4, 256, seed=seed + 1), alpha, None, None, None))
    name = f"diffusion_model.blocks.0.{key}.weight"
    model.add_patches({name if part is None else (name, part): patch}, strength)
    return model


def test_everything_about_a_lora_counts(comfy, identity):
    models = [
        comfy.load_model(),
        patched(comfy),
        patched(comfy, seed=5),
        patched(comfy, alpha=2.0),
        patched(comfy, alpha=4.0),
        patched(comfy, strength=0.5),
        patched(comfy, key="self_attn.k"),
        patched(comfy, part=(0, 0, 256)),
    ]
    digests = [identity.patches_digest(model) for model in models]
    assert len(set(digests)) == len(models)
    assert identity.patches_digest(patched(comfy)) == digests[1]


# --- conditionings


def control_net(strength=1.0, seed=0, hint=0):
    """A ControlNet of the host around a small network."""
    from comfy import controlnet

    network = torch.nn.Linear(8, 8)
    network.weight.data, network.bias.data = randn(8, 8, seed=seed), torch.zeros(8)
    control = controlnet.ControlNet(network, load_device=torch.device("cpu"))
    return control.set_cond_hint(randn(1, 3, 8, 8, seed=hint), strength, (0.0, 0.8))


def chained(first, second):
    return first.set_previous_controlnet(second)


def hook(strength=1.0, seed=0, start=0.0):
    """A LoRA of a conditioning, as Create Hook LoRA makes it."""
    from comfy import hooks

    group = hooks.create_hook_lora({"blocks.0.self_attn.q.lora_A.weight": randn(4, 256, seed=seed)}, strength, 1.0)
    keyframes = hooks.HookKeyframeGroup()
    keyframes.add(hooks.HookKeyframe(strength=1.0, start_percent=start))
    group.set_keyframes_on_hooks(keyframes)
    return group


def seen(seed=0):
    """What CLIP vision saw."""
    from comfy import clip_vision

    output = clip_vision.Output()
    output["last_hidden_state"], output["image_sizes"] = randn(1, 4, 8, seed=seed), [(3, 8, 8)]
    return output


def gligen(seed=0):
    from comfy.model_patcher import ModelPatcher

    network = torch.nn.Linear(8, 8)
    network.weight.data, network.bias.data = randn(8, 8, seed=seed), torch.zeros(8)
    patcher = ModelPatcher(network, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))
    return ("position", patcher, [(randn(1, 8), 8, 8, 0, 0)])


def model_conds(value=1):
    from comfy import conds

    return {"extra": conds.CONDConstant(value), "latents": conds.CONDList([randn(2), randn(2, seed=1)])}


OPTIONS = {
    "nothing": lambda: {},
    "none": lambda: {"pooled_output": None},
    "text": lambda: {"guidance": "a"},
    "area": lambda: {"area": (8, 8, 0, 0)},
    "another area": lambda: {"area": (8, 8, 4, 0)},
    "area in percent": lambda: {"area": ("percentage", 1.0, 0.5, 0.0, 0.0)},
    "mask": lambda: {"mask": torch.ones(1, 8, 8), "mask_strength": 1.0},
    "reference latents": lambda: {"reference_latents": [randn(1, 16, 1, 8, 8)]},
    "other reference latents": lambda: {"reference_latents": [randn(1, 16, 1, 8, 8, seed=1)]},
    "control": lambda: {"control": control_net(), "control_apply_to_uncond": True},
    "weaker control": lambda: {"control": control_net(0.5), "control_apply_to_uncond": True},
    "control by another network": lambda: {"control": control_net(seed=1), "control_apply_to_uncond": True},
    "control with another hint": lambda: {"control": control_net(hint=1), "control_apply_to_uncond": True},
    "two controls": lambda: {"control": chained(control_net(), control_net()), "control_apply_to_uncond": True},
    "two others": lambda: {"control": chained(control_net(), control_net(0.5)), "control_apply_to_uncond": True},
    "hooks": lambda: {"hooks": hook()},
    "weaker hooks": lambda: {"hooks": hook(0.5)},
    "hooks of another LoRA": lambda: {"hooks": hook(seed=1)},
    "hooks that start late": lambda: {"hooks": hook(start=0.5)},
    "picture": lambda: {"clip_vision_output": seen()},
    "other picture": lambda: {"clip_vision_output": seen(1)},
    "unclip": lambda: {"unclip_conditioning": [{"clip_vision_output": seen(), "strength": 1.0}]},
    "weaker unclip": lambda: {"unclip_conditioning": [{"clip_vision_output": seen(), "strength": 0.5}]},
    "gligen": lambda: {"gligen": gligen()},
    "other gligen": lambda: {"gligen": gligen(1)},
    "model conds": lambda: {"model_conds": model_conds()},
    "other model conds": lambda: {"model_conds": model_conds(2)},
}  # fmt: skip


def test_everything_in_a_conditioning_counts(identity):
    found = {}
    for name, make in OPTIONS.items():
        found.setdefault(identity.conditioning_digest([[randn(1, 2, 4), make()]], "positive"), []).append(name)
    assert [names for names in found.values() if len(names) > 1] == []


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_conditioning_made_again_is_the_same(identity, kind):
    one, other = ([[randn(1, 2, 4), OPTIONS[kind]()]] for _ in range(2))
    assert identity.conditioning_digest(one, "positive") == identity.conditioning_digest(other, "positive")


def test_what_sampling_leaves_in_a_conditioning_does_not_count(identity):
    control, group = control_net(), hook()
    before = [identity.conditioning_digest([[randn(2), {"control": control, "hooks": group}]], "positive")]
    control.cond_hint, control.timestep_range = randn(1, 3, 16, 16), (999.0, 200.0)
    control.model_sampling_current = threading.Lock()
    group.reset()
    group.hooks[0].hook_keyframe._current_used_steps = 3
    after = identity.conditioning_digest([[randn(2), {"control": control, "hooks": group.clone()}]], "positive")
    assert before == [after]


def test_a_conditioning_that_cannot_be_compared_is_refused_before_sampling(comfy):
    for name in ("positive", "prompts"):
        text = comfy.conditioning()
        text[0][1]["guide"] = {"lock": threading.Lock()}
        assert refusal(animate, comfy, "unknown", **{name: text}) == (
            f"Animate Long Video: {name} must hold what can be compared when the run goes on (tensors, numbers, text, "
            f"models with their weights in memory); got a lock at {name}[0][1]['guide']['lock']."
        )
    assert not run_folder(comfy, "unknown").exists()


# --- samplers and CLIP vision


def test_everything_about_a_sampler_counts(comfy, identity):
    from comfy import samplers

    def sampler(name="euler", **options):
        return samplers.ksampler(name, options)

    made = [
        sampler(),
        sampler("heun"),
        sampler("dpm_fast"),
        sampler(eta=0.5),
        sampler(eta=1.0),
        sampler(levels=[1, 2]),
        sampler(levels=[1, 3]),
        sampler(noise=randn(3)),
        sampler(noise=randn(3, seed=1)),
        sampler(inner=sampler(eta=0.5)),
        sampler(inner=sampler(eta=1.0)),
        samplers.KSAMPLER(lambda x: x),
        samplers.ksampler("euler", {}, {"random": True}),
    ]
    digests = [identity.sampler_digest(one) for one in made]
    assert len(set(digests)) == len(made)
    assert identity.sampler_digest(sampler(levels=[1, 2])) == digests[5]


def test_a_sampler_without_a_name_is_known_by_its_parts(comfy, identity):
    from functools import partial

    from comfy import samplers
    from comfy.k_diffusion import sampling

    def sampler(churn):
        return samplers.KSAMPLER(partial(sampling.sample_euler, s_churn=churn))

    assert identity.sampler_digest(sampler(0.0)) == identity.sampler_digest(sampler(0.0))
    assert identity.sampler_digest(sampler(0.0)) != identity.sampler_digest(sampler(1.0))


def other_clip_vision(folder):
    """A CLIP_VISION that has another weight in one layer."""
    clip = tiny_models.clip_vision(folder)
    clip.model.vision_model.encoder.layers[1].mlp.fc1.weight.data *= 2
    return clip


def test_clip_vision_counts_by_its_weights(comfy, identity, tmp_path):
    made = tiny_models.clip_vision(tmp_path), tiny_models.clip_vision(tmp_path), other_clip_vision(tmp_path)
    digests = [identity.clip_vision_digest(one) for one in made]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("change", ["merged", "clip_vision", "sampler"])
def test_a_run_does_not_go_on_with_another(comfy, tmp_path, change):
    from comfy import samplers

    name = f"started_{change}"
    animate(comfy, name, total_frames=9)
    other = {
        "merged": lambda: {"model": aligned(comfy, merged_unet(comfy))},
        "clip_vision": lambda: {"clip_vision": other_clip_vision(tmp_path)},
        "sampler": lambda: {"sampler": samplers.ksampler("euler", {"s_tmax": [1.0]})},
    }[change]()
    changed = {"merged": "the model is another one"}.get(change, f"{change} is another one")
    with pytest.raises(ValueError, match=f"was made with other settings .* got {changed}"):
        animate(comfy, name, total_frames=9, on_change="stop", **other)
    report = json.loads(animate(comfy, name, total_frames=14)[3])
    assert len(report["chunks"]) == 2
