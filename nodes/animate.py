"""The whole loop in one node."""

import json
import logging
from fractions import Fraction

import comfy.samplers
import folder_paths
from comfy_api.latest import InputImpl, io, ui

from ..everanimate_core.errors import InputError, check_number
from ..everanimate_core.everanimate.flow import SEED_MODES, check_sigmas, sigma_schedule
from ..everanimate_core.everanimate.geometry import check_size, chunk_geometry
from ..everanimate_core.everanimate.memory import build_memory
from ..everanimate_core.everanimate.restoration import Restoration, check_strength
from ..everanimate_core.media.blank import WarnOfBlank
from ..everanimate_core.media.frames import fit_frames
from ..everanimate_core.media.rates import file_rate
from ..everanimate_core.plan import ChunkPlan
from ..everanimate_core.runs.run import Job, run
from ..everanimate_core.runs.store import RunStore, run_folder
from . import fingerprint_0_1_0, widgets
from .checks import check_images
from .fingerprint import conditioning_digest, run_settings
from .host import (
    HostCodec,
    RunProgress,
    check_cancel,
    condition,
    drivers,
    empty_latent,
    graph_metadata,
    sample,
    sound_of,
    to_network,
    trim_window,
)
from .node import in_its_name
from .sampling import restored_sampler, restores

DEFAULT_FPS = Fraction(25)


