"""EverAnimate as a long run sees it: the paper's loop, with what of it is kept on disk (protocol: `method.Method`)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..digests import digest
from ..knobs import changed
from ..latents import channel_drift
from ..media.frames import fit_frames
from ..method import Sampled, State
from ..noise import chunk_seed
from ..plan import ChunkPlan
from ..ports import Codec
from .drivers import ChunkFrames, Drivers
from .geometry import LATENT_CHANNELS, chunk_geometry
from .keyframes import check_keyframes
from .memory import ContextMemory, build_memory, motion_memory
from .propagation import (
    ChunkRequest,
    chunk_shape,
    decode_chunk,
    memory_of_latents,
    missing_identity,
    next_memory,
    prepare_chunk,
    request_chunk,
)
from .settings import Settings

# Settings that a run is continued with or not at all.
FINGERPRINT = (
    "chunk_frames",
    "overlap",
    "identity_latents",
    "motion_latents",
    "seed_mode",
    "keyframes",
    "clip_source",
    "latent_context",
)
# The same, left out while restoration is off: runs that were begun before there was restoration go on.
RESTORATION = ("restore_strength", "restore_schedule", "restore_target")
# What shows in something else: noise levels among the network's facts, `continuation` in the frames that a chunk sees.
# The seed may change, with from_chunk.
ELSEWHERE = ("steps", "shift", "cfg", "seed", "continuation")
# Fields of the memory that a chunk changes. The motion memory is not kept: it is the end of the chunk's latents.
HANDED_ON = ("identity", "motion", "statistics", "last_frames")
KEPT = ("identity", "statistics", "last_frames")


@dataclass(frozen=True)
class EverAnimate:
    """An animation of a person (arXiv 2605.15042) with all of its inputs; it can be pickled where these are files.

    memory: before the first chunk. drivers: of its size.
    """

    plan: ChunkPlan
    memory: ContextMemory
    drivers: Drivers
    settings: Settings

    @property
    def name(self) -> str:
        """In run folders."""
        return "everanimate"

    @property
    def width(self) -> int:
        """Of the animation, in pixels."""
        return self.memory.width

    @property
    def height(self) -> int:
        """Of the animation, in pixels."""
        return self.memory.height

    @property
    def fps(self) -> Fraction | None:
        """That of the pose video."""
        return self.drivers.pose.fps if self.drivers.pose is not None else None

    @property
    def seed(self) -> int:
        """Of noise and keyframes."""
        return self.settings.seed

    @property
    def extras(self) -> tuple[str, ...]:
        """None: a host hands over latents alone."""
        return ()

    def check(self) -> None:
        """Raise InputError for inputs that cannot serve."""
        self.drivers.check(self.plan)
        check_keyframes(self.settings.keyframes, self.drivers.pose)
        chunk_geometry(self.plan, self.memory.anchors, self.memory.motion_count)

    def constants(self) -> Mapping[str, Any]:
        """What a run must share with an earlier part of it, as JSON values."""
        memory, settings = self.memory, self.settings
        names = [*FINGERPRINT, *(RESTORATION if settings.restore_strength else ())]
        return {
            **{name: getattr(settings, name) for name in names},
            # What came after 0.2.0 counts where it is not as it was: older runs go on.
            **changed(settings, *FINGERPRINT, *RESTORATION, *ELSEWHERE),
            "width": memory.width,
            "height": memory.height,
            "references": digest(memory.references, memory.identity),
        }

    def widgets(self) -> Mapping[str, Any]:
        """All settings."""
        return vars(self.settings)

    def begun_with(self, seed: int) -> "EverAnimate":
        """The same with keyframes by the seed that the run was begun with."""
        return replace(self, settings=replace(self.settings, seed=seed))

    @property
    def end_latents(self) -> int:
        """Those of the motion memory."""
        return self.memory.motion_count

    def noise_seed(self, index: int) -> int:
        """Seed of the noise of a chunk."""
        return chunk_seed(self.settings.seed, index, self.settings.seed_mode)

    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Of all that is kept of a chunk."""
        return {
            "latents": chunk_shape(self.plan, self.memory),
            "identity": tuple(self.memory.identity.shape),
            "statistics": (2, LATENT_CHANNELS),
            "last_frames": (None, self.height, self.width, 3),
        }

    def types(self) -> Mapping[str, torch.dtype]:
        """All of it is float32."""
        return {}

    def kept_numbers(self, chunks: int) -> int:
        """How many float32 numbers a run of so many chunks keeps."""
        latents = prod(chunk_shape(self.plan, self.memory))
        last_frame = 3 * self.width * self.height if self._hands_on_frames({}) else 0
        return chunks * (latents + last_frame) + self.memory.identity.numel()

    def chunk(self, index: int) -> ChunkFrames:
        """The driving frames of a chunk."""
        return self.drivers.chunk(self.plan, index)

    def start(self) -> State:
        """What the first chunk is handed."""
        return _state(self.memory)

    def memory_of(self, state: State) -> ContextMemory:
        """The memory that a state stands for."""
        changed: dict[str, Any] = {**state}
        # The first chunk completes the identity memory, and is the first to have statistics.
        return replace(self.memory, **changed, frozen=self.memory.frozen or "statistics" in state)

    def memory_after(self, state: State, last_frame: Tensor) -> ContextMemory:
        """The memory that the last chunk of a run leaves. last_frame: of that chunk, [H, W, 3]."""
        memory = self.memory_of(state)
        return memory if memory.last_frames is not None else replace(memory, last_frames=last_frame[None].clone())

    def prepare(self, chunk: ChunkFrames, codec: Codec) -> None:
        """Encode the pose and the background; the face is put as the network reads it."""
        prepare_chunk(chunk, self.memory, codec)

    def request(self, state: State, chunk: ChunkFrames, codec: Codec, end: Tensor | None = None) -> ChunkRequest:
        """All that the network is told of a chunk, and how it has to end."""
        return request_chunk(chunk, self.memory_of(state), codec, self.settings, end=end)

    def decode(self, state: State, latents: Tensor, codec: Codec) -> Tensor:
        """The chunk's F frames [F, H, W, 3] in 0..1."""
        return decode_chunk(latents, self.memory_of(state), codec, self.settings.latent_context)

    def hand_over(self, state: State, chunk: ChunkFrames, sampled: Sampled, frames: Tensor, codec: Codec) -> State:
        """The memory of the next chunk."""
        before = self.memory_of(state)
        after = _state(next_memory(chunk, before, sampled.latents, frames, codec, self.settings))
        if not self._hands_on_frames(state):
            del after["last_frames"]
        return after

    def handed_early(self, state: State, chunk: ChunkFrames, sampled: Sampled) -> State | None:
        """The same: where the identity memory is complete, and CLIP looks at the reference."""
        before = self.memory_of(state)
        if self._hands_on_frames(state) or missing_identity(before):
            return None
        return _state(memory_of_latents(chunk, before, sampled.latents))

    def _hands_on_frames(self, state: State) -> bool:
        """Whether the last frame is handed on: it is where CLIP looks at it. The chunks of runs that an earlier version
        began hand it on in any case, and their keys hold it."""
        return self.settings.clip_source == "last_frame" or "last_frames" in state

    @property
    def score_name(self) -> str:
        """Of `latents.channel_drift`."""
        return "drift"

    def score(self, state: State, chunk: ChunkFrames, sampled: Sampled, frames: Tensor) -> float | None:
        """How far a chunk drifts from the first one; None for that."""
        return channel_drift(sampled.latents, state["statistics"]) if chunk.index else None

    def keep(self, before: State, after: State) -> State:
        """What the memory learned from a chunk."""
        return {name: after[name] for name in KEPT if name in after and after[name] is not before.get(name)}

    def recall(self, before: State, kept: State) -> State:
        """The memory that a finished chunk left."""
        learned = {name: kept[name] for name in KEPT if name in kept}
        return {**before, **learned, "motion": motion_memory(kept["latents"], self.memory.motion_count)}


def _state(memory: ContextMemory) -> dict[str, Tensor]:
    return {name: value for name in HANDED_ON if (value := getattr(memory, name)) is not None}


def ever_animate(
    references: Tensor,
    codec: Codec,
    drivers: Drivers,
    settings: Settings,
    width: int,
    height: int,
    fit: str = "stretch",
    total_frames: int = 0,
) -> EverAnimate:
    """The animation that settings and inputs of any size describe, in pixels width x height.

    references: [R, H, W, 3 or 4] in 0..1; a fourth channel, alpha, is left out. total_frames: 0 for the length of the
    pose video. Raises InputError for inputs that cannot serve, before anything is encoded where that is known by then.
    """
    plan = settings.plan(total_frames or (0 if drivers.pose is None else drivers.pose.frame_count))
    chunk_geometry(plan, settings.identity_latents, settings.motion_latents)
    drivers.check(plan)
    fitted = fit_frames(references[..., :3].float().cpu(), width, height, fit)
    memory = build_memory(fitted, codec, settings.identity_latents, settings.motion_latents)
    return EverAnimate(plan, memory, drivers.fitted(width, height, fit), settings)
