"""Everything of LongAnimation that touches the host: CogVideoX, its VAE, SketchDiT, DGLM, and the sampler.

Hosts before 0.21 have no CogVideoX: nothing of it is imported before it is asked for.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import comfy.cli_args
import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.samplers
import comfy.sd
import latent_preview
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ..everanimate_core.errors import InputError
from ..everanimate_core.latents import preview_map
from ..everanimate_core.longanimation.control import chosen_blocks, controlled
from ..everanimate_core.longanimation.dglm import (
    DGLM,
    DglmSizes,
    GlobalLocalMemory,
    Projected,
    check_dglm,
    check_memory,
)
from ..everanimate_core.longanimation.dpm import draw_noise, sample
from ..everanimate_core.longanimation.files import (
    LATENT_CHANNELS,
    CogSizes,
    check_fit,
    read_base,
    read_memory,
    read_sketch,
)
from ..everanimate_core.longanimation.fusion import Fusion
from ..everanimate_core.longanimation.text import check_text
from ..everanimate_core.longanimation.windows import SLOT_OF_REFERENCE, WindowRequest
from ..everanimate_core.ports import Codec
from ..everanimate_core.runs.stages import DECODING, ENCODING, stage
from .host import check_cancel, decoded, telling_of_tiles
from .node import SamplingError

SKETCH_KEY = "longanimation"
# Noise levels from here on stand for pure noise: the host's schedule ends a little before it.
_PURE_NOISE = 1000.0
_FRAMES_OF_A_BATCH = 8


@cache
def cog() -> SimpleNamespace:
    """The host's CogVideoX: its modules `model` and `vae`, and `scale`, by which it multiplies latents.

    Raises InputError for a host that has none.
    """
    try:
        parts = {name: import_module(f"comfy.ldm.cogvideo.{name}") for name in ("model", "vae")}
        scale = comfy.latent_formats.CogVideoX1_5().scale_factor
    except (ImportError, AttributeError) as error:
        raise InputError("ComfyUI", "must be 0.21 or newer, which has CogVideoX", "", "an older one") from error
    return SimpleNamespace(scale=scale, **parts)


class CogHostCodec:
    """The host's CogVideoX VAE as the core's Codec, in the batches of frames that it was trained in.

    tiled: decode in spatial tiles (never in time), for less memory.
    """

    def __init__(self, vae, tiled: bool = False):
        if not isinstance(vae.first_stage_model, cog().vae.AutoencoderKLCogVideoX):
            got = type(vae.first_stage_model).__name__
            raise InputError("vae", "must be CogVideoX's", "that of CogVideoX1.5-5B-I2V", got)
        self.vae, self.tiled = vae, tiled

    @stage(ENCODING)
    def encode(self, frames: Tensor) -> Tensor:
        """[F, H, W, 3] in 0..1 -> [1, 16, T, h, w], as the VAE makes them."""
        with self._in_its_batches():
            return telling_of_tiles(self.vae).encode(frames).float().cpu()

    @stage(DECODING)
    def decode(self, latents: Tensor) -> Tensor:
        """[1, 16, T, h, w] -> [F, H, W, 3] in 0..1."""
        with self._in_its_batches():
            return decoded(self.vae, latents, self.tiled)

    @contextmanager
    def _in_its_batches(self) -> Iterator[None]:
        """The host takes other batches, over which its norms see other frames."""
        network = self.vae.first_stage_model
        network.encode, network.decode = partial(_encode_batched, network), network._decode_batched
        try:
            yield
        finally:
            del network.encode, network.decode


def _encode_batched(network, video: Tensor) -> Tensor:
    """[B, 3, F, H, W] in -1..1 -> the mean [B, 16, T, h, w]: first 8 + F % 8 frames, then 8 at a time."""
    count, batch = video.shape[2], _FRAMES_OF_A_BATCH
    starts = [0, *range(batch + count % batch, count, batch)]
    cache, parts = None, []
    for start, stop in zip(starts, [*starts[1:], count], strict=True):
        part, cache = network.encoder(video[:, :, start:stop], conv_cache=cache)
        parts.append(part)
    return torch.cat(parts, dim=2).chunk(2, dim=1)[0]


def previewer_of(codec: Codec, picture: Tensor) -> latent_preview.LatentPreviewer | None:
    """Shows latents in colours as in a picture [1, H, W, 3]: the host has no map for those of CogVideoX. None where
    the user has switched previews off."""
    if comfy.cli_args.args.preview_method == comfy.cli_args.LatentPreviewMethod.NoPreviews:
        return None
    factors, bias = preview_map(cog().scale * codec.encode(picture)[0, :, 0], picture[0])
    return latent_preview.Latent2RGBPreviewer(factors.tolist(), bias.tolist())


def check_prompts(**prompts) -> None:
    """Raise InputError when a CONDITIONING among these inputs is longer than the network was trained with: the host
    does not cut long texts."""
    for name, conditioning in prompts.items():
        for text, _ in conditioning or ():
            check_text(name, text.shape[1])


def load_base(path: str, dtype: torch.dtype | None):
    """CogVideoX I2V from a file or the index of a sharded one, in any naming, as a MODEL. dtype: of its weights."""
    cog()
    state, _ = read_base(path, "file")
    return comfy.sd.load_diffusion_model_state_dict(state, model_options={} if dtype is None else {"dtype": dtype})


class MemoryControl:
    """A loaded DGLM: `patcher`, which the host loads beside a MODEL, and its sizes."""

    def __init__(self, state: dict[str, Tensor], sizes: DglmSizes):
        self.sizes = sizes
        made = {"device": torch.device("cpu"), "dtype": next(iter(state.values())).dtype}
        self.patcher = _loadable(GlobalLocalMemory(sizes, comfy.ops.manual_cast, _looked_up, **made), state)


def _looked_up(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What the host's attention finds: [1, heads, n, dim] each."""
    heads = queries.shape[1]
    return optimized_attention(queries, keys, values, heads, skip_reshape=True, skip_output_reshape=True)


