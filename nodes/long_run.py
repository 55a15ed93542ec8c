"""A whole long animation in one node, on any base."""

import json
from contextlib import ExitStack

import folder_paths
from comfy_api.latest import InputImpl, io
from torch import Tensor

from ..everanimate_core.digests import weights_digest
from ..everanimate_core.knobs import knobs
from ..everanimate_core.media.blank import WarnOfBlank
from ..everanimate_core.media.rates import file_rate
from ..everanimate_core.notes import Size, lengths, short_end, stretched, untrained
from ..everanimate_core.runs.job import make_job
from ..everanimate_core.runs.names import run_folder
from ..everanimate_core.runs.settings import RunSettings
from . import widgets
from .base_animation import FOOTAGE, BaseAnimation, base_animation
from .bases import NEEDED, BaseSettings, Method
from .checks import check_images
from .fingerprint import disk_digest, run_settings
from .host import RawCodec, check_cancel, graph_metadata, sample_latent, say, shown_video
from .node import in_its_name
from .notes import no_sound, size_of
from .running import asked_prompts, asked_sampling, run_here
from .sampling import check_not_restoring, restored_sampler
from .showing import RunProgress
from .sources import frame_rate, frame_source, sound_of, sound_start
from .validation import widgets_checked

_KNOBS = knobs(BaseSettings)


class EverAnimateLongRun(io.ComfyNode):
    """A long animation on a base."""

    @classmethod
    def define_schema(cls):
        inputs = [
            io.Model.Input("model", tooltip="The base of the method, from any loader, with or without LoRAs."),
            widgets.vae(),
            io.Conditioning.Input("positive", tooltip="The prompt: what is to be seen."),
            widgets.negative(),
            Method.Input("method", tooltip="How chunks are made, from Wan-Animate 2 Method or SCAIL-2 Method."),
            io.Image.Input(
                "reference_images",
                tooltip="The person: one picture. SCAIL-2 takes more, the first one is the main one.",
            ),
            io.MultiType.Input(
                FOOTAGE,
                [io.Image, io.Video],
                tooltip="A plain video of somebody who moves. A VIDEO is streamed.",
            ),
            *widgets.of("width", "height", "total_frames"),
            *widgets.of("steps", "shift", "cfg", "seed", among=_KNOBS),
            widgets.run_name("long_run"),
            *widgets.sampling(),
            widgets.prompts(),
            *widgets.of("chunk_frames", "continuation", among=_KNOBS),
            *widgets.of("fit"),
            *widgets.of("seed_mode", among=_KNOBS),
            *widgets.of("resume", "from_chunk", "fps", "tiled"),
            *widgets.of("restore_strength", "restore_schedule", among=_KNOBS),
            *widgets.of("on_change", "only_chunk", "candidates"),
            widgets.audio(FOOTAGE),
        ]
        return io.Schema(
            node_id="EverAnimateLongRun",
            display_name="Long Run",
            category=widgets.CATEGORY,
            description="Make a video of any length with Wan-Animate 2 or SCAIL-2, chunk by chunk, from a plain video "
            "of somebody who moves. Frames are written to the output folder as they are made, so memory does not grow "
            f"with the length. Needs {NEEDED}.",
            is_output_node=True,
            inputs=inputs,
            outputs=[
                widgets.finished_video(),
                widgets.last_chunk(),
                widgets.report(),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id, io.Hidden.dynprompt],
        )

    validate_inputs = widgets_checked(BaseSettings, RunSettings, run_ending="")

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
        method,
        reference_images,
        driving_video,
        run_name,
        sampler=None,
        sigmas=None,
        prompts=None,
        audio=None,
        **values,
    ) -> io.NodeOutput:
        settings, video = widgets.chosen(BaseSettings, values), widgets.chosen(RunSettings, values)
        check_not_restoring(model, sampler)
        method.check_network(model)
        folder = run_folder(folder_paths.get_output_directory(), run_name)
        codec = WarnOfBlank(RawCodec(vae, video.tiled), say)
        sampler, sigmas = asked_sampling(settings, sampler, sigmas)
        prompts, prompt_digests = asked_prompts(positive, prompts)
        check_images(reference_images=reference_images, driving_video=driving_video)
        rate = file_rate(video.fps) if video.fps else None
        with ExitStack() as files:
            given = {FOOTAGE: driving_video, **method.videos()}
            # A mask of images was made from the frames of the driving VIDEO, and goes with them to another rate.
            follows = rate is not None and any(isinstance(one, Tensor) for one in method.videos().values())
            own = frame_rate(FOOTAGE, driving_video) if follows else None
            videos = {name: files.enter_context(frame_source(name, one, rate, own)) for name, one in given.items()}
            sound = files.enter_context(sound_of(driving_video, audio))
            size = video.width, video.height, video.fit
            conditioned = vae, prompts, negative, settings
            animation = base_animation(method, videos, reference_images, *conditioned, *size, video.total_frames)
            job = make_job(
                animation,
                video,
                network={
                    **run_settings(model, sampler, sigmas, settings.cfg, negative, None),
                    "vae": weights_digest(vae.first_stage_model.state_dict().items()),
                    "tiled": video.tiled,
                },
                prompts=prompt_digests,
                sound=sound,
                sound_start=sound_start(driving_video, audio),
                metadata=graph_metadata(cls.hidden),
            )
            progress = RunProgress(model, cls.hidden, job.plan.chunk_count, len(sigmas) - 1, video.candidates)
            notes = before_sampling(animation, {name: Size(v.width, v.height) for name, v in videos.items()}, video.fit)
            notes += stretched(
                "reference_images", size_of(reference_images), Size(video.width, video.height), video.fit, str
            )
            for note in notes + no_sound(FOOTAGE, driving_video, audio, job.output.fps):
                progress.say(note)

            def sample_chunk(request, noise_seed):
                check_cancel()
                on_step = progress.on_step(request.leading)
                chosen = restored_sampler("Long Run", sampler, request.correct)
                conditioning = request.positive, request.negative, request.latent
                raw = sample_latent(model, *conditioning, chosen, sigmas, settings.cfg, noise_seed, on_step)
                return raw[:, :, request.leading :].float().cpu()

            outcome = run_here(job, folder, sample_chunk, codec, video, progress)
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(outcome.path)),
            outcome.frames,
            json.dumps(outcome.report),
            ui=shown_video(outcome.path),
        )


def before_sampling(animation: BaseAnimation, sizes: dict[str, Size], fit: str) -> list[str]:
    """What is said of the driving videos and of the chunks. sizes: of the videos, before they were fitted."""
    plan, base = animation.plan, animation.base
    read_at = Size(*base.footage_size(animation.width, animation.height))
    how = f"it goes on by continuation {plan.continuation}"
    frames = animation.videos[FOOTAGE].frame_count
    trained = _KNOBS["chunk_frames"].default
    return [
        *(note for name, size in sizes.items() for note in stretched(name, size, read_at, fit, str)),
        *lengths(FOOTAGE, frames, plan, how, str),
        *short_end(plan, "chunk", "chunk_frames", _KNOBS["chunk_frames"].steps, str),
        *untrained("chunk_frames", plan.chunk_frames, trained, base.title, str),
    ]
