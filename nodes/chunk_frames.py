"""A node for graphs of people's own: which frames of a video a chunk sees, around any node of the host."""

from comfy_api.latest import io

from ..everanimate_core.notes import continued
from . import widgets
from .checks import check_images
from .host import tell_notes
from .node import in_its_name
from .sources import frame_source


class EverAnimateChunkFrames(io.ComfyNode):
    """The frames of a video that one chunk sees, and those that it begins with."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateChunkFrames",
            display_name="Chunk Frames",
            category=widgets.CATEGORY,
            description="Take the frames of one chunk out of a video, for graphs around ComfyUI's own video nodes.",
            inputs=[
                widgets.plan(),
                io.Int.Input("chunk_index", default=0, min=0, max=99999, tooltip="Which chunk this is, from 0."),
                io.MultiType.Input(
                    "video",
                    [io.Image, io.Video],
                    tooltip="The whole driving video. A VIDEO from a file is read chunk by chunk, at its own rate.",
                ),
                io.Image.Input(
                    "previous",
                    optional=True,
                    tooltip="The frames of the chunk before, or all frames so far. Not for chunk 0.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images",
                    tooltip="The frames of the video that this chunk sees, as many as chunk_frames. A video that is "
                    "too short goes on as the plan's continuation says.",
                ),
                io.Image.Output(
                    display_name="previous_frames",
                    tooltip="The last frames of previous, as many as overlap, for continue_motion or previous_frames "
                    "of the node that makes the chunk. Nothing for chunk 0.",
                ),
                io.Int.Output(
                    display_name="frame_offset",
                    tooltip="How many frames these are, for video_frame_offset: that node takes them off again, and "
                    "begins with the first of images.",
                ),
                io.Int.Output(
                    display_name="keep_from",
                    tooltip="Where the new frames of the finished chunk begin, for batch_index of ImageFromBatch.",
                ),
                io.Int.Output(
                    display_name="keep_count",
                    tooltip="How many new frames the finished chunk has, for length of ImageFromBatch.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @in_its_name
    def execute(cls, plan, chunk_index, video, previous=None) -> io.NodeOutput:
        plan.check_index(chunk_index)
        plan.check_previous(chunk_index, 0 if previous is None else len(previous))
        check_images(video=video, previous=previous)
        with frame_source("video", video) as source:
            length = source.frame_count
            plan.check_source("video", length)
            if chunk_index == 0:
                goes_on = f"it goes on by the plan's continuation {plan.continuation}"
                tell_notes(
                    cls.hidden.unique_id,
                    continued("video", length, plan.total_frames, "the animation", goes_on, str),
                )
            images = source.read(plan.source_indices(chunk_index, length))
        carried, kept = plan.carried(chunk_index), plan.kept(chunk_index)
        before = previous[-carried:] if carried else None
        return io.NodeOutput(images, before, carried, kept.start, kept.stop - kept.start)
