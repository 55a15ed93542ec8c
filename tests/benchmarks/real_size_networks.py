"""Wan2.2-Animate-14B and the Wan VAE at their true sizes, or at a tiny one, with random weights; nothing is downloaded.

The classes, names of weights and file formats are the host's. The values are those of `tests/host/tiny_models.py`,
whose velocity is of order one, made fast: normal noise once for each shape, rolled for each weight.
"""

from types import SimpleNamespace

import torch

# Of the published network. The tiny one has two heads, and ten blocks: two of them with a face adapter.
REAL = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}
TINY = {"dim": 256, "ffn_dim": 512, "num_heads": 2, "num_layers": 10}
# What stays in bf16 in published fp8 files: all but the matrices of the blocks.
FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0


def sizes(tiny):
    """Of the network."""
    return TINY if tiny else REAL


def animate_state(sizes, kind, device):
    """State dict of a Wan2.2-Animate network. kind: bf16, fp8_scaled (as published files: a scale for each matrix of
    the blocks) or float32."""
    import comfy.ops
    import tiny_models
    from comfy.ldm.wan.model_animate import AnimateWanModel

    common = {"in_dim": 36, "text_dim": 4096, "operations": comfy.ops.disable_weight_init}
    shapes = AnimateWanModel(**sizes, **common, device="meta", dtype=torch.bfloat16).state_dict()
    # Constants, which do not depend on the width.
    small = AnimateWanModel(**TINY | {"num_layers": 5}, **common, device="cpu", dtype=torch.float32)
    constants = dict(small.named_buffers())
    dtype = torch.float32 if kind == "float32" else torch.bfloat16
    noise, state = {}, {}
    generator = torch.Generator(device).manual_seed(0)
    for number, (name, like) in enumerate(shapes.items()):
        if name in constants:
            state[name] = constants[name].clone().to(dtype)
            continue
        shape = tuple(like.shape)
        if shape not in noise:
            noise[shape] = torch.randn(shape, generator=generator, device=device)
        values = tiny_models.weight_of(name, noise[shape].roll(number, 0), tiny_models.ANIMATE_GAINS)
        matrix = name.startswith("blocks.") and name.endswith(".weight") and len(shape) == 2
        if kind == "fp8_scaled" and matrix:
            scale = values.abs().max() / FP8_MAX
            state[name] = (values / scale).to(FP8).cpu()
            state[name.removesuffix("weight") + "scale_weight"] = scale.float().cpu().reshape(())
        else:
            state[name] = values.to(dtype).cpu()
    if kind == "fp8_scaled":
        state["scaled_fp8"] = torch.zeros(0, dtype=FP8)
    return state


def load_animate(sizes, kind, device):
    """The MODEL, and how many parameters it has."""
    import comfy.sd

    state = animate_state(sizes, kind, device)
    count = sum(value.numel() for value in state.values())
    return comfy.sd.load_diffusion_model_state_dict(state), count


def load_vae(tiny):
    """The VAE: Wan 2.1's width, or the narrow one of the tests."""
    import comfy.sd
    import tiny_models

    if tiny:
        return tiny_models.load_vae()
    return comfy.sd.VAE(sd=tiny_models.vae_state_dict(tiny_models.FULL_VAE_WIDTH))


class FixedLook:
    """CLIP vision that sees the same in every picture: features of the right shapes."""

    def encode_image(self, image, crop=True):
        generator = torch.Generator().manual_seed(1)
        features = torch.randn(1, 257, 1280, generator=generator)
        return SimpleNamespace(
            penultimate_hidden_states=features, last_hidden_state=features, image_embeds=torch.zeros(1, 1024)
        )


def text():
    """CONDITIONING as from the text encoder."""
    import tiny_models

    return tiny_models.conditioning()
