"""`everanimate animate`: files in, a resumable run, a video out."""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
import tyro
from torch import Tensor, nn

from ..backends.devices import choose_devices, choose_dtype
from ..backends.diffusers_wan import DiffusersWan
from ..backends.wan_checkpoint import load_vae
from ..backends.wan_codec import WanCodec
from ..backends.wan_encoders import ClipVision, WanFiles, encode_prompts
from ..digests import digest, weights_digest
from ..driving.settings import Settings as DrivingSettings
from ..errors import InputError, check_number, one_line
from ..everanimate.drivers import Drivers
from ..everanimate.flow import sigma_schedule
from ..everanimate.geometry import chunk_geometry
from ..everanimate.method import ever_animate
from ..everanimate.notes import TRAINED, before_sampling
from ..everanimate.settings import Settings
from ..knobs import knobs
from ..lora.files import Lora, read_lora
from ..media.blank import WarnOfBlank
from ..media.frames import fit_frames
from ..media.rates import file_rate
from ..notes import Size
from ..runs.job import make_job
from ..runs.prompts import read_prompts
from ..runs.settings import RunSettings
from ..runs.stages import LOADING, stage
from ..toy.network.engine import NO_TEXT, engine
from ..toy.network.state import TOY, TOYS
from ..toy.network.vae import ToyCodec
from ..toy.network.vae import load_vae as load_toy_vae
from .command import Command
from .driving import VIDEOS, FinderOptions, check_with_video
from .inputs import check_out, first_picture, opened, opened_sound
from .kept import Kept
from .models import load_animator, wan_files
from .options import (
    MODEL,
    Device,
    Dtype,
    NegativePrompt,
    Parts,
    Prompt,
    Prompts,
    chosen,
    naming,
    option,
    settings_options,
    several,
)
from .prepared import prepare_once
from .prompts import TOY_READS_NONE, check_prompts, encode_new, prompts_of
from .running import run_job

BELOW_HELP = """\
With --processes 2, two processes sample each chunk together, on the first two GPUs. Others are chosen like this:

    CUDA_VISIBLE_DEVICES=2,3 everanimate animate --processes 2 ...

Each of them computes a part of the picture at every step, and holds the whole network: a chunk is to take less time,
a GPU needs about as much memory as before. One process reads, decodes, writes and speaks. When one dies, the run ends,
finished chunks are kept, and the same command goes on. The result equals that of one process but for the last bits, as
that of another kind of GPU does; a run may go on with more or fewer processes than it began with. With --device cpu,
all of them compute on the CPU, which is for trying it. We have had no machine with two GPUs: how much faster it is, and
that it works on them at all, is not measured.

While a chunk is sampled, the next one is read, fitted and encoded, and the finished one is written (--beside all). From
the second chunk on, --clip-source reference has chunks decoded beside the sampling, too. With last_frame, the next
chunk has to see the last decoded frame, so that decoding stays in line; so does that of the first chunk, which
completes the identity memory. The result is the same, file by file. One chunk at most is under way: memory holds the
driving frames of one more chunk (832x480, 77 frames: 0.9 GB with a face, 1.6 GB with background and mask), and a GPU
has to hold what sampling and the VAE need at the same time. Where that is too much, --beside files leaves the VAE its
turn. Ctrl-C waits for the chunk that is being kept. On one GPU, network and VAE share its time, each in a stream of
its own; how much is gained there, and that files are the same there, is not measured.
"""

SettingsOptions = settings_options(Settings)
RunOptions = settings_options(RunSettings)
# Width, height and rate of the driving videos are those of the animation.
DrivingOptions = settings_options(DrivingSettings, *(knobs(DrivingSettings).keys() - knobs(RunSettings).keys()))


