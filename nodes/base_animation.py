"""A long animation on a base as a run sees it: every chunk is conditioned by the host's own node (`method.Method`).

The node is given the frames of one chunk only, so that what it makes of them can never differ from its own, and no
more of a video is in memory. Latents stay in the host's raw space, as its sampler gives them and its VAE takes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..everanimate_core.digests import digest
from ..everanimate_core.errors import InputError
from ..everanimate_core.everanimate.geometry import LATENT_CHANNELS
from ..everanimate_core.everanimate.restoration import Correction, Restoration, correction_of_statistics
from ..everanimate_core.knobs import changed
from ..everanimate_core.latents import SPATIAL_FACTOR, channel_drift, channel_statistics, with_end
from ..everanimate_core.media.frames import FittedFrames, fit_frames
from ..everanimate_core.method import Sampled, State
from ..everanimate_core.noise import chunk_seed
from ..everanimate_core.plan import ChunkPlan, latent_frames
from ..everanimate_core.ports import Codec, FrameSource
from ..everanimate_core.runs.stages import ENCODING, stage
from .bases import Base, BaseSettings
from .host import call_node, telling_of_tiles, to_network

# The video that gives the animation its length, its rate and its sound.
FOOTAGE = "driving_video"
# Settings that a run is continued with or not at all, those of restoration where it is on.
_FINGERPRINT = ("chunk_frames", "seed_mode")
_RESTORATION = ("restore_strength", "restore_schedule")
# What shows in noise levels, in seeds, and in what a chunk sees.
_ELSEWHERE = ("steps", "shift", "cfg", "seed", "continuation")


@dataclass(frozen=True)
class SeenFrames:
    """The frames of all driving videos that one chunk sees, read once, when first asked for."""

    videos: Mapping[str, FrameSource]
    plan: ChunkPlan
    index: int

    @cached_property
    def _frames(self) -> Mapping[str, Tensor]:
        return {
            name: video.read(self.plan.source_indices(self.index, video.frame_count))
            for name, video in self.videos.items()
        }

    def all(self) -> Mapping[str, Tensor]:
        """[F, H, W, 3] in 0..1 of each video, by its name."""
        return self._frames


@dataclass(frozen=True)
class BaseRequest:
    """What the host's node made of a chunk: CONDITIONINGs and a LATENT, `leading` slots of it in front of the chunk's.

    correct: what restores the chunk while it is sampled; None for nothing.
    """

    index: int
    positive: list
    negative: list
    latent: dict
    leading: int
    correct: Correction | None


@dataclass(frozen=True)
class BaseAnimation:
    """A long animation on a base with all of its inputs.

    videos: FOOTAGE and those of the base, of the size that the base reads. references: [R, H, W, 3] of the animation's
    size, in 0..1. prompts: CONDITIONINGs, entry k for chunk k, the last one for all that follow.
    """

    base: Base
    plan: ChunkPlan
    videos: Mapping[str, FrameSource]
    references: Tensor
    vae: Any
    prompts: Sequence[list]
    negative: list
    settings: BaseSettings

    @property
    def name(self) -> str:
        """In run folders."""
        return self.base.name

    @property
    def width(self) -> int:
        """Of the animation, in pixels."""
        return self.references.shape[2]

    @property
    def height(self) -> int:
        """Of the animation, in pixels."""
        return self.references.shape[1]

    @property
    def fps(self) -> Fraction | None:
        """That of the driving video."""
        return self.videos[FOOTAGE].fps

    @property
    def seed(self) -> int:
        """Of the noise."""
        return self.settings.seed

    @property
    def extras(self) -> tuple[str, ...]:
        """None: a host hands over latents alone."""
        return ()

    def check(self) -> None:
        """Raise InputError for inputs that cannot serve; reads the first chunk of each video but the driving one."""
        frames = {name: video.frame_count for name, video in self.videos.items()}
        self.plan.check_source(FOOTAGE, frames[FOOTAGE])
        others = {name: video for name, video in self.videos.items() if name != FOOTAGE}
        for name in others:
            if frames[name] != frames[FOOTAGE]:
                rule = f"must have as many frames as {FOOTAGE}"
                raise InputError(name, rule, "made from the same video", f"{frames[name]} and {frames[FOOTAGE]}")
        self.base.check_inputs(len(self.references), SeenFrames(others, self.plan, 0).all())

    def constants(self) -> Mapping[str, Any]:
        """What a run must share with an earlier part of it, as JSON values."""
        names = [*_FINGERPRINT, *(_RESTORATION if self.settings.restore_strength else ())]
        return {
            **{name: getattr(self.settings, name) for name in names},
            # What came after 0.2.0 counts where it is not as it was: older runs go on.
            **changed(self.settings, *_FINGERPRINT, *_RESTORATION, *_ELSEWHERE),
            **self.base.facts(),
            "width": self.width,
            "height": self.height,
            "references": digest(self.references),
        }

    def widgets(self) -> Mapping[str, Any]:
        """All settings, the base's among them."""
        return {**vars(self.settings), **self.base.widgets()}

    def begun_with(self, seed: int) -> "BaseAnimation":
        """The same: nothing but the noise is random."""
        return self

    @property
    def end_latents(self) -> int:
        """Those that show the carried frames."""
        return self.base.end_latents

    def noise_seed(self, index: int) -> int:
        """Seed of the noise of a chunk."""
        return chunk_seed(self.settings.seed, index, self.settings.seed_mode)

    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Of all that is kept of a chunk."""
        small = self.height // SPATIAL_FACTOR, self.width // SPATIAL_FACTOR
        return {
            "latents": (1, LATENT_CHANNELS, latent_frames(self.plan.chunk_frames), *small),
            "statistics": (2, LATENT_CHANNELS),
            "last_frames": (self.plan.overlap, self.height, self.width, 3),
        }

    def types(self) -> Mapping[str, torch.dtype]:
        """All of it is float32."""
        return {}

    def kept_numbers(self, chunks: int) -> int:
        """How many float32 numbers a run of so many chunks keeps."""
        cells = LATENT_CHANNELS * (self.height // SPATIAL_FACTOR) * (self.width // SPATIAL_FACTOR)
        frames = 3 * self.plan.overlap * self.width * self.height
        return chunks * (cells * latent_frames(self.plan.chunk_frames) + frames)

    def chunk(self, index: int) -> SeenFrames:
        """The driving frames of a chunk."""
        return SeenFrames(self.videos, self.plan, index)

    def start(self) -> State:
        """Nothing: the first chunk is carried on from none."""
        return {}

    def prepare(self, chunk: SeenFrames, codec: Codec) -> None:
        """Nothing: the host's node encodes, and it is told of the frames before."""

    @stage(ENCODING)
    def request(self, state: State, chunk: SeenFrames, codec: Codec, end: Tensor | None = None) -> BaseRequest:
        """What the host's node makes of a chunk, held at its end where one is given."""
        carried = state.get("last_frames")
        positive, negative, latent, *_ = call_node(
            self.base.node,
            positive=self.prompts[min(chunk.index, len(self.prompts) - 1)],
            negative=self.negative,
            vae=telling_of_tiles(self.vae),
            width=self.width,
            height=self.height,
            length=self.plan.chunk_frames,
            batch_size=1,
            # The node takes the carried frames off again: it begins with the first of the chunk's frames.
            video_frame_offset=self.plan.carried(chunk.index),
            **self.base.inputs(self.references, chunk.all(), carried),
        )
        held = latent if end is None else _held(latent, end)
        return BaseRequest(chunk.index, positive, negative, held, self.base.leading, self._correction(state))

    def _correction(self, state: State) -> Correction | None:
        """Towards the first chunk; None for that, and where nothing is restored."""
        statistics = _network_statistics(state["statistics"]) if "statistics" in state else None
        return correction_of_statistics(Restoration.of(self.settings), statistics, self.base.leading)

    def decode(self, state: State, latents: Tensor, codec: Codec) -> Tensor:
        """The chunk's F frames [F, H, W, 3] in 0..1."""
        return codec.decode(latents)

    def hand_over(self, state: State, chunk: SeenFrames, sampled: Sampled, frames: Tensor, codec: Codec) -> State:
        """The last frames, from which the next chunk is carried on, and the first chunk's statistics."""
        last = frames[len(frames) - self.plan.overlap :].clone(memory_format=torch.contiguous_format)
        return {"statistics": state.get("statistics", channel_statistics(sampled.latents)), "last_frames": last}

    def handed_early(self, state: State, chunk: SeenFrames, sampled: Sampled) -> State | None:
        """Nothing: the next chunk is carried on from the last frames."""
        return None

    @property
    def score_name(self) -> str:
        """Of `latents.channel_drift`."""
        return "drift"

    def score(self, state: State, chunk: SeenFrames, sampled: Sampled, frames: Tensor) -> float | None:
        """How far a chunk drifts from the first one; None for that."""
        return channel_drift(sampled.latents, state["statistics"]) if chunk.index else None

    def keep(self, before: State, after: State) -> State:
        """What changed."""
        return {name: value for name, value in after.items() if value is not before.get(name)}

    def recall(self, before: State, kept: State) -> State:
        """What a finished chunk handed on."""
        return {**before, **{name: value for name, value in kept.items() if name != "latents"}}


