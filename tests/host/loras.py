"""A LoRA file for the tiny model, and the pack's loader."""

import torch
from safetensors.torch import save_file

RANK = 4
TARGETS = [f"{kind}.{part}" for kind in ("self_attn", "cross_attn") for part in "qkvo"] + ["ffn.0", "ffn.2"]


def write_released(comfy):
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
