"""LongAnimation in the host at tiny size, with random weights: what its nodes are given for three short windows."""

from types import SimpleNamespace

import pytest
import torch
from base_folder import PACK
from safetensors.torch import save_file
from tensor_parts import rand

WIDTH, HEIGHT, FRAMES, OVERLAP = 64, 48, 17, 9
# Steps that divide 1000: the scheduler `simple` then takes the timesteps of the training.
STEPS, FIRST, TOTAL = 5, 2, 30
SIZE = {"width": WIDTH, "height": HEIGHT, "fit": "error"}
LINES = {"lines": "dark_on_light", "threshold": 0.78}
SHORT = {"steps": STEPS, "fuse_from": FIRST, "fuse": True}


@pytest.fixture(scope="module", autouse=True)
def hidden(comfy):
    """What the executor tells a node of its graph."""
    from comfy_api.latest import io

    hidden = SimpleNamespace(prompt=None, extra_pnginfo=None, unique_id="1", dynprompt=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io.ComfyNode, "hidden", hidden)
        yield


def write_networks(folder, **networks):
    """Each as a file of its name."""
    for name, network in networks.items():
        weights = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(weights, folder / f"{name}.safetensors")


def load_base(cog, folder):
    """The base of a folder as a MODEL; one with so few heads is told the latent format of CogVideoX1.5."""
    from comfy.latent_formats import CogVideoX1_5

    model = cog.load_base(str(folder / "base.safetensors"), torch.float32)
    model.model.latent_format = CogVideoX1_5()
    return model


def host_class(vae):
    """A VAE of diffusers in the host's class."""
    from comfy.ldm.cogvideo.vae import AutoencoderKLCogVideoX

    mine = AutoencoderKLCogVideoX(block_out_channels=(8, 8, 8, 8), layers_per_block=1, groups=2).eval()
    mine.load_state_dict(vae.state_dict())
    return mine


def tiny_inputs(comfy, folder, vae, *memory_file):
    """Inputs of Colour Long Animation, with the networks of a folder."""
    cog = comfy.module(PACK, "nodes.cogvideo")
    return {
        "model": load_base(cog, folder),
        "control": cog.load_sketch(str(folder / "sketch.safetensors"), *memory_file),
        "vae": comfy.module(PACK, "nodes.toy").host_vae(host_class(vae)),
        "positive": [[rand(1, 7, 48, seed=1), {}]],
        "negative": [[rand(1, 7, 48, seed=2), {}]],
        "lineart": (rand(TOTAL, HEIGHT, WIDTH, 3, seed=3) > 0.2).float(),
        "reference": rand(1, HEIGHT, WIDTH, 3, seed=4),
    }


def of(parts, *names):
    return {name: parts[name] for name in names}
