"""LongAnimation as a long run sees it: windows that share frames and colours (protocol: `method.Method`)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..digests import digest
from ..errors import InputError
from ..knobs import changed
from ..latents import SPATIAL_FACTOR, channel_statistics, check_size
from ..media.frames import FittedFrames, fit_frames
from ..method import Sampled, State
from ..noise import chunk_seed
from ..plan import ChunkPlan, latent_frames
from ..ports import Codec, FrameSource
from .colour_score import CHANNELS, LIMIT, colour_distance, colour_shares
from .files import LATENT_CHANNELS
from .fusion import shared_latents
from .lines import PAPER
from .remembering import Remembering, remembering
from .settings import Settings
from .video_memory import MemoryOfVideo
from .windows import Pictures, Window, WindowRequest, prepare_window, window_request

# Settings that a run is continued with or not at all. The seed shows in the seeds.
FINGERPRINT = (
    "steps",
    "cfg",
    "seed_mode",
    "window_frames",
    "overlap",
    "reference_mode",
    "strength",
    "blocks",
    "fuse",
    "fuse_from",
    "lines",
    "threshold",
)


@dataclass(frozen=True)
class LongAnimation:
    """A line-art animation to be coloured (arXiv 2507.01945) with all of its inputs; it can be pickled where these are
    files.

    lineart: of the animation's size. reference, reference_lineart: [1, H, W, 3] in 0..1. memory: of the frames made so
    far; None for windows without.
    """

    plan: ChunkPlan
    lineart: FrameSource
    reference: Tensor
    reference_lineart: Tensor
    settings: Settings
    memory: Remembering | None = None

    def with_memory(self, memory: MemoryOfVideo | None) -> "LongAnimation":
        """The same, each window told of the frames so far; None for windows without."""
        return replace(self, memory=None if memory is None else remembering(memory))

    @property
    def name(self) -> str:
        """In run folders."""
        return "longanimation"

    @property
    def width(self) -> int:
        """Of the animation, in pixels."""
        return self.reference.shape[2]

    @property
    def height(self) -> int:
        """Of the animation, in pixels."""
        return self.reference.shape[1]

    @property
    def fps(self) -> Fraction | None:
        """That of the line art."""
        return self.lineart.fps

    @property
    def seed(self) -> int:
        """Of the noise."""
        return self.settings.seed

    @property
    def extras(self) -> tuple[str, ...]:
        """The ends of the late steps, for the next window."""
        return ("tails",) if self.settings.fuse else ()

    def check(self) -> None:
        """Raise InputError for inputs that cannot serve."""
        self.plan.check_source("lineart", self.lineart.frame_count)
        check_size(self.width, self.height)

    def constants(self) -> Mapping[str, Any]:
        """What a run must share with an earlier part of it, as JSON values."""
        return {
            **{name: getattr(self.settings, name) for name in FINGERPRINT},
            # What came after 0.2.0 counts where it is not as it was: older runs go on.
            **changed(self.settings, *FINGERPRINT, "seed"),
            "width": self.width,
            "height": self.height,
            **({} if self.memory is None else self.memory.facts),
            "references": digest(self.reference, self.reference_lineart),
        }

    def widgets(self) -> Mapping[str, Any]:
        """All settings that count."""
        return {**vars(self.settings), **({} if self.memory is None else self.memory.facts)}

    def begun_with(self, seed: int) -> "LongAnimation":
        """The same: nothing but the noise is random."""
        return self

    @property
    def end_latents(self) -> int:
        """Those that two windows share."""
        return shared_latents(self.plan.overlap)

    def noise_seed(self, index: int) -> int:
        """Seed of the noise of a window."""
        return chunk_seed(self.settings.seed, index, self.settings.seed_mode)

    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Of all that is kept of a window."""
        small = self.height // SPATIAL_FACTOR, self.width // SPATIAL_FACTOR
        shared = shared_latents(self.plan.overlap)
        return {
            "latents": (1, LATENT_CHANNELS, latent_frames(self.plan.chunk_frames), *small),
            "tails": (self.settings.fused_steps, LATENT_CHANNELS, shared, *small),
            "statistics": (2, LATENT_CHANNELS),
            "colours": (CHANNELS, 2 * LIMIT),
            "seen": (None, None, None, 3),
            "past": (2, None, None, None),
            "count": (1,),
            "next_reference": (1, self.height, self.width, 3),
        }

    def types(self) -> Mapping[str, torch.dtype]:
        """Of what a memory keeps."""
        return {} if self.memory is None else self.memory.types

    def kept_numbers(self, chunks: int) -> int:
        """How many float32 numbers a run of so many windows keeps."""
        cells = LATENT_CHANNELS * (self.height // SPATIAL_FACTOR) * (self.width // SPATIAL_FACTOR)
        tails = self.settings.fused_steps * shared_latents(self.plan.overlap)
        picture = 3 * self.width * self.height if self.settings.reference_mode == "autoregressive" else 0
        memory = 0 if self.memory is None else self.memory.kept_numbers(self.plan.stride)
        own = cells * (latent_frames(self.plan.chunk_frames) + tails) + CHANNELS * 2 * LIMIT
        return chunks * (own + picture + memory)

    def chunk(self, index: int) -> Window:
        """The line art of a window."""
        return Window(self.lineart, self.plan, index)

    def start(self) -> State:
        """Nothing: the first window is handed no tails."""
        return {}

    def prepare(self, chunk: Window, codec: Codec) -> None:
        """Encode the line art, and the reference where that is not a frame of the window before."""
        own = chunk.index == 0 or self.settings.reference_mode != "autoregressive"
        pictures = Pictures(self.reference, self.reference_lineart) if own else None
        prepare_window(chunk, pictures, codec, style=self.settings.lines, threshold=self.settings.threshold)

    def request(self, state: State, chunk: Window, codec: Codec, end: Tensor | None = None) -> WindowRequest:
        """All that the network is told of a window, and how it has to end."""
        pictures = Pictures(self.reference, self.reference_lineart)
        if "next_reference" in state:
            pictures = Pictures(state["next_reference"], chunk.frames[:1])
        return window_request(
            chunk,
            pictures,
            codec,
            state.get("tails"),
            style=self.settings.lines,
            threshold=self.settings.threshold,
            memory=None if self.memory is None else self.memory.memory(state),
            end=end,
        )

    def decode(self, state: State, latents: Tensor, codec: Codec) -> Tensor:
        """The window's F frames [F, H, W, 3] in 0..1."""
        return codec.decode(latents)

    def hand_over(self, state: State, chunk: Window, sampled: Sampled, frames: Tensor, codec: Codec) -> State:
        """The ends of the late steps, the colours of the animation so far, and what a memory sees of its frames; with
        an autoregressive reference, the frame at which the next window begins."""
        after = {"statistics": state.get("statistics", channel_statistics(sampled.latents)), **sampled.extras}
        own = self._added(chunk, frames)
        # Every window counts alike.
        colours = colour_shares(own)
        after["colours"] = state["colours"] + colours if "colours" in state else colours
        if self.memory is not None:
            after |= self.memory.after(state, own)
        if self.settings.reference_mode == "autoregressive":
            begin = frames[self.plan.stride, None]
            after["next_reference"] = begin.clone(memory_format=torch.contiguous_format)
        return after

    def handed_early(self, state: State, chunk: Window, sampled: Sampled) -> State | None:
        """Nothing: the colours of the animation so far are seen in its frames."""
        return None

    @property
    def score_name(self) -> str:
        """Of `colour_score`."""
        return "colour distance"

    def score(self, state: State, chunk: Window, sampled: Sampled, frames: Tensor) -> float:
        """How far the colours of a window are from those of the reference, and of the animation so far."""
        known = [colour_shares(self.reference), *([state["colours"]] if "colours" in state else [])]
        return colour_distance(colour_shares(self._added(chunk, frames)), known)

    def _added(self, chunk: Window, frames: Tensor) -> Tensor:
        """What a window adds to the one before, also behind the end of this animation: a longer one uses the same
        window, and must find what it would have made itself."""
        return frames[self.plan.carried(chunk.index) :]

    def keep(self, before: State, after: State) -> State:
        """What is not among the extras, and changed; of the memory, what is new."""
        kept = {
            name: value for name, value in after.items() if name not in self.extras and value is not before.get(name)
        }
        return kept if self.memory is None else {**kept, **self.memory.keep(before, after)}

    def recall(self, before: State, kept: State) -> State:
        """What a finished window handed on."""
        after = {**before, **{name: value for name, value in kept.items() if name != "latents"}}
        return after if self.memory is None else {**after, **self.memory.recall(before, kept)}


def long_animation(
    lineart: FrameSource,
    reference: Tensor,
    settings: Settings,
    width: int,
    height: int,
    fit: str = "stretch",
    total_frames: int = 0,
    reference_lineart: Tensor | None = None,
) -> LongAnimation:
    """The colouring that settings and inputs of any size describe, in pixels width x height.

    reference: one picture [1, H, W, 3 or 4] in 0..1. reference_lineart: its lines; None where the picture shows the
    first frame, whose line art then serves. total_frames: 0 for the length of the line art. Raises InputError for
    inputs that cannot serve.
    """
    check_size(width, height)
    plan = settings.plan(total_frames or lineart.frame_count)
    plan.check_source("lineart", lineart.frame_count)
    # What `pad` adds to line art is paper: black beside dark lines would be one large line.
    paper = PAPER[settings.lines]
    fitted = FittedFrames(lineart, width, height, fit, paper)
    pictures = {"reference": reference, "reference_lineart": reference_lineart}
    for name, picture in pictures.items():
        if picture is not None and picture.shape[0] != 1:
            raise InputError(name, "must be one picture", "", picture.shape[0])
    picture = fit_frames(reference[..., :3].float().cpu(), width, height, fit)
    if reference_lineart is None:
        lines = fitted.read([0])
    else:
        lines = fit_frames(reference_lineart[..., :3].float().cpu(), width, height, fit, paper)
    return LongAnimation(plan, fitted, picture, lines, settings)
