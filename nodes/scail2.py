"""SCAIL-2 as a base of Long Run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.errors import InputError
from ..everanimate_core.knobs import knob, knobs
from ..everanimate_core.media.frames import fit_frames
from . import widgets
from .bases import NEEDED, Base, Method, check_range, drive_end, drive_start, drive_strength
from .checks import check_images
from .node import in_its_name
from .validation import widgets_checked

# The network was trained with masks whose channels are on or off; the host counts one as on above this.
ON = 225 / 255


@dataclass(frozen=True)
class Scail2(Base):
    """SCAIL-2: plain footage drives one or more pictures; the last 5 frames are carried on.

    driving_mask: IMAGE or VIDEO, one colour a person throughout, black elsewhere (white in replacement_mode).
    reference_image_mask: [R, H, W, 3], the same colours, white elsewhere (black in replacement_mode).
    """

    driving_mask: Any = None
    reference_image_mask: Tensor | None = None
    replacement_mode: bool = knob(
        False,
        "Off: the picture moves like the person in the driving video. On: it takes that person's place in the driving "
        "video.",
    )
    pose_strength: float = drive_strength()
    pose_start: float = drive_start()
    pose_end: float = drive_end()

    name: ClassVar[str] = "scail-2"
    title: ClassVar[str] = "SCAIL-2"
    network: ClassVar[str] = "WAN21_SCAIL2"
    node: ClassVar[str] = "WanSCAILToVideo"
    overlap: ClassVar[int] = 5
    leading: ClassVar[int] = 0
    end_latents: ClassVar[int] = 2
    multiple: ClassVar[int] = 32
    video_names: ClassVar[tuple[str, ...]] = ("driving_mask",)

    def __post_init__(self):
        super().__post_init__()
        check_range("pose_start", self.pose_start, "pose_end", self.pose_end)

    def footage_size(self, width: int, height: int) -> tuple[int, int]:
        """Half of the animation's."""
        return width // 2, height // 2

    def margin(self, video: str) -> float:
        """The ground of the mask; black beside the footage."""
        return float(video == "driving_mask" and self.replacement_mode)

    def fitted(self, width: int, height: int, fit: str) -> Mapping[str, Any]:
        """The mask of the pictures."""
        masks = self.reference_image_mask
        if masks is None:
            return {}
        ground = float(not self.replacement_mode)
        return {"reference_image_mask": fit_frames(masks[..., :3].float().cpu(), width, height, fit, ground)}

    def check_inputs(self, references: int, first: Mapping[str, Tensor]) -> None:
        """Raise InputError for masks that do not go with the pictures, show nobody, or have the ground of the other
        mode."""
        masks, driving = self.reference_image_mask, first.get("driving_mask")
        if masks is not None and len(masks) != references:
            got = f"{len(masks)} for {references}"
            raise InputError("reference_image_mask", "must have one mask for each of reference_images", "", got)
        if masks is not None:
            check_ground("reference_image_mask", masks, not self.replacement_mode, self.replacement_mode)
        if driving is not None:
            check_ground("driving_mask", driving, self.replacement_mode, self.replacement_mode)
            if not _coloured(driving).any():
                rule = f"must show a person in the first {len(driving)} frames"
                colours = "blue, red, green, magenta, cyan or yellow at full brightness"
                raise InputError("driving_mask", rule, colours, "none")

    def inputs(self, references: Tensor, seen: Mapping[str, Tensor], carried: Tensor | None) -> dict[str, Any]:
        """What the host's node is given of a chunk."""
        settings = {name: value for name, value in vars(self).items() if name != "driving_mask"}
        return {
            **settings,
            "reference_image": references,
            "pose_video": seen["driving_video"],
            "pose_video_mask": seen.get("driving_mask"),
            "previous_frames": carried,
            "previous_frame_count": self.overlap,
        }


def _coloured(mask: Tensor) -> Tensor:
    """Where mask [n, H, W, 3] is neither white nor black: [n, H, W]."""
    on = mask > ON
    return on.any(dim=-1) & ~on.all(dim=-1)


def check_ground(name: str, mask: Tensor, white: bool, replacement: bool) -> None:
    """Raise InputError where the ground of mask [n, H, W, 3] is the other one than white, respectively black.

    replacement: the mode that asks for it.
    """
    on = mask > ON
    whites, blacks = int(on.all(dim=-1).sum()), int((~on).all(dim=-1).sum())
    if (whites < blacks) if white else (blacks < whites):
        wanted, got = ("white", "black") if white else ("black", "white")
        rule = f"must be {wanted} where nobody is, with replacement_mode {'on' if replacement else 'off'}"
        raise InputError(name, rule, "as Create SCAIL-2 Colored Mask makes it in that mode", got)


_KNOBS = knobs(Scail2)


class EverAnimateMethodScail2(io.ComfyNode):
    """What Long Run has to know of SCAIL-2."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="EverAnimateMethodScail2",
            display_name="SCAIL-2 Method",
            category=widgets.CATEGORY,
            description=f"Make a long video with SCAIL-2 in Long Run. Needs {NEEDED}.",
            inputs=[
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    optional=True,
                    tooltip="What CLIP vision sees in the first reference picture. SCAIL-2 needs it.",
                ),
                *widgets.of("replacement_mode", among=_KNOBS),
                io.MultiType.Input(
                    "driving_mask",
                    [io.Image, io.Video],
                    optional=True,
                    tooltip="Who is where in the whole driving video: one colour a person, the same throughout, black "
                    "elsewhere (white with replacement_mode). Made once, by Create SCAIL-2 Colored Mask.",
                ),
                io.Image.Input(
                    "reference_image_mask",
                    optional=True,
                    tooltip="Who is where in the pictures, a mask for each: the same colours, white elsewhere (black "
                    "with replacement_mode).",
                ),
                *widgets.of("pose_strength", "pose_start", "pose_end", among=_KNOBS),
            ],
            outputs=[Method.Output(display_name="method", tooltip="For Long Run.")],
        )

    validate_inputs = widgets_checked(Scail2)

    @classmethod
    @in_its_name
    def execute(cls, **settings) -> io.NodeOutput:
        base = Scail2(**settings)
        base.check_host()
        check_images(driving_mask=base.driving_mask, reference_image_mask=base.reference_image_mask)
        return io.NodeOutput(base)