def _held(latent: dict, end: Tensor) -> dict:
    """A LATENT whose last slots are held at `end` [1, 16, n, h, w] raw, those that are held already as they are."""
    samples = latent["samples"]
    mask = latent.get("noise_mask", torch.ones_like(samples[:, :1]))
    held = {"samples": with_end(samples, end), "noise_mask": with_end(mask, torch.zeros_like(end[:, :1]))}
    return latent | held


def _network_statistics(raw: Tensor) -> Tensor:
    """Mean and spread [2, 16] of raw latents, as they are in the network's space: the map between them is affine."""
    mean, spread = (part.reshape(1, -1, 1, 1, 1) for part in raw)
    in_network = to_network(mean)
    return torch.stack([in_network, to_network(mean + spread) - in_network]).reshape(raw.shape)


def base_animation(
    base: Base,
    videos: Mapping[str, FrameSource],
    references: Tensor,
    vae,
    prompts: Sequence[list],
    negative: list,
    settings: BaseSettings,
    width: int,
    height: int,
    fit: str = "stretch",
    total_frames: int = 0,
) -> BaseAnimation:
    """The animation that settings and inputs of any size describe, in pixels width x height.

    references: [R, H, W, 3 or 4] in 0..1; a fourth channel, alpha, is left out. total_frames: 0 for the length of the
    driving video. Raises InputError for inputs that cannot serve.
    """
    base.check_size(width, height)
    plan = base.plan(total_frames or videos[FOOTAGE].frame_count, settings)
    size = base.footage_size(width, height)
    fitted = {name: FittedFrames(video, *size, fit, base.margin(name)) for name, video in videos.items()}
    pictures = fit_frames(references[..., :3].float().cpu(), width, height, fit)
    base = replace(base, **base.fitted(width, height, fit))
    return BaseAnimation(base, plan, fitted, pictures, vae, prompts, negative, settings)