class EverAnimateAnimate(io.ComfyNode):
    """A long animation from a reference image and a pose video."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateAnimate",
            display_name="Animate Long Video",
            category=widgets.CATEGORY,
            description="Animate a person chunk by chunk, for as long as the pose video or longer. Frames are written "
            "to the output folder as they are made, so memory does not grow with the length.",
            is_output_node=True,
            inputs=[
                widgets.model(),
                widgets.vae(),
                widgets.positive(),
                widgets.negative(),
                widgets.reference_images(),
                widgets.pose_video("The pose video (skeletons on black). A VIDEO is streamed.", optional=False),
                *widgets.size(),
                widgets.total_frames(),
                *widgets.steps_and_shift(),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Classifier-free guidance. 1 (as released) needs no negative pass and half the time.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=widgets.MAX_SEED,
                    # Editors draw a new "seed" after every run unless told not to; this one belongs to the run.
                    control_after_generate=False,
                    tooltip="Seed of the noise and of the keyframes. It stays as it is, so that a run can be "
                    "continued.",
                ),
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
                    tooltip="A prompt for each chunk: entry k of this list serves chunk k, the last one all that "
                    "follow. Replaces positive.",
                ),
                io.Combo.Input(
                    "seed_mode",
                    options=list(SEED_MODES),
                    default="released",
                    tooltip="Noise seed of chunk k: released = seed + 42 k, fixed = seed, increment = seed + k.",
                ),
                *widgets.memory_counts(),
                *widgets.chunking(),
                widgets.keyframes(),
                widgets.clip_source(),
                widgets.fit(),
                widgets.tiled(),
                io.Boolean.Input(
                    "latent_context",
                    default=False,
                    tooltip="Decode each chunk together with the last latents of the chunk before: joins become a "
                    "little smoother. Off: as released.",
                ),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    tooltip="Go on with the run of this name: finished chunks are kept. Off: start anew; the old run's "
                    "folder is given another name, its video is replaced.",
                ),
                io.Int.Input(
                    "from_chunk",
                    default=0,
                    min=0,
                    max=99999,
                    tooltip="Make this chunk and all after it again, for example with another seed. 0: only what is "
                    "missing.",
                ),
                io.Float.Input(
                    "fps",
                    default=0.0,
                    min=0.0,
                    max=240.0,
                    step=0.01,
                    tooltip="Frames per second of the result. A pose VIDEO is shown at this rate and keeps its speed. "
                    "0: the rate of the pose VIDEO, 25 for images.",
                ),
                *widgets.restoration("restore_", strength=0.0, optional=True),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The whole animation, as written to the output folder."),
                io.Image.Output(
                    display_name="last chunk",
                    tooltip="The frames that the last chunk adds, to look at. The whole animation is in `video`.",
                ),
                widgets.Memory.Output(display_name="memory", tooltip="The memory after the last chunk."),
                io.String.Output(display_name="report", tooltip="JSON: frames and seconds of every chunk."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

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
        width,
        height,
        total_frames,
        steps,
        shift,
        cfg,
        seed,
        run_name,
        seed_mode,
        identity_latents,
        motion_latents,
        chunk_frames,
        overlap,
        continuation,
        keyframes,
        clip_source,
        fit,
        tiled,
        latent_context,
        resume,
        from_chunk,
        fps,
        face_video=None,
        background_video=None,
        character_mask=None,
        clip_vision=None,
        sampler=None,
        sigmas=None,
        prompts=None,
        restore_strength=0.0,
        restore_schedule="gaussian",
        restore_target="statistics",
    ) -> io.NodeOutput:
        check_size(width, height)
        check_number("cfg", cfg, "1.0")
        if restores(model, sampler):
            raise InputError(
                "every chunk",
                "has a correction of its own",
                "set restore_strength and connect model and sampler without it",
                "one from Restore Flow or Restorative Sampler",
            )
        folder = run_folder(folder_paths.get_output_directory(), run_name)
        codec = WarnOfBlank(HostCodec(vae, tiled), logging.warning)
        rate = file_rate(fps) if fps else None
        sampler = comfy.samplers.sampler_object("euler") if sampler is None else sampler
        sigmas = sigma_schedule(steps, shift) if sigmas is None else sigmas
        check_sigmas(sigmas)
        prompts_name = "positive" if prompts is None else "prompts"
        prompts = [positive] if prompts is None else [[prompt] for prompt in prompts]
        check_strength(restore_strength, "restore_strength")
        check_images(
            reference_images=reference_images,
            pose_video=pose_video,
            face_video=face_video,
            background_video=background_video,
            character_mask=character_mask,
        )
        references = fit_frames(reference_images[..., :3].float().cpu(), width, height, fit)
        inputs = (pose_video, face_video, background_video, character_mask)
        made_with = model, sampler, sigmas, cfg, negative, clip_vision
        with drivers(width, height, fit, *inputs, fps=rate) as driving, sound_of(pose_video) as sound:
            plan = ChunkPlan(total_frames or driving.pose.frame_count, chunk_frames, overlap, continuation)
            chunk_geometry(plan, identity_latents, motion_latents)
            driving.check(plan)
            job = Job(
                plan,
                build_memory(references, codec, identity_latents, motion_latents),
                driving,
                settings=run_settings(*made_with) | {"tiled": tiled},
                prompts=[conditioning_digest(prompt, prompts_name) for prompt in prompts],
                fps=rate or driving.pose.fps or DEFAULT_FPS,
                seed=seed,
                seed_mode=seed_mode,
                keyframes=keyframes,
                clip_source=clip_source,
                latent_context=latent_context,
                restoration=Restoration(restore_strength, restore_schedule, restore_target),
                audio_from=sound,
                audio_start=trim_window(pose_video)[0],
                metadata=graph_metadata(cls.hidden),
                earlier=fingerprint_0_1_0.earlier(*made_with, tiled, prompts),
            )
            progress = RunProgress(model, plan.chunk_count, len(sigmas) - 1)

            def sample_chunk(request, noise_seed):
                check_cancel()
                prompt = prompts[min(request.index, len(prompts) - 1)]
                conditioning = condition(prompt, negative, request, clip_vision)
                on_step = progress.on_step(request.index, request.identity)
                chosen = restored_sampler("Animate Long Video", sampler, request.correct)
                raw = sample(model, *conditioning, empty_latent(request), chosen, sigmas, cfg, noise_seed, on_step)
                return to_network(raw)[:, :, request.identity :]

            path = folder.with_name(f"{run_name}.mp4")
            outcome = run(job, RunStore(folder), sample_chunk, codec, path, resume, from_chunk, progress.on_chunk)
        saved = ui.SavedResult(path.name, folder.parent.name, io.FolderType.output)
        return io.NodeOutput(
            InputImpl.VideoFromFile(str(path)),
            outcome.last.frames,
            outcome.last.memory,
            json.dumps(outcome.report),
            ui=ui.PreviewVideo([saved]),
        )
