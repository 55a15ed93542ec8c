"""Nodes that plan the chunks and condition each of them."""

from comfy_api.latest import io

from ..everanimate_core.plan import CONTINUATIONS, ChunkPlan
from ..everanimate_core.propagation import CLIP_SOURCES, request_chunk
from ..everanimate_core.video import FIT_POLICIES
from .host import CATEGORY, HostCodec, Memory, Plan, condition, drivers, empty_latent, frame_source
from .memory import FIT_TOOLTIP

DRIVER_TYPES = [io.Image, io.Video]


class EverAnimatePlanChunks(io.ComfyNode):
    """The chunks of a long animation."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimatePlanChunks",
            display_name="Plan Chunks",
            category=CATEGORY,
            description="Divide a long animation into chunks that overlap by a few frames.",
            inputs=[
                io.Int.Input(
                    "total_frames",
                    default=0,
                    min=0,
                    max=1000000,
                    tooltip="Frames of the whole animation. 0: as many as pose_video has.",
                ),
                io.Int.Input(
                    "chunk_frames",
                    default=77,
                    min=5,
                    max=161,
                    step=4,
                    tooltip="Frames of a chunk, 4n + 1. The released LoRA was trained with 77.",
                ),
                io.Int.Input(
                    "overlap",
                    default=4,
                    min=0,
                    max=159,
                    tooltip="Frames that two neighbouring chunks share. The released LoRA was trained with 4.",
                ),
                io.Combo.Input(
                    "continuation",
                    options=list(CONTINUATIONS),
                    default="pingpong",
                    tooltip="How a driving video that is too short goes on: pingpong (back and forth), loop, hold its "
                    "last "
                    "frame, or stop with an error.",
                ),
                io.MultiType.Input(
                    "pose_video", DRIVER_TYPES, optional=True, tooltip="Gives the length when total_frames is 0."
                ),
            ],
            outputs=[
                Plan.Output(display_name="plan", tooltip="The plan, for Condition Chunk and Propagate Latents."),
                io.Int.Output(display_name="chunk_count", tooltip="How many chunks there are."),
                io.Int.Output(display_name="total_frames", tooltip="Frames of the whole animation."),
            ],
        )

    @classmethod
    def execute(cls, total_frames, chunk_frames, overlap, continuation, pose_video=None) -> io.NodeOutput:
        plan = make_plan(total_frames, chunk_frames, overlap, continuation, pose_video)
        return io.NodeOutput(plan, plan.chunk_count, plan.total_frames)


def make_plan(total_frames: int, chunk_frames: int, overlap: int, continuation: str, pose_video) -> ChunkPlan:
    """The plan that a node's widgets describe; total_frames 0 takes the length of pose_video."""
    if total_frames == 0:
        if pose_video is None:
            raise ValueError("Plan Chunks: total_frames or pose_video must say how long the animation is; got neither.")
        total_frames = frame_source("pose_video", pose_video).frame_count
    return ChunkPlan(total_frames, chunk_frames, overlap, continuation)


class EverAnimateChunk(io.ComfyNode):
    """Everything that the sampler is told about one chunk."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateChunk",
            display_name="Condition Chunk",
            category=CATEGORY,
            description="Condition one chunk on the memory and on its part of the driving videos.",
            inputs=[
                io.Conditioning.Input("positive", tooltip="The prompt of this chunk."),
                io.Conditioning.Input(
                    "negative", tooltip="The negative prompt; used only when the sampler's cfg is not 1."
                ),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE (16 channels)."),
                Plan.Input("plan", tooltip="The plan of all chunks."),
                Memory.Input(
                    "memory", tooltip="From Build Memory for chunk 0, then from the Propagate Latents before."
                ),
                io.Int.Input("chunk_index", default=0, min=0, max=99999, tooltip="Which chunk this is, from 0."),
                io.MultiType.Input(
                    "pose_video", DRIVER_TYPES, optional=True, tooltip="The whole pose video (skeletons on black)."
                ),
                io.MultiType.Input(
                    "face_video",
                    DRIVER_TYPES,
                    optional=True,
                    tooltip="The whole video of the driving face, cropped to the face; used at 512x512.",
                ),
                io.MultiType.Input(
                    "background_video",
                    DRIVER_TYPES,
                    optional=True,
                    tooltip="Replacement: the scene that stays, with the old person covered. Needs character_mask. The "
                    "released LoRA was not trained for it.",
                ),
                io.MultiType.Input(
                    "character_mask",
                    [io.Mask, io.Video],
                    optional=True,
                    tooltip="Replacement: white where the new person is drawn, one frame or as many as the background.",
                ),
                io.ClipVision.Input(
                    "clip_vision", optional=True, tooltip="CLIP vision H. Wan2.2-Animate needs it to see the person."
                ),
                io.Combo.Input(
                    "clip_source",
                    options=list(CLIP_SOURCES),
                    default="last_frame",
                    tooltip="What CLIP vision looks at after chunk 0: the last frame of the chunk before (as "
                    "released) or "
                    "always the reference.",
                ),
                io.Combo.Input("fit", options=list(FIT_POLICIES), default="stretch", tooltip=FIT_TOOLTIP),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="For the sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="For the sampler."),
                io.Latent.Output(display_name="latent", tooltip="Empty latents of the right size, anchors included."),
            ],
        )

    @classmethod
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
        driving = drivers(memory, fit, pose_video, face_video, background_video, character_mask)
        request = request_chunk(plan, memory, chunk_index, driving, HostCodec(vae), clip_source)
        positive, negative = condition(positive, negative, request, clip_vision)
        return io.NodeOutput(positive, negative, empty_latent(request))
