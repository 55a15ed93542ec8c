"""`everanimate colour`: line art and a reference picture in, a resumable run, a coloured video out."""

from collections.abc import Hashable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import tyro
from torch import Tensor

from ..backends.cog_checkpoint import load_networks, load_vae
from ..backends.cog_codec import CogCodec
from ..backends.cog_encoders import encode_cog_prompts
from ..backends.devices import choose_device, choose_dtype
from ..backends.diffusers_cog import DiffusersCog
from ..backends.video_model import load_video_model, memory_on
from ..digests import digest, weights_digest
from ..errors import InputError, one_line
from ..longanimation.control import chosen_blocks
from ..longanimation.dglm import check_kv
from ..longanimation.method import long_animation
from ..longanimation.notes import before_sampling
from ..longanimation.settings import MemorySettings, Settings
from ..longanimation.video_memory import VideoModel
from ..media.blank import WarnOfBlank
from ..media.rates import file_rate
from ..notes import Size
from ..runs.job import make_job
from ..runs.settings import RunSettings
from ..runs.stages import LOADING, stage
from ..toy.network.colour_dit import load_colour
from ..toy.network.colour_state import NO_TEXT
from ..toy.network.state import TOY
from .command import Command
from .inputs import check_out, first_picture, opened, opened_sound
from .kept import Kept
from .options import Device, Dtype, NegativePrompt, Prompt, Prompts, chosen, naming, option, settings_options
from .prompts import TOY_READS_NONE, check_prompts, encode_new, prompts_of
from .running import run_job

# The size that LongAnimation was released with.
RELEASED_SIZE = {"width": 1024, "height": 576}
SettingsOptions = settings_options(Settings)
MemoryOptions = settings_options(MemorySettings)
RunOptions = settings_options(RunSettings, released=RELEASED_SIZE)


@dataclass(frozen=True)
class Options:
    """Colour a line-art animation like a reference picture."""

    lineart: tyro.conf.Positional[option(Path, "The line-art animation, a video.", "LINEART")]
    reference: option(Path, "One coloured picture.", "IMAGE")
    out: option(Path, "The result.", "VIDEO")
    model: option(str, f"Diffusers folder of CogVideoX1.5-5B-I2V, or '{TOY}', which is embedded.", "PATH", TOY) = TOY
    sketch: option(Path | None, "SketchDiT of LongAnimation: control_module.safetensors.", "FILE", "the toy's") = None
    memory_file: option(Path | None, "DGLM of LongAnimation: glm_module.safetensors.", "FILE", "no memory") = None
    video_model: option(
        Path | None,
        "Video-XL, which remembers the frames made so far, as `longanimation convert --video-xl` wrote it. It needs "
        "--memory-file.",
        "FILE",
        "no memory",
    ) = None
    reference_lineart: option(
        Path | None, "The line art of the reference.", "IMAGE", "that of the first frame, which the reference shows"
    ) = None
    prompt: Prompt = ""
    prompts: Prompts = None
    negative_prompt: NegativePrompt = ""
    device: Device = None
    dtype: Dtype = None
    run: option(Path | None, "Folder where finished windows are kept.", "DIR", "OUT without its suffix + .run") = None
    settings: tyro.conf.OmitArgPrefixes[SettingsOptions] = field(default_factory=SettingsOptions)
    memory: tyro.conf.OmitArgPrefixes[MemoryOptions] = field(default_factory=MemoryOptions)
    video: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)


class Networks(NamedTuple):
    """What a colouring loads. model: with the states of no prompts yet. facts: what stands in a run for the networks.
    texts: the states of its prompts."""

    model: DiffusersCog
    video_model: VideoModel | None
    facts: dict[str, str]
    texts: dict[str, Tensor]


