"""Random but well-behaved miniature models that ComfyUI's own loaders accept.

The network classes, key names and file formats are the host's, only the sizes are small: what passes here passes
through the same detection, model management and sampling code as the 14B checkpoint. Needs an importable ComfyUI.
"""

import json
import re
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file

DIM = 256  # two heads: the host fixes the head dimension at 128
LAYERS = 10  # a multiple of five, so that the face adapter has two blocks
FFN_DIM = 512
TEXT_DIM = 4096
CLIP_DIM = 1280  # the width that Wan's image embedding expects
BASE_LAYERS = 2  # of the networks that newer hosts know
FULL_VAE_WIDTH = 96
NARROW_VAE_WIDTH = 16

MODEL_FILES = {torch.float32: "tiny_animate_fp32.safetensors", torch.bfloat16: "tiny_animate_bf16.safetensors"}
BASE_FILES = {"animate2": "tiny_animate2.safetensors", "scail2": "tiny_scail2.safetensors"}
VAE_FILE = "random_wan_vae.safetensors"
_WAN_VAE_MARKER = "decoder.middle.0.residual.0.gamma"

# (pattern, standard deviation relative to 1/sqrt(fan_in)); the first match decides, the rest gets 1. Chosen so that the
# velocity is of order one and so that no input of the network can be dropped without moving it visibly.
ANIMATE_GAINS = (
    (r"patch_embedding\.weight", 3.0),  # latents and pose, against the text and image tokens of ten blocks
    (r"time_projection", 0.5),
    (r"self_attn\.v\.", 3.0),  # averaging over many tokens shrinks the result
    (r"fuser_blocks\.\d+\.linear2", 4.0),
    (r"(face_encoder|motion_encoder).*bias", 0.2),  # the face itself, not a constant
)
_VAE_GAINS = (
    (r"^conv1\.weight", 3.0),  # raw latents of a real Wan VAE spread about 1.5 to 3
    (r"decoder\.head", 0.8),  # keeps most pixels inside the range that the host clamps to
)
# StyleGAN layers divide by sqrt(fan_in) themselves and the direction matrix is orthogonalised: both want unit variance.
_UNIT_VARIANCE = re.compile(r"motion_encoder\..*weight|padding_tokens|class_embedding|position_embedding")
_MODULATION = re.compile(r"modulation$")
_NORM_SCALE = re.compile(r"norm.*weight$|gamma$|img_emb\.proj\.[04]\.weight$")


def _randomise(module, gains=()):
    """State dict of `module` with random weights. Every tensor has a generator of its own, named by its key, so that
    two hosts that list the same keys in another order get the same weights."""
    buffers = {name for name, _ in module.named_buffers()}
    state = {}
    for name, tensor in module.state_dict().items():
        if name in buffers:
            state[name] = tensor.clone()
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        state[name] = weight_of(name, torch.randn(tensor.shape, generator=generator), gains)
    return state


def weight_of(name, values, gains=()):
    """The well-behaved weight of that name, made of normal noise `values` of its shape."""
    if _NORM_SCALE.search(name):
        return 1 + 0.1 * values
    if _MODULATION.search(name):
        return 0.4 * values
    if _UNIT_VARIANCE.search(name):
        return values
    gain = next((gain for pattern, gain in gains if re.search(pattern, name)), 1.0)
    is_bias = values.ndim == 1 or name.endswith("bias")
    return values * gain * (0.1 if is_bias else values[0].numel() ** -0.5)