def _loadable(network: torch.nn.Module, state: dict[str, Tensor]) -> comfy.model_patcher.ModelPatcher:
    """A network with these weights, as the host loads it beside a MODEL."""
    network.load_state_dict(state)
    return comfy.model_patcher.ModelPatcher(
        network.eval(),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


class SketchControl:
    """A loaded SketchDiT: `patcher`, which the host loads beside a MODEL, and its sizes.

    memory: the DGLM that corrects what it says; None for none. Raises InputError for one of another width.
    """

    def __init__(self, state: dict[str, Tensor], sizes: CogSizes, memory: MemoryControl | None = None):
        if memory is not None:
            check_dglm(memory.sizes, sizes.width)
        self.sizes, self.memory = sizes, memory
        dtype = next(iter(state.values())).dtype
        network = _sketch_class()(
            num_attention_heads=sizes.heads,
            in_channels=2 * LATENT_CHANNELS,
            time_embed_dim=sizes.time,
            ofs_embed_dim=sizes.ofs,
            text_embed_dim=sizes.text,
            num_layers=sizes.blocks,
            patch_size_t=2,
            use_rotary_positional_embeddings=True,
            device=torch.device("cpu"),
            dtype=dtype,
            operations=comfy.ops.manual_cast,
        )
        self.patcher = _loadable(network, state)


def load_sketch(path: str, memory: str | None = None) -> SketchControl:
    """SketchDiT from its file, with the DGLM of another one."""
    cog()
    return SketchControl(*read_sketch(path), None if memory is None else MemoryControl(*read_memory(memory)))


@cache
def _sketch_class() -> type:
    """SketchDiT as the host's CogVideoX without its head, with a linear map in its place."""
    model = cog().model

    class SketchDiT(model.CogVideoXTransformer3DModel):
        def __init__(self, **config: Any):
            super().__init__(**config)
            del self.norm_final, self.norm_out, self.proj_out
            make = config["operations"].Linear
            self.zero_conv = make(self.dim, self.dim, bias=False, device=config["device"], dtype=config["dtype"])

        def forward(self, x: Tensor, timestep: Tensor, context: Tensor, ofs: Tensor, options: dict) -> Tensor:
            """The control [B, tokens, dim] for x [B, 32, T, h, w] (lines, reference)."""
            x = x.transpose(1, 2)
            embedding = self._embedding(timestep, "time", x.dtype) + self._embedding(ofs, "ofs", x.dtype)
            tokens, count = self.patch_embed(context, x), context.shape[1]
            context, hidden = tokens[:, :count], tokens[:, count:]
            frames, height, width = x.shape[1] // 2, x.shape[3] // 2, x.shape[4] // 2
            rotary = self._get_rotary_emb(height, width, frames, x.device)
            for block in self.blocks:
                hidden, context = block(hidden, context, embedding, rotary, transformer_options=options)
            return self.zero_conv(hidden)

        def _embedding(self, values: Tensor, name: str, dtype: torch.dtype) -> Tensor:
            first, act, second = (getattr(self, f"{name}_embedding_{part}") for part in ("linear_1", "act", "linear_2"))
            size = getattr(self, f"{name}_proj_dim")
            waves = model.get_timestep_embedding(values, size, self.time_proj_flip, self.time_proj_shift)
            return second(act(first(waves.to(dtype))))

    return SketchDiT


class WindowMemory:
    """The memory [2, 3, N, kv] of one window, as the DGLM reads it. Raises InputError for one that it cannot read.

    Keys and values are projected at the first step, when the host has loaded the DGLM, and serve all steps.
    """

    def __init__(self, control: MemoryControl | None, memory: Tensor):
        if control is None:
            rule = f"must come with a {DGLM} where there is a memory"
            raise InputError("control", rule, "memory_file of Load LongAnimation", "SketchDiT alone")
        check_memory(memory, control.sizes, "the memory")
        self.patcher, self.memory = control.patcher, memory
        self.projected: Projected | None = None

    def correct(self, answer: Tensor) -> Tensor:
        """The control [B, tokens, dim], corrected."""
        network = self.patcher.model
        if self.projected is None:
            self.projected = network.project(self.memory.to(answer))
        return answer + network(self.projected, answer)

    def forget(self, _patcher: Any) -> None:
        """Free what was projected: for the end of a sampling."""
        self.projected = None


def steered_model(model, control: SketchControl, request: WindowRequest, strength: float, blocks: str):
    """A clone of the MODEL whose blocks are steered by the line art of one window, and by its memory where it has one;
    a second one replaces the first.

    Raises InputError for another network, for one that the SketchDiT was not made for, for blocks that it lacks, and
    for a memory without a DGLM that reads it.
    """
    network = model.model.diffusion_model
    if not isinstance(network, cog().model.CogVideoXTransformer3DModel) or network.in_channels != 2 * LATENT_CHANNELS:
        raise InputError("model", "must be CogVideoX1.5 I2V", "CogVideoX1.5-5B-I2V", type(network).__name__)
    if model.model.latent_format.scale_factor != cog().scale:
        got = f"one that reads latents times {model.model.latent_format.scale_factor}"
        raise InputError("model", f"must read latents times {cog().scale}", "CogVideoX1.5-5B-I2V", got)
    check_fit(control.sizes, base_sizes(network), "control")
    chosen = chosen_blocks(blocks, len(network.blocks))
    sketch = cog().scale * request.sketch
    memory = None if request.memory is None else WindowMemory(control.memory, request.memory)

    def steered(executor, x, timestep, context, ofs=None, transformer_options=None, **keywords):
        lines = sketch.to(x).expand(len(x), -1, -1, -1, -1)
        reference = x[:, LATENT_CHANNELS:]
        if lines.shape[2:] != reference.shape[2:]:
            raise SamplingError(
                "Apply SketchDiT",
                "window",
                "must be the one that Condition Window made the latent of",
                f"{list(lines.shape[2:])} frames, height, width",
                list(reference.shape[2:]),
            )
        options = transformer_options or {}
        answer = control.patcher.model(torch.cat([lines, reference], dim=1), timestep, context, ofs, options)
        if memory is not None:
            answer = memory.correct(answer)
        with controlled(executor.class_obj.blocks, chosen, answer, strength):
            return executor(x, timestep, context, ofs, transformer_options, **keywords)

    model = model.clone()
    model.set_additional_models(SKETCH_KEY, [control.patcher, *([] if memory is None else [memory.patcher])])
    model.remove_callbacks_with_key(CallbacksMP.ON_CLEANUP, SKETCH_KEY)
    if memory is not None:
        model.add_callback_with_key(CallbacksMP.ON_CLEANUP, SKETCH_KEY, memory.forget)
    model.remove_wrappers_with_key(WrappersMP.DIFFUSION_MODEL, SKETCH_KEY)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, SKETCH_KEY, steered)
    return model


