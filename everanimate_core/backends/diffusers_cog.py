"""LongAnimation without ComfyUI: one window, sampled with diffusers' CogVideoX and SketchDiT."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..latents import with_end
from ..longanimation.control import chosen_blocks, controlled
from ..longanimation.dglm import DGLM, GlobalLocalMemory, check_memory
from ..longanimation.dpm import alpha_bars, clean_estimate, draw_noise, sample, timesteps
from ..longanimation.settings import Settings
from ..longanimation.windows import WindowRequest, window_fusion
from ..method import Sampled
from ..ports import StepCallback
from .cog_codec import CogCodec
from .cog_networks import predict, rotary_embedding


@dataclass(frozen=True)
class DiffusersCog:
    """A loaded CogVideoX I2V with its SketchDiT; its bound method `sample_window` is what a run asks for.

    base, sketch: on one device and in one dtype, which is where and how they run. codec: `CogCodec`. scale: what the
    network reads latents times, of the VAE's config. text: prompt states [P, L, C]; window k reads row k, the last row
    serves all later ones. negative_text: [1, L, C], needed where cfg is not 1. memory_net: placed as the others, it
    reads `request.memory`; None for runs without memory.
    """

    base: nn.Module
    sketch: nn.Module
    codec: CogCodec
    scale: float
    text: Tensor
    negative_text: Tensor | None = None
    memory_net: GlobalLocalMemory | None = None

    @torch.no_grad()
    def sample_window(
        self, request: WindowRequest, noise_seed: int, *, settings: Settings, on_step: StepCallback | None = None
    ) -> Sampled:
        """Denoise one window from noise of that seed; its latents [1, 16, T - 1, h, w] for the VAE, float32, CPU.

        The last ones are `request.end` where there is one. With fusion the extras hold `tails` for the next window.
        on_step(step, steps, clean): after each step. Raises InputError, before the first step, where blocks, tails,
        text or memory do not fit.
        """
        blocks = self.base.transformer_blocks
        chosen = chosen_blocks(settings.blocks, len(blocks))
        if settings.cfg != 1 and self.negative_text is None:
            raise InputError("cfg", "other than 1 needs a negative text", "its states", f"{settings.cfg} without one")
        fusion = window_fusion(request, settings)
        correct = self._correction(request)
        generator = torch.Generator().manual_seed(noise_seed)

        def draw() -> Tensor:
            return draw_noise(request.latents_shape, generator).to(self.base.device)

        row = self.text[min(request.index, len(self.text) - 1), None]
        texts = [row] if settings.cfg == 1 or self.negative_text is None else [self.negative_text, row]
        text = self._to_network(torch.cat(texts))
        sketch, reference = (
            self._to_network(latents.transpose(1, 2)).expand(len(text), -1, -1, -1, -1)
            for latents in (self.scale * request.sketch, request.reference)
        )
        rotary = rotary_embedding(self.base, sketch)
        schedule, steps = alpha_bars(settings.steps), timesteps(settings.steps)

        def clean(x: Tensor, index: int) -> Tensor:
            timestep = torch.full((len(text),), steps[index], device=x.device)
            state = self._to_network(x.transpose(1, 2)).expand(len(text), -1, -1, -1, -1)
            control = self.sketch(torch.cat([sketch, reference], dim=2), text, timestep, rotary)
            with controlled(blocks, chosen, correct(control), settings.strength):
                v = predict(self.base, state, reference, text, timestep, rotary).float().transpose(1, 2)
            if len(v) > 1:
                v = v[:1] + settings.cfg * (v[1:] - v[:1])
            return clean_estimate(x, v, schedule[index])

        def after_step(index: int, x: Tensor, estimate: Tensor) -> Tensor:
            state = x if fusion is None else fusion(index, x, estimate)
            if on_step is not None:
                on_step(index, settings.steps, estimate)
            return state

        end = None if request.end is None else self.scale * request.end
        latents = sample(clean, draw(), schedule, draw, after_step, end)[:, :, 1:].float().cpu() / self.scale
        if request.end is not None:
            # Scaled there and back, they would be a bit off.
            latents = with_end(latents, request.end)
        return Sampled(latents, {} if fusion is None else {"tails": fusion.kept})

    def _correction(self, request: WindowRequest) -> Callable[[Tensor], Tensor]:
        """What the memory of a window makes of a control; one without memory is left as it is."""
        network, memory = self.memory_net, request.memory
        if memory is None:
            if network is not None and request.index:
                got = f"none for window {request.index}"
                raise InputError("memory", f"must be there where a {DGLM} reads it", "of the frames so far", got)
            return lambda control: control
        if network is None:
            raise InputError("memory", f"must be left out without a {DGLM}, which reads it", "", "one")
        check_memory(memory, network.sizes)
        projected = network.project(self._to_network(memory))
        return lambda control: control + network(projected, control)

    def _to_network(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.base.device, self.base.dtype)
