"""Nodes for finished frames."""

import comfy.utils
import torch
from comfy_api.latest import io, ui

from ..everanimate_core.errors import InputError
from . import widgets
from .host import check_cancel, frame_source
from .node import in_its_name


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
            "the seams between chunks; with the true video also PSNR and SSIM. Needs three packages more: pip install "
            "scikit-image torchmetrics matplotlib.",
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
            ],
            outputs=[
                io.Image.Output(display_name="plot", tooltip="The curves over time, chunk joins marked."),
                io.String.Output(display_name="report", tooltip="JSON: all curves, numbers and findings."),
            ],
            is_output_node=True,
        )

    @classmethod
    @in_its_name
    def execute(cls, video, reference_images, truth=None, plan=None) -> io.NodeOutput:
        # Here, because the pack works without the packages that evaluation needs.
        from ..everanimate_core.evaluation.evaluate import evaluate
        from ..everanimate_core.evaluation.plot import plot, to_image

        with (
            frame_source("video", video) as source,
            frame_source("truth", truth) as true_source,
        ):
            if plan is not None and plan.total_frames != source.frame_count:
                raise InputError(
                    "plan", "must be of the video's length", f"{source.frame_count} frames", plan.total_frames
                )
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
        return io.NodeOutput(picture, report.to_json(), ui=ui.PreviewImage(picture, cls=cls))
