"""`everanimate animate`: files in, a resumable run, a video out."""

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..backends.diffusers_wan import DiffusersWan
from ..backends.wan_checkpoint import load_transformer, load_vae
from ..backends.wan_codec import WanCodec
from ..backends.wan_encoders import ClipVision, WanFiles, encode_prompts
from ..errors import InputError, check_number, one_line
from ..everanimate.drivers import FACE_SIZE, Drivers
from ..everanimate.flow import sigma_schedule
from ..everanimate.geometry import check_size
from ..everanimate.memory import build_memory
from ..everanimate.restoration import Restoration
from ..lora.files import read_lora
from ..lora.fit import apply_lora, check_strength
from ..media.blank import WarnOfBlank
from ..media.frames import FittedFrames, fit_frames
from ..media.reader import telling_video
from ..media.sound import FileSound
from ..plan import ChunkPlan
from ..runs.fingerprint import digest, weights_digest
from ..runs.prompts import chunk_prompts, read_prompts
from ..runs.run import Job, Progress, RemainingTime, run
from ..runs.store import RunStore
from ..toy.network.engine import NO_TEXT, load_toy
from ..toy.network.state import TOYS

# Containers that hold the segments' H.264 as it is.
OUT_SUFFIXES = (".mp4", ".mov", ".mkv")


def animate_files(options: Namespace, report: Callable[[str], None]) -> Path:
    """Animate as the options of `everanimate animate` say; the path of the video.

    Inputs are read and checked before the network is loaded. Raises ValueError for what cannot serve, RunFailed when
    files cannot be written.
    """
    _check_out(options)
    check_size(options.width, options.height)
    check_number("cfg", options.cfg, "1.0")
    references = torch.cat([_reference(path, options, report) for path in options.reference])
    with _drivers(options, report) as drivers, FileSound(options.pose) as sound:
        for note in sound.notes:
            report(note)
        plan = ChunkPlan(
            options.frames or drivers.pose.frame_count, options.chunk_frames, options.overlap, options.continuation
        )
        drivers.check(plan)
        prompts = [options.prompt] if options.prompts is None else chunk_prompts(read_prompts(options.prompts), plan)
        sigmas = sigma_schedule(options.steps, options.shift)
        restoration = Restoration(options.restore, options.restore_schedule, options.restore_target)
        model = _load(options, prompts)
        codec = WarnOfBlank(model.codec, report)
        job = Job(
            plan,
            build_memory(references, codec, options.identity_latents, options.motion_latents),
            drivers,
            settings={
                "network": weights_digest(model.transformer.state_dict().items()),
                "sigmas": [round(float(sigma), 6) for sigma in sigmas],
                "cfg": options.cfg,
                "negative": options.negative_prompt if options.cfg != 1 else None,
                "dtype": str(model.transformer.dtype),
                "tiled": options.tiled,
            },
            prompts=[digest(prompt) for prompt in prompts],
            fps=options.fps or drivers.pose.fps,
            seed=options.seed,
            seed_mode=options.seed_mode,
            keyframes=options.keyframes,
            clip_source=options.clip_source,
            latent_context=options.latent_context,
            restoration=restoration,
            audio_from=sound,
        )
        remaining = RemainingTime()

        def on_chunk(done: Progress) -> None:
            options.to_go_on = () if options.resume else ("--resume",)
            report(f"{done}{remaining.after(done)}")

        run(
            job,
            RunStore(options.run or options.out.with_suffix(".run")),
            partial(model.sample_chunk, sigmas=sigmas),
            codec,
            options.out,
            options.resume,
            options.from_chunk,
            on_chunk,
        )
    return options.out


def _check_out(options: Namespace) -> None:
    out = options.out
    if out.suffix.lower() not in OUT_SUFFIXES or out.is_dir():
        raise InputError("out", f"must be a video file that ends in {', '.join(OUT_SUFFIXES)}", "dance.mp4", out)
    inputs = [*options.reference, options.pose, options.face, options.background, options.mask]
    if out.resolve() in [path.resolve() for path in inputs if path is not None]:
        raise InputError("out", "must be another file than the inputs, which it would replace", "dance.mp4", out)


def _reference(path: Path, options: Namespace, report: Callable[[str], None]) -> Tensor:
    with telling_video(report, path) as image:
        return fit_frames(image.read([0]), options.width, options.height, options.fit)


@contextmanager
def _drivers(options: Namespace, report: Callable[[str], None]) -> Iterator[Drivers]:
    with ExitStack() as files:

        def source(path: Path | None, width: int = options.width, height: int = options.height, fps=None):
            if path is None:
                return None
            return FittedFrames(files.enter_context(telling_video(report, path, fps)), width, height, options.fit)

        yield Drivers(
            pose=source(options.pose, fps=options.fps),
            face=source(options.face, FACE_SIZE, FACE_SIZE),
            background=source(options.background),
            mask=source(options.mask),
        )


def _load(options: Namespace, prompts: list[str]) -> DiffusersWan:
    """The network that --model, --parts and --lora name, with the prompts encoded."""
    # Read first: a network takes minutes to load.
    check_strength(options.lora_strength)
    lora = None if options.lora is None else read_lora(options.lora)
    device = _device(options.device) if options.device else _accelerator()
    dtype = getattr(torch, options.dtype or ("float32" if device.type == "cpu" else "bfloat16"))
    if options.model in TOYS:
        if options.tiled:
            raise InputError(
                "tiled",
                "must be left out for the embedded toy, whose VAE has no tiles",
                "",
                f"--model {options.model} --tiled",
            )
        model = replace(
            load_toy(TOYS[options.model], device=device, dtype=dtype), cfg=options.cfg, negative_text=NO_TEXT
        )
    else:
        files = wan_files(options)
        # Most chunks share a prompt: each is encoded once.
        different = list(dict.fromkeys([*prompts, options.negative_prompt]))
        text = encode_prompts(files, different, device=device)
        model = DiffusersWan(
            load_transformer(files.transformer, device=device, dtype=dtype),
            WanCodec(load_vae(files.vae, device=device), tiled=options.tiled),
            text[[different.index(prompt) for prompt in prompts]],
            ClipVision.from_folder(files.image_encoder, device=device),
            options.cfg,
            text[[different.index(options.negative_prompt)]],
        )
    if lora is not None:
        apply_lora(model.transformer, lora, options.lora_strength)
    return model


def wan_files(options: Namespace) -> WanFiles:
    """The files that --model and --parts name; ValueError when they are not there, or cannot be Wan-Animate's."""
    path = Path(options.model)
    if not os.path.exists(path):
        raise InputError("model", "must be a folder or file that is there", "", one_line(path))
    if options.parts is not None and not os.path.isdir(options.parts):
        raise InputError("parts", "must be a diffusers folder that is there", "", one_line(options.parts))
    if path.is_dir():
        files = WanFiles.from_folder(path)
    else:
        if options.parts is None:
            raise InputError(
                "parts", "must be a diffusers folder with VAE and encoders where --model is a file", "", "none"
            )
        if path.suffix != ".safetensors":
            raise InputError("model", "must be a .safetensors file, or a folder", "", one_line(path))
        files = WanFiles.from_folder(options.parts, path)
    files.check()
    return files


def _device(name: str) -> torch.device:
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without it
        raise InputError(
            "device", "must be one that torch has here", "cpu, cuda, cuda:1", f"{name} ({error})"
        ) from error


def _accelerator() -> torch.device:
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found