def animate_state_dict():
    """A Wan2.2-Animate network with original key names (36 M of its parameters are the motion and face encoders, whose
    sizes are fixed)."""
    import comfy.ops
    from comfy.ldm.wan.model_animate import AnimateWanModel

    network = AnimateWanModel(
        in_dim=36, dim=DIM, ffn_dim=FFN_DIM, num_heads=DIM // 128, num_layers=LAYERS, text_dim=TEXT_DIM,
        dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    return _randomise(network, ANIMATE_GAINS)


def base_state_dict(base):
    """A network of Wan-Animate 2 or SCAIL-2, "animate2" or "scail2", with original key names."""
    import comfy.ops

    sizes = {"dim": DIM, "ffn_dim": FFN_DIM, "num_heads": DIM // 128, "num_layers": BASE_LAYERS, "text_dim": TEXT_DIM}
    sizes |= {"dtype": torch.float32, "device": "cpu", "operations": comfy.ops.disable_weight_init}
    if base == "animate2":
        from comfy.ldm.wan.model_animate2 import WanAnimate2Model

        network = WanAnimate2Model(in_dim=36, **sizes)
    else:
        from comfy.ldm.wan.model import SCAIL2WanModel

        network = SCAIL2WanModel(in_dim=20, **sizes)
    return _randomise(network, ANIMATE_GAINS)


def load_wan22():
    """A MODEL of Wan 2.2's own VAE, which has 48 channels."""
    import comfy.ops
    import comfy.sd
    from comfy.ldm.wan.model import WanModel

    network = WanModel(
        model_type="t2v", in_dim=48, out_dim=48, dim=DIM, ffn_dim=FFN_DIM, num_heads=DIM // 128, num_layers=1,
        text_dim=TEXT_DIM, dtype=torch.float32, device="cpu", operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    return comfy.sd.load_diffusion_model_state_dict(_randomise(network))


def write_bases(models: Path):
    """Wan-Animate 2 and SCAIL-2 for the stock loader, on hosts that know them: the first one's file says what it is."""
    for base, name in BASE_FILES.items():
        config = json.dumps({"transformer": {"model_type": base}})
        save_file(base_state_dict(base), models / "diffusion_models" / name, metadata={"config": config})


def _wan_vae(width):
    from comfy.ldm.wan.vae import WanVAE

    return WanVAE(dim=width, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True])


def vae_state_dict(width):
    """A Wan 2.1 VAE of the given width."""
    return _randomise(_wan_vae(width), _VAE_GAINS)


def load_vae():
    """A narrow Wan 2.1 VAE inside the host's own wrapper."""
    import comfy.sd
    from comfy.model_patcher import ModelPatcher

    state = vae_state_dict(NARROW_VAE_WIDTH)
    try:
        return comfy.sd.VAE(sd=dict(state))
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
    # Older hosts insist on width 96, many times slower: let them build their wrapper around an empty network of that
    # width (one key is enough to be recognised) and put the narrow one in its place.
    vae = comfy.sd.VAE(sd={_WAN_VAE_MARKER: torch.ones(4 * FULL_VAE_WIDTH, 1, 1, 1)})
    vae.first_stage_model = _wan_vae(NARROW_VAE_WIDTH).eval()
    vae.first_stage_model.load_state_dict(state)
    vae.first_stage_model.to(vae.vae_dtype)
    offload_device = vae.patcher.offload_device
    vae.patcher = ModelPatcher(vae.first_stage_model, load_device=vae.device, offload_device=offload_device)
    return vae


def write_full_vae(models: Path):
    """A VAE file of the released width, for the stock loader. Returns its name."""
    state = {key: value.to(torch.bfloat16) for key, value in vae_state_dict(FULL_VAE_WIDTH).items()}
    save_file(state, models / "vae" / VAE_FILE)
    return VAE_FILE


def write_animate(models: Path):
    """The diffusion model in both precisions, for the stock loader."""
    animate = animate_state_dict()
    for dtype, name in MODEL_FILES.items():
        save_file({key: value.to(dtype) for key, value in animate.items()}, models / "diffusion_models" / name)


def clip_vision(folder: Path):
    """A two-layer CLIP vision model. The stock loader knows models by their depth, so this one is built directly."""
    import comfy.clip_vision

    config = {
        "model_type": "clip_vision_model", "hidden_act": "gelu", "image_size": 224, "patch_size": 14, "num_channels": 3,
        "hidden_size": CLIP_DIM, "num_attention_heads": 16, "num_hidden_layers": 2, "intermediate_size": 256,
        "projection_dim": 32,
    }  # fmt: skip
    path = Path(folder) / "tiny_clip_vision.json"
    path.write_text(json.dumps(config))
    clip = comfy.clip_vision.ClipVisionModel(str(path))
    missing, unexpected = clip.load_sd(_randomise(clip.model))
    assert not missing and not unexpected, (missing, unexpected)
    return clip


def conditioning(seed=0):
    """What a text encoder would return: [1, 512, 4096]. Tokens share a direction, as words of one prompt do;
    independent noise alone would average out in the attention."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(1, 1, TEXT_DIM, generator=generator)
    return [[0.5 * (shared + torch.randn(1, 512, TEXT_DIM, generator=generator)), {}]]