@dataclass(frozen=True)
class Options:
    """Animate a person by a pose video, or by any video of a person."""

    reference: option(several(Path), "The person, usually one picture.", "IMAGE [IMAGE ...]")
    out: option(Path, "The result.", "VIDEO")
    pose: option(Path | None, "The pose video (skeletons on black), if there is no --video.", "VIDEO", "none") = None
    face: option(Path | None, "The driving face, cropped.", "VIDEO", "none") = None
    background: option(Path | None, "Replacement: the scene that stays (with --mask).", "VIDEO", "none") = None
    mask: option(Path | None, "Replacement: white where the new person is drawn.", "VIDEO", "none") = None
    video: option(
        Path | None,
        "Any video of a person who drives: pose, face and all else are made of it first, in OUT without its suffix + "
        ".driving. It needs a --model other than the toy.",
        "VIDEO",
        "none",
    ) = None
    model: option(str, MODEL, "PATH", TOY) = TOY
    parts: Parts = None
    lora: option(Path | None, "The EverAnimate LoRA.", "FILE", "none") = None
    lora_strength: option(float, "How much of the LoRA is added, 1 as trained.", "STRENGTH", 1.0) = 1.0
    prompt: Prompt = ""
    prompts: Prompts = None
    negative_prompt: NegativePrompt = ""
    device: Device = None
    dtype: Dtype = None
    processes: option(
        int, "Processes that sample each chunk together, each on a GPU of its own; see below.", "N", 1
    ) = 1
    run: option(Path | None, "Folder where finished chunks are kept.", "DIR", "OUT without its suffix + .run") = None
    settings: tyro.conf.OmitArgPrefixes[SettingsOptions] = field(default_factory=SettingsOptions)
    output: tyro.conf.OmitArgPrefixes[RunOptions] = field(default_factory=RunOptions)
    finder: tyro.conf.OmitArgPrefixes[FinderOptions] = field(default_factory=FinderOptions)
    driving: tyro.conf.OmitArgPrefixes[DrivingOptions] = field(default_factory=DrivingOptions)


class DriverFiles(NamedTuple):
    """The driving videos of an animation."""

    pose: Path
    face: Path | None
    background: Path | None
    mask: Path | None


class Networks(NamedTuple):
    """What an animation loads. model: with the states of no prompts yet. digest: of its transformer, LoRA and all.
    texts: the states of its prompts."""

    model: DiffusersWan
    digest: str
    texts: dict[str, Tensor]


def main(options: Options, command: Command, kept: Kept | None = None) -> None:
    """Animate; inputs are read and checked before the network is loaded, and before a video is prepared.

    kept: what an animation before this one has loaded. Raises InputError for what cannot serve, RunFailed when files
    cannot be written.
    """
    settings, video = settings_of(options)
    given = [options.pose, options.face, options.background, options.mask]
    check_out(options.out, [*options.reference, options.video, *given])
    _check_together(options)
    devices = choose_devices(options.device, options.processes)
    device = devices[0]
    # Read first: a network takes minutes to load, and a video minutes to be prepared.
    lora = None if options.lora is None else read_lora(options.lora)
    with ExitStack() as files:
        pictures = [first_picture("reference", path, command.say) for path in options.reference]
        references = torch.cat([fit_frames(picture, video.width, video.height, video.fit) for picture in pictures])
        if options.video is None:
            paths = DriverFiles(*given)
        else:
            # Stretched, people are harder to find. Where the picture is cropped or padded, that is what will be seen.
            shown = pictures[0] if video.fit == "stretch" else references[:1]
            paths = _prepared(options, video, shown, command)
        command.kept = "finished chunks are kept"
        pose = opened(files, "pose", paths.pose, command.say, file_rate(video.fps) if video.fps else None)
        others = {
            name: None if path is None else opened(files, name, path, command.say)
            for name, path in paths._asdict().items()
            if name != "pose"
        }
        drivers = Drivers(pose, **others)
        sound = opened_sound(files, paths.pose, command.say)
        plan = settings.plan(video.total_frames or pose.frame_count)
        chunk_geometry(plan, settings.identity_latents, settings.motion_latents)
        drivers.check(plan)
        prompts = prompts_of(options.prompt, options.prompts, plan)
        if options.model in TOYS and any([*prompts, options.negative_prompt]):
            command.say(TOY_READS_NONE)
        sigmas = sigma_schedule(settings.steps, settings.shift)
        key = (*network_of(options), device)
        networks = (kept or Kept()).get(key, lambda: _load(options, prompts, device, lora))
        model = _model(networks, options, settings, video, prompts, device)
        pixels = Size(video.width, video.height)
        # What the toy was trained with is its default.
        trained = () if options.model in TOYS else TRAINED
        sizes = [Size(picture.shape[2], picture.shape[1]) for picture in pictures]
        for note in before_sampling(settings, plan, drivers, sizes, pixels, video.fit, naming(Options), trained):
            command.say(note)
        codec = WarnOfBlank(model.codec, command.say)
        size = video.width, video.height, video.fit
        job = make_job(
            ever_animate(references, codec, drivers, settings, *size, video.total_frames),
            video,
            network={
                "network": networks.digest,
                "sigmas": [round(float(sigma), 6) for sigma in sigmas],
                "cfg": settings.cfg,
                "negative": options.negative_prompt if settings.cfg != 1 else None,
                "dtype": str(model.transformer.dtype),
                "tiled": video.tiled,
            },
            prompts=[digest(prompt) for prompt in prompts],
            sound=sound,
        )
        if len(devices) > 1:
            model = replace(model, predict=files.enter_context(_together(options, model.transformer, devices)))
        sample = partial(model.sample_chunk, sigmas=sigmas)
        run_job(job, sample, codec, options.out, options.run, video, command)


