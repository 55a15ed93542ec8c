"""The whole loop in one node."""

import json

import folder_paths
from comfy_api.latest import InputImpl, io

from ..everanimate_core.everanimate.method import ever_animate
from ..everanimate_core.everanimate.notes import before_sampling
from ..everanimate_core.everanimate.settings import Settings
from ..everanimate_core.media.blank import WarnOfBlank
from ..everanimate_core.media.rates import file_rate
from ..everanimate_core.notes import Size
from ..everanimate_core.runs.job import make_job
from ..everanimate_core.runs.names import run_folder
from ..everanimate_core.runs.settings import RunSettings
from . import fingerprint_0_1_0, widgets
from .checks import check_images
from .fingerprint import disk_digest, run_settings
from .host import HostCodec, check_cancel, condition, graph_metadata, sample, say, shown_video
from .node import in_its_name
from .notes import no_sound, size_of, trained_settings
from .running import asked_prompts, asked_sampling, run_here
from .sampling import check_not_restoring, restored_sampler
from .showing import RunProgress
from .sources import drivers, sound_of, sound_start
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
            widgets.run_name("everanimate"),
            *widgets.optional_drivers(),
            *widgets.sampling(),
            widgets.prompts(),
            *widgets.of("seed_mode", "identity_latents", "motion_latents", "chunk_frames", "overlap", "continuation"),
            *widgets.of("keyframes", "clip_source", "fit", "tiled", "latent_context", "resume", "from_chunk", "fps"),
            *widgets.of("restore_strength", "restore_schedule", "restore_target", optional=True),
            *widgets.of("on_change", "only_chunk", "candidates", optional=True),
            widgets.audio("pose_video"),
        ]
        return io.Schema(
            node_id="EverAnimateAnimate",
            display_name="Animate Long Video",
            category=widgets.CATEGORY,
            description="Animate a person chunk by chunk, for as long as the pose video or longer. Frames are written "
            "to the output folder as they are made, so memory does not grow with the length.",
            is_output_node=True,
            inputs=inputs + widgets.newer_than(inputs),
            outputs=[
                widgets.finished_video(),
                widgets.last_chunk(),
                widgets.Memory.Output(display_name="memory", tooltip="The memory after the last chunk."),
                widgets.report(),
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
        codec = WarnOfBlank(HostCodec(vae, video.tiled), say)
        sampler, sigmas = asked_sampling(settings, sampler, sigmas)
        prompts, prompt_digests = asked_prompts(positive, prompts)
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
                prompts=prompt_digests,
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

            outcome = run_here(job, folder, sample_chunk, codec, video, progress)
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(outcome.path)),
            outcome.frames,
            method.memory_after(outcome.state, outcome.last_frame),
            json.dumps(outcome.report),
            ui=shown_video(outcome.path),
        )
