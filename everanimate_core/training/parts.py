"""The parts of a network that training needs, each loaded when it is asked for, and only then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..backends.wan_checkpoint import load_transformer, load_vae
from ..backends.wan_codec import WanCodec
from ..backends.wan_encoders import ClipVision, WanFiles, encode_prompts
from ..ports import Codec


class VaeCodec(Codec, Protocol):
    """A codec that says which VAE it uses."""

    @property
    def vae(self) -> nn.Module:
        """The network."""


@dataclass(frozen=True)
class Parts:
    """texts: prompts -> states [P, L, 4096]. image_encoder: gives what makes CLIP tokens [1, 257, 1280] of an image
    [1, H, W, 3], None for a network without CLIP. codec: gives the VAE, float32. network: (device, dtype) -> the
    transformer. steps: Euler steps that make a good clip. vae_dtype: of the VAE's weights while stage 2 trains.
    checkpoints: whether activations are too large to be kept."""

    texts: Callable[[Sequence[str]], Tensor]
    image_encoder: Callable[[], Callable[[Tensor], Tensor]] | None
    codec: Callable[[], VaeCodec]
    network: Callable[[torch.device, torch.dtype], nn.Module]
    steps: int
    vae_dtype: torch.dtype = torch.float32
    checkpoints: bool = True


def wan_parts(files: WanFiles, device: torch.device) -> Parts:
    """Wan-Animate; the encoders run on `device`."""
    return Parts(
        texts=lambda prompts: encode_prompts(files, prompts, device=device),
        image_encoder=lambda: ClipVision.from_folder(files.image_encoder, device=device),
        codec=lambda: WanCodec(load_vae(files.vae, device=device)),
        network=lambda device, dtype: load_transformer(files.transformer, device=device, dtype=dtype),
        steps=20,
        vae_dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
    )
