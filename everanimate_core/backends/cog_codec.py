"""CogVideoX's VAE between RGB frames and latents, in batches of frames as the network was trained."""

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..latents import SPATIAL_FACTOR
from ..plan import latent_frames, pixel_frames
from ..runs.stages import DECODING, ENCODING, stage
from .streams import own_stream


class CogCodec:
    """Frames <-> latents as they are (the network's scale is not in them), with diffusers' AutoencoderKLCogVideoX.

    vae: used on its own device and in its own dtype, by one thread at a time; on a GPU in a stream of its own. Its
    batches (8 + F % 8 frames, then 8 at a time) are what its norms were trained on. tiled: decode in tiles of space,
    which needs less memory and is not quite the same picture; time is never tiled.
    """

    def __init__(self, vae: nn.Module, *, tiled: bool = False):
        self.vae, self.tiled, self.stream = vae, tiled, own_stream(vae.device)

    @stage(ENCODING)
    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """frames: [F, H, W, 3] in 0..1, F = 4n + 1, H and W multiples of 8. Returns [1, 16, T, H/8, W/8], float32, CPU,
        the mean of the posterior."""
        count, height, width = frames.shape[:3]
        if pixel_frames(latent_frames(count)) != count:
            raise InputError("the number of frames", "must be 4n + 1 for the VAE", "1, 49, 81", count)
        if height % SPATIAL_FACTOR or width % SPATIAL_FACTOR:
            raise InputError(
                "width and height", f"must be multiples of {SPATIAL_FACTOR}", "1024x576", f"{width}x{height}"
            )
        with torch.cuda.stream(self.stream):
            video = frames.movedim(-1, 0)[None].to(self.vae.device, self.vae.dtype) * 2 - 1
            return self.vae.encode(video).latent_dist.mode().float().cpu()

    @stage(DECODING)
    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """latents: [1, 16, T, h, w]. Returns [4(T - 1) + 1, 8h, 8w, 3] in 0..1, float32, CPU."""
        self.vae.use_tiling = self.tiled
        with torch.cuda.stream(self.stream):
            try:
                video = self.vae.decode(latents.to(self.vae.device, self.vae.dtype)).sample
            finally:
                self.vae.use_tiling = False
            frames = video[0].movedim(0, -1).float().cpu()
        return (frames / 2 + 0.5).clamp(0, 1).contiguous()