def settings_of(options: Options) -> tuple[Settings, RunSettings]:
    """The settings that the options say, with what the model was trained at. InputError for values out of range."""
    model = options.model
    return chosen(Settings, options.settings, model), chosen(RunSettings, options.output, model)


def network_of(options: Options) -> tuple[Hashable, ...]:
    """What decides which network an animation loads, beside the device."""
    return options.model, options.parts, options.lora, options.lora_strength, options.dtype


def _check_together(options: Options) -> None:
    """Raise InputError for options that exclude each other, or need each other."""
    check_number("lora_strength", options.lora_strength, "1.0")
    check_prompts(options.prompt, options.prompts)
    if (options.pose is None) == (options.video is None):
        example = "any video of a person, or skeletons on black"
        got = "neither" if options.pose is None else "both"
        raise InputError("--video or --pose", "must be given, one of them", example, got)
    if options.video is None:
        check_with_video(options.finder, options.driving)
        return
    for name in ("face", "background", "mask"):
        if getattr(options, name) is not None:
            rule = "must be left out where --video is given, of which it is made"
            raise InputError(name, rule, "", one_line(getattr(options, name)))
    if options.model in TOYS:
        rule = "must be given with --video: the embedded toy knows no real person"
        raise InputError("model", rule, "a diffusers folder of Wan2.2-Animate", options.model)
    wan_files(options.model, options.parts)
    if options.prompts is not None:
        read_prompts(options.prompts)


def _prepared(options: Options, video: RunSettings, reference: Tensor, command: Command) -> DriverFiles:
    """The driving videos of --video, made beside the result if they are not there."""
    folder = options.out.with_suffix(".driving")
    settings = DrivingSettings(**vars(options.driving), width=video.width, height=video.height, fps=video.fps)
    prepare_once(folder, cast(Path, options.video), settings, options.finder, reference, command)
    pose, face, *scene = (folder / name for name in VIDEOS)
    background, mask = scene if settings.replacing else (None, None)
    return DriverFiles(pose, face, background, mask)


@stage(LOADING)
def _load(options: Options, prompts: list[str], device: torch.device, lora: Lora | None) -> Networks:
    """The network that --model and --parts name, with the LoRA; the prompts are encoded before it needs the memory."""
    texts: dict[str, Tensor] = {}
    dtype = choose_dtype(options.dtype, device)
    load = partial(load_animator, options.model, options.parts, lora, options.lora_strength, dtype, device)
    if options.model in TOYS:
        model = engine(load(), ToyCodec(load_toy_vae()))
    else:
        files = wan_files(options.model, options.parts)
        _encode(texts, files, options, prompts, device)
        transformer = load()
        codec = WanCodec(load_vae(files.vae, device=device))
        model = DiffusersWan(transformer, codec, NO_TEXT, ClipVision.from_folder(files.image_encoder, device=device))
    return Networks(model, weights_digest(model.transformer.state_dict().items()), texts)


def _together(
    options: Options, transformer: nn.Module, devices: list[torch.device]
) -> AbstractContextManager[Callable[..., Tensor]]:
    """The calls of the transformer, computed by a process on each of the devices; the others load it, too."""
    # Most animations need one process, and not every torch can have several.
    from ..backends.processes import together

    dtype = transformer.patch_embedding.weight.dtype
    load = partial(load_animator, options.model, options.parts, options.lora, options.lora_strength, dtype)
    return together(transformer, load, devices)


def _encode(
    texts: dict[str, Tensor], files: WanFiles, options: Options, prompts: list[str], device: torch.device
) -> None:
    """Put the states of the prompts, the negative one too, in the place of all others."""
    encode_new(texts, [*prompts, options.negative_prompt], partial(encode_prompts, files, device=device))


def _model(
    networks: Networks,
    options: Options,
    settings: Settings,
    video: RunSettings,
    prompts: list[str],
    device: torch.device,
) -> DiffusersWan:
    """The networks as this animation wants them: with its prompts, its guidance and its way of decoding."""
    if options.model in TOYS:
        if video.tiled:
            got = f"--model {options.model} --tiled"
            raise InputError("tiled", "must be left out for the embedded toy, whose VAE has no tiles", "", got)
        return replace(networks.model, cfg=settings.cfg, negative_text=NO_TEXT)
    _encode(networks.texts, wan_files(options.model, options.parts), options, prompts, device)
    codec = WanCodec(cast(WanCodec, networks.model.codec).vae, tiled=video.tiled)
    text = torch.cat([networks.texts[prompt] for prompt in prompts])
    negative = networks.texts[options.negative_prompt]
    return replace(networks.model, codec=codec, text=text, cfg=settings.cfg, negative_text=negative)
