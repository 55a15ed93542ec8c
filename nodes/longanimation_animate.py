"""A whole line-art animation in one node, coloured window by window."""

import json

import comfy.sample
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import InputImpl, io

from ..everanimate_core.digests import weights_digest
from ..everanimate_core.errors import InputError
from ..everanimate_core.latents import with_end
from ..everanimate_core.longanimation.dglm import DGLM, check_kv
from ..everanimate_core.longanimation.dpm import draw_noise, timesteps
from ..everanimate_core.longanimation.method import long_animation
from ..everanimate_core.longanimation.notes import before_sampling, unread_memory
from ..everanimate_core.longanimation.settings import MemorySettings, Settings
from ..everanimate_core.longanimation.windows import WindowRequest, window_fusion
from ..everanimate_core.media.blank import WarnOfBlank
from ..everanimate_core.media.rates import file_rate
from ..everanimate_core.method import Sampled
from ..everanimate_core.notes import Size
from ..everanimate_core.plan import latent_frames
from ..everanimate_core.runs.job import make_job
from ..everanimate_core.runs.names import run_folder
from ..everanimate_core.runs.settings import RunSettings
from . import widgets
from .checks import check_images
from .cogvideo import CogHostCodec, DpmSampler, SketchControl, check_prompts, cog, previewer_of, steered_model
from .fingerprint import conditioning_digest, disk_digest, network_digest, patches_digest
from .host import check_cancel, graph_metadata, say, shown_video
from .longanimation import (
    CATEGORY,
    Control,
    condition,
    empty_latent,
    lineart_input,
    of,
    of_run,
    own_latents,
    picture_sizes,
    reference_inputs,
)
from .node import in_its_name
from .notes import no_sound
from .running import asked_prompts, run_here
from .showing import RunProgress
from .sources import frame_source, sound_of, sound_start
from .validation import widgets_checked
from .video_memory import MEMORY_KNOBS, HostVideoModel, VideoModelType


