"""Nodes around sampling."""

from comfy_api.latest import io

from ..everanimate_core.flow import sigma_schedule
from .host import CATEGORY


class EverAnimateSigmas(io.ComfyNode):
    """The noise levels that the released model is sampled with."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateSigmas",
            display_name="EverAnimate Sigmas",
            category=CATEGORY,
            description="Noise levels of the released model: evenly spaced, shifted towards noise, exact for any step "
            "count.",
            inputs=[
                io.Int.Input(
                    "steps", default=20, min=1, max=1000, tooltip="Sampling steps (20; 4 to 6 with a distilled LoRA)."
                ),
                io.Float.Input(
                    "shift",
                    default=5.0,
                    min=0.01,
                    max=100.0,
                    step=0.01,
                    tooltip="How far the levels are shifted towards noise (5 as released; ComfyUI's own default is 8).",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="1: start from pure noise. Below: run only the last part of a longer schedule.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="For SamplerCustom or SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, steps, shift, denoise) -> io.NodeOutput:
        return io.NodeOutput(sigma_schedule(steps, shift, denoise))
