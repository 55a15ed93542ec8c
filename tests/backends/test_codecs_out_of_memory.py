"""Every codec says whether memory ran out while it encoded or while it decoded."""

import pytest
import torch
from colour_parts import vae as colour_vae

from everanimate_core.backends.cog_codec import CogCodec
from everanimate_core.backends.wan_codec import WanCodec
from everanimate_core.runs.stages import OutOfMemory
from everanimate_core.toy.network.vae import ToyCodec
from everanimate_core.toy.network.vae import load_vae as toy_vae

# Codecs, and what they call for encoding and decoding.
CODECS = {
    "wan": (lambda vae: WanCodec(vae), "encode", "decode"),
    "colour": (lambda vae: CogCodec(colour_vae()), "encode", "decode"),
    "toy": (lambda vae: ToyCodec(toy_vae()), "normalised", "from_normalised"),
}


def too_much(*values):
    return torch.empty(2**50)


@pytest.mark.parametrize("kind", CODECS)
def test_each_codec(vae, monkeypatch, kind):
    make, encode, decode = CODECS[kind]
    codec = make(vae)
    frames = torch.zeros(9, 64, 64, 3)
    latents = codec.encode(frames)
    monkeypatch.setattr(codec.vae, encode, too_much)
    monkeypatch.setattr(codec.vae, decode, too_much)
    with pytest.raises(OutOfMemory, match=r"^out of memory \(RAM\) while encoding frames; got "):
        codec.encode(frames)
    with pytest.raises(OutOfMemory, match=r"^out of memory \(RAM\) while decoding latents; got ") as caught:
        codec.decode(latents)
    # The toy has no tiles.
    assert ("tiled switched on" in str(caught.value)) == (kind != "toy")
