"""A VAE for the host's nodes with exact arithmetic, so that run folders made with it fit on every machine."""

import comfy.latent_formats
import torch
from exact_parts import ExactCodec


class ExactVae:
    """Answers what HostCodec asks of the host's VAE; latents are in the host's raw space."""

    latent_channels, latent_dim = 16, 3

    def __init__(self):
        # What a run knows a VAE by.
        self.first_stage_model = torch.nn.Identity()
        self._codec, self._format = ExactCodec(), comfy.latent_formats.Wan21()

    def encode(self, frames):
        """[F, H, W, 3] in 0..1 -> raw latents [1, 16, T, h, w]."""
        return self._format.process_out(self._codec.encode(frames[..., :3]))

    def decode(self, latents):
        """Raw latents -> [1, F, H, W, 3]."""
        return self._codec.decode(self._format.process_in(latents))[None]