class LongAnimationAnimate(io.ComfyNode):
    """A long line-art animation in colour."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="LongAnimationAnimate",
            display_name="Colour Long Animation",
            category=CATEGORY,
            description="Colour a line-art animation of any length like a reference picture. Frames are written to the "
            "output folder as they are made, so memory does not grow with the length.",
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="CogVideoX1.5 I2V, from any loader."),
                Control.Input("control", tooltip="SketchDiT, from Load LongAnimation."),
                io.Vae.Input("vae", tooltip="The VAE of CogVideoX."),
                io.Conditioning.Input("positive", tooltip="The prompt: what is to be seen."),
                widgets.negative(),
                lineart_input(),
                *reference_inputs(),
                widgets.widget("width", default=1024),
                widgets.widget("height", default=576),
                *of_run("total_frames"),
                *of("steps", "cfg", "seed"),
                widgets.run_name("longanimation"),
                *of("seed_mode", "window_frames", "overlap", "reference_mode", "strength", "blocks"),
                *of("fuse", "fuse_from", "lines", "threshold"),
                *of_run("fit", "tiled", "resume", "from_chunk", "fps"),
                widgets.prompts("window"),
                *of_run("on_change", "only_chunk", "candidates", optional=True),
                widgets.audio("lineart"),
                VideoModelType.Input(
                    "video_model",
                    optional=True,
                    tooltip="Video-XL, from Load Video-XL: windows colour like the frames so far what the reference "
                    "does not show. It needs a memory_file in Load LongAnimation.",
                ),
                *widgets.of(*MEMORY_KNOBS, among=MEMORY_KNOBS, optional=True),
            ],
            outputs=[
                widgets.finished_video(),
                io.Image.Output(display_name="last window", tooltip="The frames that the last window adds."),
                io.String.Output(
                    display_name="report", tooltip="JSON: frames, seconds and colour distance of every window."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    validate_inputs = widgets_checked(Settings, RunSettings, MemorySettings, run_ending="")

    @classmethod
    def fingerprint_inputs(cls, run_name=None, **values):
        """What is on disk: a take or a video that was deleted by hand is made again."""
        return disk_digest(run_name)

    @classmethod
    @in_its_name
    def execute(
        cls,
        model,
        control,
        vae,
        positive,
        negative,
        lineart,
        reference,
        run_name,
        reference_lineart=None,
        prompts=None,
        audio=None,
        video_model=None,
        **values,
    ) -> io.NodeOutput:
        settings, video = widgets.chosen(Settings, values), widgets.chosen(RunSettings, values)
        memory = window_memory(video_model, control, widgets.chosen(MemorySettings, values))
        folder = run_folder(folder_paths.get_output_directory(), run_name)
        codec = WarnOfBlank(CogHostCodec(vae, video.tiled), say)
        check_images(lineart=lineart, reference=reference, reference_lineart=reference_lineart)
        check_prompts(positive=positive, negative=negative, prompts=prompts)
        prompts, prompt_digests = asked_prompts(positive, prompts)
        rate = file_rate(video.fps) if video.fps else None
        with frame_source("lineart", lineart, rate) as source, sound_of(lineart, audio) as sound:
            size = video.width, video.height, video.fit
            method = long_animation(source, reference, settings, *size, video.total_frames, reference_lineart)
            method = method.with_memory(memory)
            job = make_job(
                method,
                video,
                network={
                    "network": network_digest(model),
                    "lora": patches_digest(model),
                    "sketch": network_digest(control.patcher),
                    "vae": weights_digest(vae.first_stage_model.state_dict().items()),
                    "negative": conditioning_digest(negative, "negative") if settings.cfg != 1 else None,
                    "tiled": video.tiled,
                    **memory_facts(video_model, control),
                },
                prompts=prompt_digests,
                sound=sound,
                sound_start=sound_start(lineart, audio),
                metadata=graph_metadata(cls.hidden),
            )
            previewer = previewer_of(codec, method.reference)
            made = job.plan.chunk_count, settings.steps, video.candidates
            progress = RunProgress(model, cls.hidden, *made, called="window", previewer=previewer)
            pictures, shown = picture_sizes(reference, reference_lineart), Size(video.width, video.height)
            notes = before_sampling(job.plan, source, pictures, shown, video.fit, str)
            if video_model is None and control.memory is not None:
                notes += unread_memory("control", str)
            for note in notes + no_sound("lineart", lineart, audio, job.output.fps):
                progress.say(note)

            def sample_window(request: WindowRequest, noise_seed: int) -> Sampled:
                check_cancel()
                prompt = prompts[min(request.index, len(prompts) - 1)]
                on_step = progress.on_step(0)
                return sampled(model, control, prompt, negative, request, settings, noise_seed, on_step)

            outcome = run_here(job, folder, sample_window, codec, video, progress)
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(outcome.path)),
            outcome.frames,
            json.dumps(outcome.report),
            ui=shown_video(outcome.path),
        )


def window_memory(video_model: HostVideoModel | None, control: SketchControl, settings: MemorySettings):
    """What remembers the frames so far, None without a video model. Raises InputError where nothing reads it."""
    if video_model is None:
        return None
    if control.memory is None:
        rule = f"must come with a {DGLM} where there is a video_model"
        raise InputError("control", rule, "memory_file of Load LongAnimation", "SketchDiT alone")
    check_kv(video_model.settings.language.kv_width, control.memory.sizes, "video_model")
    return video_model.memory(settings)


def memory_facts(video_model: HostVideoModel | None, control: SketchControl) -> dict[str, str]:
    """What stands in a run for the networks of a memory; nothing without one."""
    if video_model is None or control.memory is None:
        return {}
    return {
        "dglm": network_digest(control.memory.patcher),
        "video_model": network_digest(video_model.patcher),
    }


def sampled(
    model, control: SketchControl, positive, negative, request: WindowRequest, settings: Settings, seed: int, on_step
) -> Sampled:
    """Sample a window as SamplerCustom does, with the noise of the authors' script.

    Its last latents are `request.end` where there is one, bit for bit.
    """
    steered = steered_model(model, control, request, settings.strength, settings.blocks)
    fusion = window_fusion(request, settings)
    own = -latent_frames(settings.window_frames)
    noise = draw_noise(request.latents_shape, torch.Generator().manual_seed(seed))
    levels = model.get_model_object("model_sampling").sigmas
    sigmas = torch.stack([*(levels[timestep] for timestep in timesteps(settings.steps)), levels.new_zeros(())])
    samples = comfy.sample.sample_custom(
        steered,
        noise,
        settings.cfg,
        DpmSampler(lambda: fusion, settings.steps, None if request.end is None else cog().scale * request.end),
        sigmas.cpu(),
        *condition(positive, negative, request),
        empty_latent(request)["samples"],
        callback=lambda step, clean, x, steps: on_step(step, steps, clean[:, :, own:]),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    latents = own_latents(samples)
    if request.end is not None:
        latents = with_end(latents, request.end)
    return Sampled(latents, {} if fusion is None else {"tails": fusion.kept})
