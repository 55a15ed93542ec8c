"""CogVideoX, SketchDiT and their VAE with tiny random weights, in diffusers' classes."""

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

from everanimate_core.backends.cog_networks import SketchDiT
from everanimate_core.longanimation.dglm import DglmSizes, GlobalLocalMemory

TEXT_DIM, TEXT_TOKENS = 48, 7
# Of CogVideoX1.5.
SCALE = 0.7
CONFIG = {
    "num_attention_heads": 2,
    "attention_head_dim": 64,
    "in_channels": 32,
    "out_channels": 16,
    "time_embed_dim": 32,
    "ofs_embed_dim": 32,
    "text_embed_dim": TEXT_DIM,
    "num_layers": 4,
    "sample_width": 170,
    "sample_height": 96,
    "sample_frames": 81,
    "patch_size": 2,
    "patch_size_t": 2,
    "use_rotary_positional_embeddings": True,
    "use_learned_positional_embeddings": False,
    "patch_bias": False,
    "max_text_seq_length": TEXT_TOKENS,
}
SKETCH_CONFIG = CONFIG | {"num_layers": 2, "sample_width": 300, "sample_height": 300}

# All but the widths of control and heads is fixed in the authors' class.
DGLM_SIZES = DglmSizes(width=128, kv=512, narrow=1024, wide=2048, inner=192)


def drawn(network, seed, spread=0.05):
    """The network with random weights, without gradients."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(spread * torch.randn(value.shape, generator=generator))
    return network.eval().requires_grad_(False)


def base_network(seed=0):
    return drawn(CogVideoXTransformer3DModel(**CONFIG), seed)


def sketch_network(seed=1):
    return drawn(SketchDiT(**SKETCH_CONFIG), seed)


def dglm_network(seed=3, sizes=DGLM_SIZES):
    """Its attention is sharp: with weights as small as the others', keys would hardly matter."""
    network = drawn(GlobalLocalMemory(sizes), seed, 1.0)
    for name, value in network.named_parameters():
        if value.ndim == 2:
            value.mul_((3 if ".to_q." in name or ".to_k." in name else 0.5) / value.shape[1] ** 0.5)
        else:
            value.mul_(0.1).add_(name.endswith(".weight"))
    return network


def vae():
    """Random, but of a size at which pictures come back as pictures."""
    network = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=2,
        scaling_factor=SCALE,
        invert_scale_latents=True,
    )
    return drawn(network, 2, 0.2)


def save_cog(folder):
    """Write a diffusers folder of CogVideoX I2V with all of its parts at tiny size, and SketchDiT beside them."""
    from safetensors.torch import save_file
    from transformers import T5Config, T5EncoderModel
    from wan_folder import save_tokenizer

    base_network().save_pretrained(folder / "transformer")
    vae().save_pretrained(folder / "vae")
    torch.manual_seed(0)
    text = T5Config(vocab_size=5, d_model=TEXT_DIM, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(text).save_pretrained(folder / "text_encoder")
    save_tokenizer(folder / "tokenizer")
    weights = {name: value.contiguous() for name, value in sketch_network().state_dict().items()}
    save_file(weights, folder / "control_module.safetensors")
