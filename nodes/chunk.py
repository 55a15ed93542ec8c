"""Nodes that plan the chunks and condition each of them."""

from comfy_api.latest import io

from ..everanimate_core.errors import InputError
from ..everanimate_core.everanimate.notes import of_lengths, of_settings, of_videos
from ..everanimate_core.everanimate.order import next_chunk
from ..everanimate_core.everanimate.propagation import request_chunk
from ..everanimate_core.everanimate.settings import Settings
from ..everanimate_core.notes import Size
from ..everanimate_core.plan import ChunkPlan
from ..everanimate_core.runs.settings import RunSettings
from ..everanimate_core.toy.network.vae import ToyVae
from . import widgets
from .checks import check_images
from .host import HostCodec, condition, empty_latent, tell_notes
from .marks import made_for
from .node import in_its_name
from .sources import drivers, frame_count
from .validation import widgets_checked


class EverAnimatePlanChunks(io.ComfyNode):
    """The chunks of a long animation."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimatePlanChunks",
            display_name="Plan Chunks",
            category=widgets.CATEGORY,
            description="Divide a long animation into chunks that overlap by a few frames.",
            inputs=[
                *widgets.of("total_frames", "chunk_frames", "overlap", "continuation"),
                widgets.pose_video("Gives the length when total_frames is 0."),
            ],
            outputs=[
                widgets.Plan.Output(
                    display_name="plan", tooltip="For Condition Chunk or Chunk Frames, and Propagate Latents."
                ),
                io.Int.Output(display_name="chunk_count", tooltip="How many chunks there are."),
                io.Int.Output(display_name="total_frames", tooltip="Frames of the whole animation."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    validate_inputs = widgets_checked(Settings, RunSettings)

    @classmethod
    @in_its_name
    def execute(cls, total_frames, chunk_frames, overlap, continuation, pose_video=None) -> io.NodeOutput:
        if total_frames == 0 and pose_video is None:
            raise InputError("total_frames or pose_video", "must say how long the animation is", "", "neither")
        frames = frame_count("pose_video", pose_video)
        plan = ChunkPlan(total_frames or frames, chunk_frames, overlap, continuation)
        tell_notes(cls.hidden.unique_id, of_lengths(frames, plan, str))
        return io.NodeOutput(plan, plan.chunk_count, plan.total_frames)


class EverAnimateChunk(io.ComfyNode):
    """Everything that the sampler is told about one chunk."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateChunk",
            display_name="Condition Chunk",
            category=widgets.CATEGORY,
            description="Condition one chunk on the memory and on its part of the driving videos.",
            inputs=[
                widgets.positive(),
                widgets.negative(),
                widgets.vae(),
                widgets.plan(),
                widgets.Memory.Input(
                    "memory", tooltip="For chunk 0 from Build Memory, for others from the Propagate Latents before."
                ),
                widgets.chunk_index(),
                widgets.pose_video("The whole pose video (skeletons on black)."),
                *widgets.optional_drivers(),
                *widgets.of("clip_source", "fit"),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler."),
                io.Latent.Output(display_name="latent", tooltip="Empty latents of the right size, anchors included."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @in_its_name
    def execute(
        cls,
        positive,
        negative,
        vae,
        plan,
        memory,
        chunk_index,
        clip_source,
        fit,
        pose_video=None,
        face_video=None,
        background_video=None,
        character_mask=None,
        clip_vision=None,
    ) -> io.NodeOutput:
        check_images(
            pose_video=pose_video,
            face_video=face_video,
            background_video=background_video,
            character_mask=character_mask,
        )
        chunk_index = next_chunk(plan, memory, chunk_index)
        inputs = (pose_video, face_video, background_video, character_mask)
        with drivers(*inputs) as sources:
            if chunk_index == 0:
                size = Size(memory.width, memory.height)
                # Not where they are set: other models have chunks and memories of another layout.
                layout = {"identity_latents": memory.anchors, "motion_latents": memory.motion_count}
                layout |= {"chunk_frames": plan.chunk_frames, "overlap": plan.overlap}
                # The toy was trained with its own; any other VAE serves the model that the released LoRA is for.
                if isinstance(vae.first_stage_model, ToyVae):
                    layout = {}
                notes = of_videos(sources, plan, size, fit, str) + of_settings(layout, str)
                tell_notes(cls.hidden.unique_id, notes)
            driving = sources.fitted(memory.width, memory.height, fit)
            request = request_chunk(
                driving.chunk(plan, chunk_index), memory, HostCodec(vae), Settings(clip_source=clip_source)
            )
        positive, negative = condition(positive, negative, request, clip_vision)
        return io.NodeOutput(positive, negative, made_for(chunk_index, empty_latent(request)))
