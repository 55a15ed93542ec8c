"""`everanimate animate`: files in, a resumable run, a video out."""

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
import tyro
from torch import Tensor

from ..backends.devices import choose_device
from ..backends.diffusers_wan import DiffusersWan
from ..backends.wan_checkpoint import load_transformer, load_vae
from ..backends.wan_codec import WanCodec
from ..backends.wan_encoders import ClipVision, encode_prompts
from ..digests import digest, weights_digest
from ..errors import InputError, check_number
from ..everanimate.drivers import Drivers
from ..everanimate.flow import sigma_schedule
from ..everanimate.geometry import chunk_geometry
from ..everanimate.method import ever_animate
from ..everanimate.settings import Settings
from ..lora.files import read_lora
from ..lora.fit import apply_lora
from ..media.blank import WarnOfBlank
from ..media.frames import fit_frames
from ..media.rates import file_rate
from ..media.sound import FileSound
from ..runs.job import make_job
from ..runs.prompts import chunk_prompts, read_prompts
from ..runs.settings import RunSettings
from ..toy.network.engine import NO_TEXT, load_toy
from ..toy.network.state import TOY, TOYS
from .command import Command
from .inputs import check_out, opened
from .models import wan_files
from .options import (
    MODEL,
    Device,
    Dtype,
    NegativePrompt,
    Parts,
    Prompt,
    Prompts,
    chosen,
    option,
    settings_options,
    several,
)
from .running import run_job

SettingsOptions = settings_options(Settings)
RunOptions = settings_options(RunSettings)


@dataclass(frozen=True)
class Options:
    """Animate a person by a pose video."""

    reference: option(several(Path), "The person, usually one picture.", "IMAGE [IMAGE ...]")
    pose: option(Path, "The pose video (skeletons on black).", "VIDEO")
    out: option(Path, "The result.", "VIDEO")
    face: option(Path | None, "The driving face, cropped.", "VIDEO", "none") = None
    background: option(Path | None, "Replacement: the scene that stays (with --mask).", "VIDEO", "none") = None
    mask: option(Path | None, "Replacement: white where the new person is drawn.", "VIDEO", "none") = None
    model: option(str, MODEL, "PATH", TOY) = TOY
    parts: Parts = None
    lora: option(Path | None, "The EverAnimate LoRA.", "FILE", "none") = None
    lora_strength: option(float, "How much of the LoRA is added, 1 as trained.", "STRENGTH", 1.0) = 1.0
    prompt: Prompt = ""
    prompts: Prompts = None
    negative_prompt: NegativePrompt = ""
    device: Device = None
    dtype: Dtype = None
    run: option(Path | None, "Folder where finished chunks are kept.", "DIR", "OUT without its suffix + .run") = None
    settings: tyro.conf.OmitArgPrefixes[SettingsOptions] = field(default_factory=SettingsOptions)
    video: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)


def main(options: Options, command: Command) -> None:
    """Animate; inputs are read and checked before the network is loaded.

    Raises InputError for what cannot serve, RunFailed when files cannot be written.
    """
    command.kept = "finished chunks are kept"
    settings = chosen(Settings, options.settings, options.model)
    video = chosen(RunSettings, options.video, options.model)
    check_out(options.out, [*options.reference, options.pose, options.face, options.background, options.mask])
    if options.prompt and options.prompts is not None:
        raise InputError("prompts", "must be left out where --prompt is given", "one of the two", "both")
    with ExitStack() as files:
        references = torch.cat([_reference(path, video, command) for path in options.reference])
        pose = opened(files, "pose", options.pose, command.say, file_rate(video.fps) if video.fps else None)
        others = {
            name: None if path is None else opened(files, name, path, command.say)
            for name, path in (("face", options.face), ("background", options.background), ("mask", options.mask))
        }
        drivers = Drivers(pose, **others)
        sound = files.enter_context(FileSound(options.pose))
        for note in sound.notes:
            command.say(note)
        plan = settings.plan(video.total_frames or pose.frame_count)
        chunk_geometry(plan, settings.identity_latents, settings.motion_latents)
        drivers.check(plan)
        prompts = [options.prompt] if options.prompts is None else chunk_prompts(read_prompts(options.prompts), plan)
        sigmas = sigma_schedule(settings.steps, settings.shift)
        model = _load(options, settings, video, prompts)
        codec = WarnOfBlank(model.codec, command.say)
        size = video.width, video.height, video.fit
        job = make_job(
            ever_animate(references, codec, drivers, settings, *size, video.total_frames),
            video,
            network={
                "network": weights_digest(model.transformer.state_dict().items()),
                "sigmas": [round(float(sigma), 6) for sigma in sigmas],
                "cfg": settings.cfg,
                "negative": options.negative_prompt if settings.cfg != 1 else None,
                "dtype": str(model.transformer.dtype),
                "tiled": video.tiled,
            },
            prompts=[digest(prompt) for prompt in prompts],
            sound=sound,
        )
        sample = partial(model.sample_chunk, sigmas=sigmas)
        run_job(job, sample, codec, options.out, options.run, video, command)


def _reference(path: Path, video: RunSettings, command: Command) -> Tensor:
    """A picture of the person, [1, H, W, 3]; fitted here, because pictures may be of different sizes."""
    with ExitStack() as files:
        image = opened(files, "reference", path, command.say)
        return fit_frames(image.read([0]), video.width, video.height, video.fit)


def _load(options: Options, settings: Settings, video: RunSettings, prompts: list[str]) -> DiffusersWan:
    """The network that --model, --parts and --lora name, with the prompts encoded."""
    # Read first: a network takes minutes to load.
    check_number("lora_strength", options.lora_strength, "1.0")
    lora = None if options.lora is None else read_lora(options.lora)
    device = choose_device(options.device)
    dtype = getattr(torch, options.dtype or ("float32" if device.type == "cpu" else "bfloat16"))
    if options.model in TOYS:
        if video.tiled:
            got = f"--model {options.model} --tiled"
            raise InputError("tiled", "must be left out for the embedded toy, whose VAE has no tiles", "", got)
        toy = load_toy(TOYS[options.model], device=device, dtype=dtype)
        model = replace(toy, cfg=settings.cfg, negative_text=NO_TEXT)
    else:
        files = wan_files(options.model, options.parts)
        # Most chunks share a prompt: each is encoded once.
        different = list(dict.fromkeys([*prompts, options.negative_prompt]))
        text = encode_prompts(files, different, device=device)
        model = DiffusersWan(
            load_transformer(files.transformer, device=device, dtype=dtype),
            WanCodec(load_vae(files.vae, device=device), tiled=video.tiled),
            text[[different.index(prompt) for prompt in prompts]],
            ClipVision.from_folder(files.image_encoder, device=device),
            settings.cfg,
            text[[different.index(options.negative_prompt)]],
        )
    if lora is not None:
        apply_lora(model.transformer, lora, options.lora_strength)
    return model