def base_sizes(network) -> CogSizes:
    """The sizes of the host's CogVideoX."""
    block = network.blocks[0]
    return CogSizes(
        width=network.dim,
        blocks=len(network.blocks),
        time=block.norm1.linear.weight.shape[1],
        ofs=network.ofs_proj_dim or 0,
        text=network.patch_embed.text_proj.weight.shape[1],
    )


class DpmSampler(comfy.samplers.Sampler):
    """LongAnimation's sampler, for CogVideoX: stock samplers scale the noise, which this network does not know.

    fusion: makes, at the start of a sampling, what happens to the state after each step; None for nothing. steps: that
    it was made for. end: [1, 16, n, h, w], latents that the sampling has to end with, in the network's space; None: it
    ends as it will.
    """

    def __init__(self, fusion: Callable[[], Fusion | None], steps: int, end: Tensor | None = None):
        self.fusion, self.steps, self.end = fusion, steps, end

    def sample(
        self,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ):
        """The host's own interface of a SAMPLER; model_wrap is its guider. The state [B, 16, T, h, w] at the end."""
        if len(sigmas) - 1 != self.steps:
            raise SamplingError(
                "LongAnimation Sampler", "steps", "must be those of the scheduler", len(sigmas) - 1, self.steps
            )
        fusion, levels = self.fusion(), sigmas.double()
        schedule = [0.0 if level > _PURE_NOISE else float(1 / (1 + level.square())) for level in levels]
        steps = len(schedule) - 1
        generator = torch.Generator().manual_seed(extra_args.get("seed") or 0)
        # The noise that it began with came from this seed, too; what follows must not repeat it.
        torch.randn(noise.numel(), generator=generator)

        def draw() -> Tensor:
            return draw_noise(noise.shape, generator).to(noise)

        def clean(x: Tensor, index: int) -> Tensor:
            check_cancel()
            sigma = sigmas[index]
            estimate = model_wrap(x, sigma * x.new_ones(len(x)), **extra_args)
            if schedule[index]:
                return estimate
            # At pure noise the clean estimate is -v. The host's is that of a level a little below.
            root = (levels[index].square() + 1).sqrt()
            return -(x / root - estimate) * root / levels[index]

        def after_step(index: int, x: Tensor, estimate: Tensor) -> Tensor:
            x = x if fusion is None else fusion(index, x, estimate)
            if callback is not None:
                # A preview shows the first slot, which is the reference's. The last estimate is whole: the host gives
                # it out as denoised_output.
                shown = slice(SLOT_OF_REFERENCE + 1, None) if index < steps - 1 else slice(None)
                callback(index, estimate[:, :, shown], x[:, :, shown], steps)
            return x

        return sample(clean, noise.float(), schedule, draw, after_step, self.end)
