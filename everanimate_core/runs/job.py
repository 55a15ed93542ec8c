"""What a run is to make: plan, memory, driving videos, and all that must stay the same while it is continued."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ..everanimate.drivers import Drivers
from ..everanimate.geometry import chunk_geometry
from ..everanimate.memory import ContextMemory
from ..everanimate.restoration import OFF, Restoration
from ..media.writer import check_writing
from ..plan import ChunkPlan
from .fingerprint import digest


@dataclass(frozen=True)
class Job:
    """Everything that a run is made from, apart from the network itself.

    settings: JSON values that stand for all else that is constant (network, LoRA, sampler, noise levels); a run is only
    continued with the same. prompts: digest of each chunk's prompt, the last serves all that follow. fps: of the
    result. audio_from: the sound, or the video whose sound goes with it, from audio_start seconds on. metadata: tags
    of the result, by name. earlier: {format of a run: (settings, prompts)} as the version with that format made them,
    for runs that were begun by it.
    """

    plan: ChunkPlan
    memory: ContextMemory
    drivers: Drivers
    settings: Mapping[str, Any]
    prompts: Sequence[str]
    fps: Fraction
    seed: int = 0
    seed_mode: str = "released"
    keyframes: str = "random"
    clip_source: str = "last_frame"
    latent_context: bool = False
    restoration: Restoration = OFF
    audio_from: Any = None
    audio_start: float = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ValueError for inputs that cannot serve, before anything is written."""
        self.drivers.check(self.plan)
        chunk_geometry(self.plan, self.memory.identity_count, self.memory.motion_count)
        check_writing(self.fps, self.memory.width, self.memory.height)

    def begun_as(self, version: str) -> "Job":
        """This job with the settings and prompts of a run of another format, where there are such."""
        settings, prompts = self.earlier.get(version, (self.settings, self.prompts))
        return replace(self, settings=settings, prompts=prompts)

    def constants(self) -> dict[str, Any]:
        """What a run must share with an earlier part of it, as JSON values."""
        memory, restoration = self.memory, self.restoration
        # Left out where it is off: runs that were begun before there was restoration go on.
        restored = {f"restore_{name}": value for name, value in vars(restoration).items() if restoration.strength}
        return {
            **self.settings,
            "chunk_frames": self.plan.chunk_frames,
            "overlap": self.plan.overlap,
            "width": memory.width,
            "height": memory.height,
            "fps": str(self.fps),
            "references": digest(memory.references, memory.identity),
            "identity_latents": memory.identity_count,
            "motion_latents": memory.motion_count,
            "seed_mode": self.seed_mode,
            "keyframes": self.keyframes,
            "clip_source": self.clip_source,
            "latent_context": self.latent_context,
            **restored,
        }
