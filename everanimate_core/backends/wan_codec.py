"""The Wan VAE between RGB frames and the model's normalised latent space."""

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..latents import SPATIAL_FACTOR
from ..plan import latent_frames, pixel_frames
from ..runs.stages import DECODING, ENCODING, stage
from .streams import own_stream


class WanCodec:
    """Frames <-> normalised latents, z = (mean of the posterior - latents_mean) / latents_std, with diffusers' VAE.

    vae: an AutoencoderKLWan (`load_vae`), used on its own device and in its own dtype; on a GPU in a stream of its own,
    so that it can work beside the network. One thread at a time: it keeps what it has seen of a clip. tiled: decode in
    overlapping tiles of 256 pixels, which needs less memory and is not quite the same picture. Time is never tiled
    (that would reset the causal cache), and neither is encoding (seams would enter the memory).
    """

    def __init__(self, vae: nn.Module, *, tiled: bool = False):
        self.vae = vae
        self.tiled = tiled
        self.stream = own_stream(vae.device)
        self.mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
        self.std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)

    @stage(ENCODING)
    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """frames: [F, H, W, 3] in 0..1, F = 4n + 1, H and W multiples of 8. Returns [1, 16, T, H/8, W/8], float32, CPU.

        One frame gives the first latent frame of any clip that starts with it.
        """
        count, height, width = frames.shape[:3]
        if pixel_frames(latent_frames(count)) != count:
            raise InputError("the number of frames", "must be 4n + 1 for the VAE", "1, 5, 77", count)
        if height % SPATIAL_FACTOR or width % SPATIAL_FACTOR:
            raise InputError(
                "width and height", f"must be multiples of {SPATIAL_FACTOR}", "832x480", f"{width}x{height}"
            )
        with torch.cuda.stream(self.stream):
            video = frames.movedim(-1, 0)[None].to(self.vae.device, self.vae.dtype) * 2 - 1
            latents = self.vae.encode(video).latent_dist.mode().float().cpu()
        return (latents - self.mean) / self.std

    @stage(DECODING)
    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """latents: [1, 16, T, h, w], normalised. Returns [4(T - 1) + 1, 8h, 8w, 3] in 0..1, float32, CPU."""
        raw = latents.float().cpu() * self.std + self.mean
        self.vae.use_tiling = self.tiled
        with torch.cuda.stream(self.stream):
            try:
                video = self.vae.decode(raw.to(self.vae.device, self.vae.dtype)).sample
            finally:
                self.vae.use_tiling = False
            frames = video[0].movedim(0, -1).float().cpu()
        return (frames + 1) / 2
