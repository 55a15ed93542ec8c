"""Video-XL with tiny random weights: a model, and the folder that it would be published as."""

import json
import re

import torch
from safetensors.torch import save_file

from everanimate_core.longanimation.beacon import BeaconSettings
from everanimate_core.longanimation.prompt import PREFIX, SUFFIX
from everanimate_core.longanimation.video_memory import VideoModel, VideoSettings
from everanimate_core.longanimation.vision import VisionSettings

READ_LAYERS = (0, 2, 4)
# Two beacons for a frame: 8 x 8 patches, pooled to 16 tokens. Three frames fill a window.
VISION = {"width": 128, "inner": 48, "heads": 2, "blocks": 2, "image": 32, "patch": 4, "out": 64}
LANGUAGE = {
    "width": 64,
    "inner": 96,
    "heads": 8,
    "kv_heads": 4,
    "layers": 5,
    "window": 48,
    "rope_theta": 1e6,
    "norm_eps": 1e-6,
    "read_layers": READ_LAYERS,
}
# As Video-XL says it of itself.
CONFIG = {
    "architectures": ["LlavaQwenForCausalLM"],
    "model_type": "llava_qwen",
    "torch_dtype": "float32",
    "vocab_size": max(PREFIX + SUFFIX) + 10,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
    "hidden_act": "silu",
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "beacon_window": 48,
    "beacon_stride": 48,
    "beacon_attn": "full-coverage",
    "beacon_attend_prev": True,
    "beacon_sink_size": 0,
    "beacon_ratio": [8],
    "beacon_ratio_mix": "step-random",
    "beacon_param": ["q", "k", "v"],
    "beacon_pos": "interleave",
    "beacon_parallel_window": 1,
    "beacon_embed_init": "eos",
    "beacon_accum": True,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_hidden_size": 128,
    "mm_projector_type": "mlp2x_gelu",
    "mm_patch_merge_type": "unires",
    "mm_spatial_pool_stride": 2,
    "mm_spatial_pool_mode": "average",
    "unfreeze_mm_vision_tower": True,
    "eos_token_id": 151643,
    "bos_token_id": 151643,
}


def settings(**language):
    return VideoSettings(VisionSettings(**VISION), BeaconSettings(**LANGUAGE | language))


def video_model(seed=0, **language):
    """Without gradients. language: settings that are not those of LANGUAGE."""
    return drawn(VideoModel(settings(**language)), seed)


def drawn(network, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(_random(name, value.shape, generator))
    return network.eval().requires_grad_(False)


def frames(count, height=40, width=52, seed=1):
    """Noise: [count, H, W, 3] in 0..1, as videos of 8 bits hold it."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator) / 255


def published_weights(layers=5, seed=2):
    """All weights of a tiny Video-XL under its own names, with those that its memory does not need."""
    width, kv, vocabulary = 64, 32, CONFIG["vocab_size"]
    shapes = {
        "model.embed_tokens.weight": (vocabulary, width),
        "model.beacon_embed_tokens.weight": (1, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (vocabulary, width),
        "model.mm_projector.0.weight": (width, 128),
        "model.mm_projector.0.bias": (width,),
        "model.mm_projector.2.weight": (width, width),
        "model.mm_projector.2.bias": (width,),
    }
    for number in range(layers):
        layer = f"model.layers.{number}"
        for part, outputs in (("q", width), ("k", kv), ("v", kv)):
            for name in (f"{part}_proj", f"beacon_{part}_proj"):
                shapes[f"{layer}.self_attn.{name}.weight"] = (outputs, width)
                shapes[f"{layer}.self_attn.{name}.bias"] = (outputs,)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (width, width)
        shapes[f"{layer}.mlp.gate_proj.weight"] = shapes[f"{layer}.mlp.up_proj.weight"] = (96, width)
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, 96)
        shapes[f"{layer}.input_layernorm.weight"] = shapes[f"{layer}.post_attention_layernorm.weight"] = (width,)
    tower = "model.vision_tower.vision_tower.vision_model"
    shapes |= {
        f"{tower}.embeddings.class_embedding": (128,),
        f"{tower}.embeddings.patch_embedding.weight": (128, 3, 4, 4),
        f"{tower}.embeddings.position_embedding.weight": (65, 128),
    }
    norms = ["pre_layrnorm", "post_layernorm"]
    for number in range(3):
        block = f"{tower}.encoder.layers.{number}"
        linears = [(f"self_attn.{part}_proj", 128, 128) for part in ("q", "k", "v", "out")]
        for name, inputs, outputs in (*linears, ("mlp.fc1", 128, 48), ("mlp.fc2", 48, 128)):
            shapes[f"{block}.{name}.weight"] = (outputs, inputs)
            shapes[f"{block}.{name}.bias"] = (outputs,)
        norms += [f"encoder.layers.{number}.layer_norm1", f"encoder.layers.{number}.layer_norm2"]
    for norm in norms:
        shapes[f"{tower}.{norm}.weight"] = shapes[f"{tower}.{norm}.bias"] = (128,)
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, shape, generator) for name, shape in sorted(shapes.items())}


def _random(name, shape, generator):
    """Such that no weight goes unnoticed: norms multiply by about 1."""
    value = 0.2 * torch.randn(shape, generator=generator)
    return value + 1 if re.search(r"norm\d?\.weight$", name) else value


def save_published(folder, weights, config=CONFIG):
    """Write a folder as Video-XL is published."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
