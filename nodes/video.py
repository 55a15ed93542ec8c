"""Nodes for finished frames."""

import torch
from comfy_api.latest import io

from . import widgets


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
    def execute(cls, images, previous=None) -> io.NodeOutput:
        if previous is None:
            return io.NodeOutput(images)
        if previous.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"Join Chunks: images and previous must be of one size ({previous.shape[2]}x{previous.shape[1]}); "
                f"got {images.shape[2]}x{images.shape[1]}."
            )
        return io.NodeOutput(torch.cat([previous, images]))
