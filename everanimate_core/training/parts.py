"""The parts of a network that training needs, each loaded when it is asked for, and only then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..backends.wan_checkpoint import load_transformer, load_vae
from ..backends.wan_codec import WanCodec
from ..backends.wan_encoders import ClipVision, WanFiles, encode_prompts
from ..memory import Codec
from ..toy import dit, engine
from ..toy import vae as toy_vae


@dataclass(frozen=True)
class Parts:
    """texts: prompts -> states [P, L, 4096]. image_encoder: gives what makes CLIP tokens [1, 257, 1280] of an image
    [1, H, W, 3], None for a network without CLIP. codec: gives the VAE. network: (device, dtype) -> the transformer.
    steps: Euler steps that make a good clip."""

    texts: Callable[[Sequence[str]], Tensor]
    image_encoder: Callable[[], Callable[[Tensor], Tensor]] | None
    codec: Callable[[], Codec]
    network: Callable[[torch.device, torch.dtype], nn.Module]
    steps: int


def toy_parts(weights: Path) -> Parts:
    """The embedded toy with the transformer in the file `weights`: no text, no CLIP."""
    return Parts(
        texts=lambda prompts: engine.NO_TEXT.expand(len(prompts), -1, -1),
        image_encoder=None,
        codec=lambda: toy_vae.ToyCodec(toy_vae.load_vae()),
        # So small that nothing is gained by rounding its weights.
        network=lambda device, dtype: dit.load_dit(weights, device=device),
        steps=engine.STEPS,
    )


def wan_parts(files: WanFiles, device: torch.device) -> Parts:
    """Wan-Animate; the encoders run on `device`."""
    return Parts(
        texts=lambda prompts: encode_prompts(files, prompts, device=device),
        image_encoder=lambda: ClipVision.from_folder(files.image_encoder, device=device),
        codec=lambda: WanCodec(load_vae(files.vae, device=device)),
        network=lambda device, dtype: load_transformer(files.transformer, device=device, dtype=dtype),
        steps=20,
    )
