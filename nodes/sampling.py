"""Nodes around sampling."""

from comfy_api.latest import io

from ..everanimate_core.flow import sigma_schedule
from . import widgets


class EverAnimateSigmas(io.ComfyNode):
    """The noise levels that the released model is sampled with."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateSigmas",
            display_name="EverAnimate Sigmas",
            category=widgets.CATEGORY,
            description="Noise levels of the released model: evenly spaced, shifted towards noise, exact for any step "
            "count.",
            inputs=[
                *widgets.steps_and_shift(),
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
