"""The whole loop in one node."""

import json
import logging

import comfy.samplers
import folder_paths
from comfy_api.latest import InputImpl, io

from ..everanimate_core.everanimate.flow import check_sigmas, sigma_schedule
from ..everanimate_core.everanimate.method import ever_animate
from ..everanimate_core.everanimate.notes import before_sampling
from ..everanimate_core.everanimate.settings import Settings
from ..everanimate_core.media.blank import WarnOfBlank
from ..everanimate_core.media.rates import file_rate
from ..everanimate_core.notes import Size
from ..everanimate_core.runs.job import make_job
from ..everanimate_core.runs.names import run_folder
from ..everanimate_core.runs.run import run
from ..everanimate_core.runs.settings import RunSettings
from ..everanimate_core.runs.store import RunStore
from ..everanimate_core.runs.videos import NumberedVideos
from . import fingerprint_0_1_0, widgets
from .checks import check_images
from .fingerprint import conditioning_digest, disk_digest, run_settings
from .host import (
    HostCodec,
    check_cancel,
    condition,
    drivers,
    graph_metadata,
    sample,
    shown_video,
    sound_of,
    sound_start,
)
from .node import in_its_name
from .notes import no_sound, size_of, trained_settings
from .sampling import check_not_restoring, restored_sampler
from .showing import RunProgress
from .validation import widgets_checked


class EverAnimateAnimate(io.ComfyNode):
    """A long animation from a reference image and a pose video."""

    @classmethod
    def define_schema(cls):
        inputs = [
            widgets.model(),
            widgets.vae(),
            widgets.positive(),
            widgets.negative(),
            widgets.reference_images(),
            widgets.pose_video("The pose video (skeletons on black). A VIDEO is streamed.", optional=False),
            *widgets.of("width", "height", "total_frames", "steps", "shift", "cfg", "seed"),
            io.String.Input(
                "run_name",
                default="everanimate",
                tooltip="Name of the run, in the folder everanimate of the output folder. If a run of this name is "
                "there, it is continued.",
            ),
            *widgets.optional_drivers(),
            io.Sampler.Input("sampler", optional=True, tooltip="Any sampler; euler when nothing is connected."),
            io.Sigmas.Input(
                "sigmas", optional=True, tooltip="Noise levels of your own; steps and shift then do nothing."
            ),
            io.Conditioning.Input(
                "prompts",
                optional=True,
                tooltip="A prompt for each chunk: entry k of this list serves chunk k, the last one all that follow. "
                "Replaces positive.",
            ),
            *widgets.of("seed_mode", "identity_latents", "motion_latents", "chunk_frames", "overlap", "continuation"),
            *widgets.of("keyframes", "clip_source", "fit", "tiled", "latent_context", "resume", "from_chunk", "fps"),
            *widgets.of("restore_strength", "restore_schedule", "restore_target", optional=True),
        ]
        return io.Schema(
            node_id="EverAnimateAnimate",
            display_name="Animate Long Video",
            category=widgets.CATEGORY,
            description="Animate a person chunk by chunk, for as long as the pose video or longer. Frames are written "
            "to the output folder as they are made, so memory does not grow with the length.",
            is_output_node=True,
            inputs=[*inputs, *widgets.newer_than(inputs), widgets.audio("pose_video")],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The whole animation, as written to the output folder."),
                io.Image.Output(
                    display_name="last chunk",
                    tooltip="The frames that the last chunk adds, to look at. The whole animation is in `video`.",
                ),
                widgets.Memory.Output(display_name="memory", tooltip="The memory after the last chunk."),
                io.String.Output(display_name="report", tooltip="JSON: frames and seconds of every chunk."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    validate_inputs = widgets_checked(Settings, RunSettings, run_ending="")

    @classmethod
    def fingerprint_inputs(cls, run_name=None, **values):
        """What is on disk: a take or a video that was deleted by hand is made again."""
        return disk_digest(run_name)

    @classmethod
    @in_its_name
    def execute(
        cls,
        model,
        vae,
        positive,
        negative,
        reference_images,
        pose_video,
        run_name,
        face_video=None,
        background_video=None,
        character_mask=None,
        clip_vision=None,
        sampler=None,
        sigmas=None,
        prompts=None,
        audio=None,
        **values,
    ) -> io.NodeOutput:
        settings, video = widgets.chosen(Settings, values), widgets.chosen(RunSettings, values)
        check_not_restoring(model, sampler)
        folder = run_folder(folder_paths.get_output_directory(), run_name)
        codec = WarnOfBlank(HostCodec(vae, video.tiled), logging.warning)
        sampler = comfy.samplers.sampler_object("euler") if sampler is None else sampler
        sigmas = sigma_schedule(settings.steps, settings.shift) if sigmas is None else sigmas
        check_sigmas(sigmas)
        prompts_name = "positive" if prompts is None else "prompts"
        prompts = [positive] if prompts is None else [[prompt] for prompt in prompts]
        check_images(
            reference_images=reference_images,
            pose_video=pose_video,
            face_video=face_video,
            background_video=background_video,
            character_mask=character_mask,
        )
        inputs = (pose_video, face_video, background_video, character_mask)
        made_with = model, sampler, sigmas, settings.cfg, negative, clip_vision
        rate = file_rate(video.fps) if video.fps else None
        with drivers(*inputs, fps=rate) as driving, sound_of(pose_video, audio) as sound:
            size = video.width, video.height, video.fit
            method = ever_animate(reference_images, codec, driving, settings, *size, video.total_frames)
            job = make_job(
                method,
                video,
                network=run_settings(*made_with) | {"tiled": video.tiled},
                prompts=[conditioning_digest(prompt, prompts_name) for prompt in prompts],
                sound=sound,
                sound_start=sound_start(pose_video, audio),
                metadata=graph_metadata(cls.hidden),
                earlier=fingerprint_0_1_0.earlier(*made_with, video.tiled, prompts),
            )
            progress = RunProgress(model, cls.hidden, job.plan.chunk_count, len(sigmas) - 1, video.candidates)
            pictures, shown = [size_of(reference_images)], Size(video.width, video.height)
            about = settings, job.plan, driving, pictures, shown, video.fit, str, trained_settings(model)
            for note in before_sampling(*about) + no_sound("pose_video", pose_video, audio, job.output.fps):
                progress.say(note)

            def sample_chunk(request, noise_seed):
                check_cancel()
                prompt = prompts[min(request.index, len(prompts) - 1)]
                conditioning = condition(prompt, negative, request, clip_vision)
                on_step = progress.on_step(request.anchors)
                chosen = restored_sampler("Animate Long Video", sampler, request.correct)
                return sample(model, *conditioning, request, chosen, sigmas, settings.cfg, noise_seed, on_step)

            store, videos = RunStore(folder), NumberedVideos(folder)
            with progress:
                outcome = run(job, store, sample_chunk, codec, videos, video, **progress.callbacks())
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(outcome.path)),
            outcome.frames,
            method.memory_of(outcome.state),
            json.dumps(outcome.report),
            ui=shown_video(outcome.path),
        )
