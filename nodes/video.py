"""Nodes for finished frames."""

import comfy.utils
import torch
from comfy_api.latest import io, ui

from ..everanimate_core.errors import InputError
from ..everanimate_core.plan import ChunkPlan, check_chunk
from . import widgets
from .host import check_cancel
from .node import in_its_name
from .sources import frame_source

# The longest chunk that can be given.
MOST_FRAMES = 9999


class EverAnimateJoinChunks(io.ComfyNode):
    """Chunks one after the other."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateJoinChunks",
            display_name="Join Chunks",
            category=widgets.CATEGORY,
            description="Put the frames of a chunk behind those of the chunks before.",
            inputs=[
                io.Image.Input("images", tooltip="The frames of this chunk, from Propagate Latents."),
                io.Image.Input("previous", optional=True, tooltip="The frames before, from another Join Chunks."),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="All frames so far.")],
        )

    @classmethod
    @in_its_name
    def execute(cls, images, previous=None) -> io.NodeOutput:
        if previous is None:
            return io.NodeOutput(images)
        if previous.shape[1:] != images.shape[1:]:
            size = f"{previous.shape[2]}x{previous.shape[1]}"
            raise InputError("images", "must be of the size of previous", size, f"{images.shape[2]}x{images.shape[1]}")
        return io.NodeOutput(torch.cat([previous, images]))


class EverAnimateDriftReport(io.ComfyNode):
    """What changed over a long video that should not have."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateDriftReport",
            display_name="Drift Report",
            category=widgets.CATEGORY,
            description="Measure how a video drifts: colour, sharpness, contrast and identity over time, flashes, and "
            "the seams between chunks; with the true video also PSNR and SSIM. Gives a table to post. Needs three "
            "packages more: pip install scikit-image torchmetrics matplotlib.",
            inputs=[
                io.MultiType.Input("video", [io.Image, io.Video], tooltip="The animation."),
                io.Image.Input("reference_images", tooltip="The person. The video is compared with the first picture."),
                io.MultiType.Input(
                    "truth",
                    [io.Image, io.Video],
                    optional=True,
                    tooltip="The video as it should be, of the same size and length. Without it, changes are measured "
                    "from the first frame.",
                ),
                widgets.Plan.Input("plan", optional=True, tooltip="The plan of the chunks, to look at their seams."),
                io.Int.Input(
                    "chunk_frames",
                    optional=True,
                    default=0,
                    min=0,
                    max=MOST_FRAMES,
                    tooltip="Frames of a chunk, for a video that was chained without a plan of this pack: 81 for "
                    "Wan-Animate 2 and SCAIL-2. 0: not divided.",
                ),
                io.Int.Input(
                    "overlap",
                    optional=True,
                    default=0,
                    min=0,
                    max=MOST_FRAMES,
                    tooltip="With chunk_frames: how many frames each chunk shares with the one before, of which the "
                    "video has them once. Wan-Animate 2: 1, SCAIL-2: 5.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="The curves over time, chunk joins marked."),
                io.String.Output(display_name="report", tooltip="JSON: all curves, numbers and findings."),
                io.String.Output(
                    display_name="table", tooltip="Markdown to post: how each chunk differs from chunk 0."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    @in_its_name
    def validate_inputs(cls, chunk_frames=None, overlap=None) -> bool:
        """Look at both widgets when a graph is queued; the host hands over None for one that comes from a link."""
        if chunk_frames is not None and overlap is not None:
            check_division(chunk_frames, overlap)
        return True

    @classmethod
    @in_its_name
    def execute(cls, video, reference_images, truth=None, plan=None, chunk_frames=0, overlap=0) -> io.NodeOutput:
        # Here, because the pack works without the packages that evaluation needs.
        from ..everanimate_core.evaluation.evaluate import evaluate
        from ..everanimate_core.evaluation.plot import plot, to_image
        from ..everanimate_core.evaluation.table import as_table

        if plan is not None and chunk_frames:
            raise InputError("chunk_frames", "must be 0 where a plan is connected", "one or the other", chunk_frames)
        check_division(chunk_frames, overlap)
        with (
            frame_source("video", video) as source,
            frame_source("truth", truth) as true_source,
        ):
            if plan is not None and plan.total_frames != source.frame_count:
                raise InputError(
                    "plan", "must be of the video's length", f"{source.frame_count} frames", plan.total_frames
                )
            if chunk_frames:
                plan = ChunkPlan(source.frame_count, chunk_frames, overlap)
            bar = comfy.utils.ProgressBar(source.frame_count)

            def on_frames(done: int, total: int) -> None:
                check_cancel()
                bar.update_absolute(done)

            report = evaluate(
                source,
                true_source,
                reference_images[0, ..., :3].float().cpu(),
                [] if plan is None else plan.joins,
                on_frames=on_frames,
            )
        picture = to_image(plot(report))
        return io.NodeOutput(picture, report.to_json(), as_table(report, plan), ui=ui.PreviewImage(picture, cls=cls))


def check_division(chunk_frames: int, overlap: int) -> None:
    """Raise InputError unless a video can be divided so; chunk_frames 0: it is not divided."""
    if chunk_frames:
        check_chunk(chunk_frames, overlap)
    elif overlap:
        raise InputError("overlap", "must be 0 without chunk_frames", "chunk_frames 81 for overlap 1", overlap)