def main(options: Options, command: Command, kept: Kept | None = None) -> None:
    """Colour; inputs are read and checked before the networks are loaded.

    kept: what a colouring before this one has loaded. Raises InputError for what cannot serve, RunFailed when files
    cannot be written.
    """
    command.kept = "finished windows are kept"
    settings, video = settings_of(options)
    remembered = chosen(MemorySettings, options.memory, options.model)
    if (options.video_model is None) != (options.memory_file is None):
        missing, with_ = sorted(("video_model", "memory_file"), key=lambda name: getattr(options, name) is not None)
        raise InputError(missing, f"must be given with --{with_.replace('_', '-')}", "", "none")
    check_out(options.out, [options.lineart, options.reference, options.reference_lineart])
    check_prompts(options.prompt, options.prompts)
    with ExitStack() as files:
        rate = file_rate(video.fps) if video.fps else None
        lineart = opened(files, "lineart", options.lineart, command.say, rate)
        reference = first_picture("reference", options.reference, command.say)
        lines = options.reference_lineart
        if lines is not None:
            lines = first_picture("reference_lineart", lines, command.say)
        sound = opened_sound(files, options.lineart, command.say)
        size = video.width, video.height, video.fit
        method = long_animation(lineart, reference, settings, *size, video.total_frames, lines)
        prompts = prompts_of(options.prompt, options.prompts, method.plan)
        if options.model == TOY and any([*prompts, options.negative_prompt]):
            command.say(TOY_READS_NONE)
        key = (*network_of(options), options.device)
        networks = (kept or Kept()).get(key, lambda: _load(options, prompts))
        model = _model(networks, options, settings, video, prompts)
        if networks.video_model is not None:
            method = method.with_memory(memory_on(model.base.device, networks.video_model, remembered))
        given = {"reference": reference, "reference_lineart": lines}
        sizes = {name: Size(shown.shape[2], shown.shape[1]) for name, shown in given.items() if shown is not None}
        pixels = Size(video.width, video.height)
        for note in before_sampling(method.plan, lineart, sizes, pixels, video.fit, naming(Options)):
            command.say(note)
        job = make_job(
            method,
            video,
            network={
                **networks.facts,
                "negative": options.negative_prompt if settings.cfg != 1 else None,
                "dtype": str(model.base.dtype),
                "tiled": video.tiled,
            },
            prompts=[digest(prompt) for prompt in prompts],
            sound=sound,
        )
        sample = partial(model.sample_window, settings=settings)
        run_job(job, sample, WarnOfBlank(model.codec, command.say), options.out, options.run, video, command)


def settings_of(options: Options) -> tuple[Settings, RunSettings]:
    """The settings that the options say, with what the model was trained at. InputError for values out of range."""
    model = options.model
    return chosen(Settings, options.settings, model), chosen(RunSettings, options.video, model, RELEASED_SIZE)


def network_of(options: Options) -> tuple[Hashable, ...]:
    """What decides which networks a colouring loads, beside the device."""
    return options.model, options.sketch, options.memory_file, options.video_model, options.dtype


def _video_model(options: Options, model: DiffusersCog) -> VideoModel | None:
    """The network that --video-model names; InputError for one whose memory the DGLM does not read."""
    if options.video_model is None or model.memory_net is None:
        return None
    found = load_video_model(options.video_model, dtype=model.base.dtype, field="video_model")
    check_kv(found.settings.language.kv_width, model.memory_net.sizes, "video_model")
    return found


def _facts(model: DiffusersCog, video_model: VideoModel | None) -> dict[str, str]:
    """What stands in a run for the networks."""
    networks = {"network": model.base, "sketch": model.sketch, "vae": model.codec.vae}
    if model.memory_net is not None and video_model is not None:
        networks |= {"dglm": model.memory_net, "video_model": video_model}
    return {name: weights_digest(network.state_dict().items()) for name, network in networks.items()}


@stage(LOADING)
def _load(options: Options, prompts: list[str]) -> Networks:
    """The networks that --model, --sketch, --memory-file and --video-model name; the prompts are encoded before they
    need the memory."""
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    texts: dict[str, Tensor] = {}
    if options.model == TOY:
        for name in ("sketch", "memory_file", "video_model"):
            path = getattr(options, name)
            if path is not None:
                raise InputError(name, "must be left out for the embedded toy", "", one_line(path))
        model = load_colour(device=device, dtype=dtype)
    else:
        if options.sketch is None:
            raise InputError("sketch", "must be given with --model", "control_module.safetensors", "none")
        folder = Path(options.model)
        if not folder.is_dir():
            rule = "must be a diffusers folder that is there"
            raise InputError("model", rule, "CogVideoX1.5-5B-I2V", one_line(folder))
        vae = load_vae(folder, device=device)
        _encode(texts, options, prompts, device)
        base, sketch, reader = load_networks(folder, options.sketch, options.memory_file, device=device, dtype=dtype)
        model = DiffusersCog(base, sketch, CogCodec(vae), vae.config.scaling_factor, NO_TEXT, None, reader)
    video_model = _video_model(options, model)
    return Networks(model, video_model, _facts(model, video_model), texts)


def _encode(texts: dict[str, Tensor], options: Options, prompts: list[str], device: torch.device) -> None:
    """Put the states of the prompts, the negative one too, in the place of all others."""
    encode = partial(encode_cog_prompts, Path(options.model), device=device)
    encode_new(texts, [*prompts, options.negative_prompt], encode)


def _model(
    networks: Networks, options: Options, settings: Settings, video: RunSettings, prompts: list[str]
) -> DiffusersCog:
    """The networks as this colouring wants them: with its prompts and its way of decoding."""
    model = networks.model
    codec = CogCodec(model.codec.vae, tiled=video.tiled)
    if options.model == TOY:
        return replace(model, codec=codec)
    chosen_blocks(settings.blocks, len(model.base.transformer_blocks))
    _encode(networks.texts, options, prompts, choose_device(options.device))
    text = torch.cat([networks.texts[prompt] for prompt in prompts])
    return replace(model, codec=codec, text=text, negative_text=networks.texts[options.negative_prompt])
