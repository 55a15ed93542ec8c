"""Wan-Animate without ComfyUI: one chunk of an animation, sampled with diffusers' transformer and plain Euler steps."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..errors import InputError
from ..everanimate.context import Context
from ..everanimate.propagation import ChunkRequest
from ..everanimate.restoration import restored
from ..everanimate.sampling import euler
from ..noise import draw_noise
from ..ports import Codec, StepCallback, Velocity
from .wan_alignment import Driving, encode_driving, predict_velocity

MAX_TIMESTEP = 1000
TEXT_TOKENS = 512


@dataclass(frozen=True)
class DiffusersWan:
    """A loaded Wan-Animate; its bound method `sample_chunk` is what `propagation.animate` asks for.

    transformer: `load_transformer`; its device and dtype are where and how the network runs. codec: `WanCodec`.
    text: prompt states [P, L <= 512, 4096]; chunk k reads row k, the last row serves all later chunks.
    image_encoder: image [1, H, W, 3] in 0..1 -> CLIP tokens [1, 257, 1280] (`ClipVision`); None for a transformer that
    was made without CLIP (the toy), whose text may be of any length.
    predict: how the transformer is called, by several processes together in the place of this one alone.
    cfg: guidance scale; 1 means none, without a second pass, as the released LoRA expects. negative_text: [1, L, 4096],
    needed when cfg is not 1. The negative pass sees a face video of -1 all over, and the same pose and CLIP tokens.
    """

    transformer: nn.Module
    codec: Codec
    text: Tensor
    image_encoder: Callable[[Tensor | None], Tensor] | None
    cfg: float = 1.0
    negative_text: Tensor | None = None
    predict: Callable[..., Tensor] = predict_velocity

    def __post_init__(self):
        if self.cfg != 1 and self.negative_text is None:
            raise InputError("cfg", "other than 1 needs a negative text", "its 512 states", f"{self.cfg} without one")

    def velocity(self, request: ChunkRequest) -> Velocity:
        """The velocity field of one chunk: (x [1, 16, N + T, h, w] float32, scalar sigma) -> v like x.

        What does not change from step to step (pose tokens, motion vectors, CLIP tokens) is computed here, once. The
        request's restoration corrects the guided velocity. Raises ValueError when pose, face or text do not fit.
        """
        row = min(request.index, len(self.text) - 1)
        text = self._states(self.text[row : row + 1])
        driving = self._driving(request, request.face_pixels)
        clip = None
        if self.image_encoder is not None:
            clip = self._to_network(self.image_encoder(request.clip_image))

        def conditional(x: Tensor, sigma: Tensor) -> Tensor:
            return self._predict(request.context, driving, text, clip, x, sigma)

        if self.cfg == 1 or self.negative_text is None:
            return restored(conditional, request.correct)
        negative_text = self._states(self.negative_text)
        silence = None if request.face_pixels is None else torch.full_like(request.face_pixels, -1)
        negative_driving = self._driving(request, silence)

        def guided(x: Tensor, sigma: Tensor) -> Tensor:
            negative = self._predict(request.context, negative_driving, negative_text, clip, x, sigma)
            return negative + self.cfg * (conditional(x, sigma) - negative)

        return restored(guided, request.correct)

    @torch.no_grad()
    def sample_chunk(
        self, request: ChunkRequest, noise_seed: int, *, sigmas: Tensor, on_step: StepCallback | None = None
    ) -> Tensor:
        """Denoise one chunk, from noise drawn with `noise_seed`, along sigmas [steps + 1], which fall from 1 to 0.

        Returns its latents [1, 16, T, h, w], normalised, float32, CPU, the N anchors cut off; the last ones are
        `request.end` where there is one. on_step: see `sampling.euler`. `velocity` says what raises ValueError, always
        before the first step.
        """
        velocity = self.velocity(request)
        noise = draw_noise(request.latents_shape, noise_seed).to(self.transformer.patch_embedding.weight.device)
        return euler(velocity, noise, sigmas, on_step, request.end)[:, :, request.anchors :].cpu()

    def _states(self, text: Tensor) -> Tensor:
        return self._to_network(text if self.image_encoder is None else _pad_text(text))

    def _to_network(self, tensor: Tensor) -> Tensor:
        weight = self.transformer.patch_embedding.weight
        return tensor.to(weight.device, weight.dtype)

    def _driving(self, request: ChunkRequest, face: Tensor | None) -> Driving:
        latents = request.latents_shape[2] - request.anchors
        pose = request.pose_latents
        return encode_driving(self.transformer, anchors=request.anchors, latents=latents, pose=pose, face=face)

    def _predict(
        self, context: Context, driving: Driving, text: Tensor, clip: Tensor | None, x: Tensor, sigma: Tensor
    ) -> Tensor:
        model_input = self._to_network(context.network_input(x))
        timestep = (MAX_TIMESTEP * sigma).reshape(1).to(x.device)
        return self.predict(self.transformer, driving, model_input, timestep, text, clip).to(x.dtype)


def _pad_text(text: Tensor) -> Tensor:
    """Text states [P, L, C], L at most 512, with zeros behind: [P, 512, C].

    The network counts 512 tokens from the end; of a shorter text it would read image tokens too, without an error.
    """
    if text.ndim != 3 or text.shape[1] > TEXT_TOKENS:
        raise InputError("text", f"must be [P, L, C] with L at most {TEXT_TOKENS} tokens", "", list(text.shape))
    return pad(text, (0, 0, 0, TEXT_TOKENS - text.shape[1]))
