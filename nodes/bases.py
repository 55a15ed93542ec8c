"""Bases: networks that a node of the host's own conditions chunk by chunk, and what a long run has to know of one.

A base is carried on as it was trained: by the last frames of the chunk before, through the host's node.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from comfy_api.latest import io
from torch import Tensor

from ..everanimate_core.errors import InputError
from ..everanimate_core.everanimate.settings import Settings
from ..everanimate_core.knobs import check_knobs, knob, knobs, like
from ..everanimate_core.noise import SEED_MODES
from ..everanimate_core.plan import ChunkPlan
from .fingerprint import conditioning_digest
from .host import missing_nodes

Method = io.Custom("EVERANIMATE_METHOD")
# The first version of the host that knows these bases.
NEEDED = "ComfyUI 0.31 or newer"


@dataclass(frozen=True)
class BaseSettings:
    """How a long animation is made on a base. Raises InputError for a value that is out of its range."""

    steps: int = like(
        Settings,
        "steps",
        default=6,
        help="Sampling steps: 6 with a distilled LoRA, 10 with distilled weights, 40 without either.",
    )
    shift: float = like(
        Settings,
        "shift",
        help="How far the noise levels are shifted towards noise: 5 for Wan-Animate 2, 8 for SCAIL-2.",
    )
    cfg: float = like(
        Settings,
        "cfg",
        help="Classifier-free guidance. 1, for distilled LoRAs, needs no negative pass and half the time.",
    )
    seed: int = like(Settings, "seed", help="Seed of the noise. It stays as it is, so that a run can be continued.")
    seed_mode: str = knob(
        "increment",
        "Noise seed of chunk k: increment = seed + k, fixed = seed, released = seed + 42 k (as EverAnimate does it).",
        choices=SEED_MODES,
        rare=True,
    )
    chunk_frames: int = like(
        Settings, "chunk_frames", default=81, help="Frames of a chunk, 4n + 1. Both bases were trained with 81."
    )
    continuation: str = like(Settings, "continuation")
    restore_strength: float = like(
        Settings,
        "restore_strength",
        help="How strongly drift from the colour and contrast of chunk 0 is corrected while sampling. 0: off. 1 is a "
        "good start, less where camera or light change.",
    )
    restore_schedule: str = like(Settings, "restore_schedule")

    def __post_init__(self):
        check_knobs(self)


@dataclass(frozen=True)
class Base(ABC):
    """A base with the settings that it alone has; a picture, a video or what CLIP vision sees is None without one.

    clip_vision_output: what CLIP vision sees in the first reference picture. name: in run folders. title: for people.
    network: the host's class of the network. node: the host's node that conditions a chunk. overlap: O, frames that are
    carried on. leading: slots in front of the chunk's own, cut before decoding. end_latents: at the end of a chunk,
    those that show the carried frames. multiple: of the animation's sides, in pixels. video_names: of its fields, those
    that are driving videos, beside the driving video itself; each chunk of a run knows its frames of them.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    network: ClassVar[str]
    node: ClassVar[str]
    overlap: ClassVar[int]
    leading: ClassVar[int]
    end_latents: ClassVar[int]
    multiple: ClassVar[int]
    video_names: ClassVar[tuple[str, ...]] = ()

    clip_vision_output: Any = None

    def __post_init__(self):
        check_knobs(self)

    @abstractmethod
    def footage_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height at which the node reads driving videos of an animation of this size."""

    def videos(self) -> Mapping[str, Any]:
        """The driving videos that are settings of the base, by name, as far as they are there."""
        return {name: getattr(self, name) for name in self.video_names if getattr(self, name) is not None}

    def margin(self, video: str) -> float:
        """The brightness of what fit = pad adds to a driving video."""
        return 0.0

    def fitted(self, width: int, height: int, fit: str) -> Mapping[str, Tensor]:
        """Those of its fields that are pictures, in the size of the animation."""
        return {}

    @abstractmethod
    def check_inputs(self, references: int, first: Mapping[str, Tensor]) -> None:
        """Raise InputError for pictures and videos that cannot serve.

        references: how many reference pictures there are. first: the frames of each of `videos` that the first chunk
        sees, of the size at which they are read.
        """

    @abstractmethod
    def inputs(self, references: Tensor, seen: Mapping[str, Tensor], carried: Tensor | None) -> dict[str, Any]:
        """What the host's node is given of a chunk beside prompts, VAE and size.

        references: [R, H, W, 3]. seen: the chunk's frames of each driving video. carried: the last O frames of the
        chunk before, None in chunk 0.
        """

    def widgets(self) -> dict[str, Any]:
        """Its numbers and switches, by name."""
        return {name: getattr(self, name) for name in knobs(type(self))}

    def facts(self) -> dict[str, Any]:
        """What a run must share with an earlier part of it, as JSON values; pictures, features, prompts as digests."""
        elsewhere = {*self.widgets(), *self.video_names}
        others = [part.name for part in fields(self) if part.name not in elsewhere]
        return self.widgets() | {name: conditioning_digest(getattr(self, name), name) for name in others}

    def check_host(self) -> None:
        """Raise InputError on a host that does not know this base."""
        if missing_nodes(self.node):
            raise InputError("", f"needs {NEEDED}", "", f"one without {self.node}")

    def check_network(self, model) -> None:
        """Raise InputError unless a MODEL is this base, and is given all that it reads."""
        network = type(model.model).__name__
        if network != self.network:
            raise InputError("model", f"must be {self.title}", f"the host's class {self.network}", network)
        # The network would take text for what CLIP sees.
        if self.clip_vision_output is None and model.model.diffusion_model.img_emb is not None:
            raise InputError("method", "must have a clip_vision_output for this model", "CLIP Vision Encode", "none")

    def check_size(self, width: int, height: int) -> None:
        """Raise InputError, naming the side, for an animation of a size that the base cannot make."""
        for name, size in (("width", width), ("height", height)):
            if size % self.multiple:
                below = size - size % self.multiple
                near = f"{below} or {below + self.multiple}" if below else str(self.multiple)
                raise InputError(name, f"must be a multiple of {self.multiple} for {self.title}", near, size)

    def plan(self, total_frames: int, settings: BaseSettings) -> ChunkPlan:
        """The chunks of an animation of so many frames."""
        if settings.chunk_frames < self.overlap + 2:
            rule = f"must be larger than the {self.overlap} frames that {self.title} carries on"
            raise InputError("chunk_frames", rule, "81", settings.chunk_frames)
        return ChunkPlan(total_frames, settings.chunk_frames, self.overlap, settings.continuation)


def drive_strength() -> Any:
    """A setting of a base: how strongly the driving video acts."""
    return knob(1.0, "How strongly the driving video moves the person (1 as trained).", low=0.0, high=10.0, step=0.01)


def drive_start() -> Any:
    """A setting of a base: from when on the driving video acts."""
    return _moment(0.0, "The part of the sampling, 0 to 1, at which the driving video begins to count.")


def drive_end() -> Any:
    """A setting of a base: until when the driving video acts."""
    return _moment(1.0, "The part of the sampling, 0 to 1, from which the driving video does not count any more.")


def _moment(default: float, help: str) -> Any:
    return knob(default, help, low=0.0, high=1.0, step=0.01, rare=True)


def check_range(start_name: str, start: float, end_name: str, end: float) -> None:
    """Raise InputError for a part of the sampling that ends before it begins."""
    if start > end:
        raise InputError(start_name, f"must not be greater than {end_name}", f"0..{end}", start)
