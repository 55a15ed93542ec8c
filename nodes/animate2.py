"""Wan-Animate 2 as a base of Long Run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.errors import InputError
from ..everanimate_core.knobs import knob, knobs
from . import widgets
from .bases import NEEDED, Base, Method, check_range, drive_end, drive_start, drive_strength
from .node import in_its_name
from .validation import widgets_checked


@dataclass(frozen=True)
class Animate2(Base):
    """Wan-Animate 2: plain footage drives one picture; the last frame is carried on.

    clip_vision_output_pose: what CLIP vision sees in the first driving frame. positive_pose: a CONDITIONING.
    """

    positive_pose: Any = None
    clip_vision_output_pose: Any = None
    pose_strength: float = drive_strength()
    pose_start_percent: float = drive_start()
    pose_end_percent: float = drive_end()
    reference_image_strength: float = knob(
        1.0,
        "How strongly the picture holds the person (1 as trained). Below, the prompt changes more.",
        low=0.0,
        high=10.0,
        step=0.01,
        rare=True,
    )

    name: ClassVar[str] = "wan-animate-2"
    title: ClassVar[str] = "Wan-Animate 2"
    network: ClassVar[str] = "WAN_Animate2"
    node: ClassVar[str] = "WanAnimate2ToVideo"
    overlap: ClassVar[int] = 1
    leading: ClassVar[int] = 1
    end_latents: ClassVar[int] = 1
    multiple: ClassVar[int] = 16

    def __post_init__(self):
        super().__post_init__()
        check_range("pose_start_percent", self.pose_start_percent, "pose_end_percent", self.pose_end_percent)

    def footage_size(self, width: int, height: int) -> tuple[int, int]:
        """That of the animation."""
        return width, height

    def check_inputs(self, references: int, first: Mapping[str, Tensor]) -> None:
        """Raise InputError for more pictures than one: the network has one slot for them."""
        if references != 1:
            raise InputError("reference_images", f"must be one picture for {self.title}", "", references)

    def inputs(self, references: Tensor, seen: Mapping[str, Tensor], carried: Tensor | None) -> dict[str, Any]:
        """What the host's node is given of a chunk."""
        return {
            **vars(self),
            "reference_image": references,
            "pose_video": seen["driving_video"],
            "continue_motion": carried,
        }


class EverAnimateMethodAnimate2(io.ComfyNode):
    """What Long Run has to know of Wan-Animate 2."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateMethodAnimate2",
            display_name="Wan-Animate 2 Method",
            category=widgets.CATEGORY,
            description=f"Make a long video with Wan-Animate 2 in Long Run. Needs {NEEDED}.",
            inputs=[
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    optional=True,
                    tooltip="What CLIP vision sees in the reference picture. Wan-Animate 2 needs it.",
                ),
                io.Conditioning.Input(
                    "positive_pose",
                    optional=True,
                    tooltip="A prompt that describes the motion of the driving video. Not connected: positive.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output_pose",
                    optional=True,
                    tooltip="What CLIP vision sees in the first frame of the driving video. Not connected: "
                    "clip_vision_output.",
                ),
                *widgets.of(*knobs(Animate2), among=knobs(Animate2)),
            ],
            outputs=[Method.Output(display_name="method", tooltip="For Long Run.")],
        )

    validate_inputs = widgets_checked(Animate2)

    @classmethod
    @in_its_name
    def execute(cls, **settings) -> io.NodeOutput:
        base = Animate2(**settings)
        base.check_host()
        return io.NodeOutput(base)
