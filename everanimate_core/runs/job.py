"""What a run is to make: plan, memory, driving videos, settings, and all that must stay the same while it goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from torch import Tensor

from ..everanimate.drivers import Drivers
from ..everanimate.geometry import chunk_geometry
from ..everanimate.memory import ContextMemory, build_memory, check_keyframes
from ..everanimate.settings import RELEASED, Settings
from ..media.frames import fit_drivers, fit_frames
from ..media.rates import file_rate
from ..media.sound import Sound
from ..media.writer import check_writing
from ..plan import ChunkPlan
from ..ports import Codec
from .fingerprint import digest
from .settings import RunSettings

DEFAULT_FPS = Fraction(25)

# Settings that a run is continued with or not at all. What is not here shows in something else: noise levels among the
# network's facts, `continuation` in the frames that a chunk sees. The seed may change, with from_chunk.
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
# Settings that came after 0.1.0, left out while they have their default, so that older runs go on.
LATER: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """What becomes of the chunks. fps: of the result. sound: goes with it, from sound_start seconds of its picture on.

    metadata: tags of the result, by name.
    """

    fps: Fraction
    sound: Sound | None = None
    sound_start: float = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """Everything that a run is made from, apart from the network itself; it can be pickled where its inputs are files.

    network: JSON values that stand for all else that is constant (network, LoRA, sampler, noise levels); a run is only
    continued with the same. prompts: digest of each chunk's prompt, the last serves all that follow. earlier: {format
    of a run: (network, prompts)} as the version with that format made them, for runs that were begun by it.
    """

    plan: ChunkPlan
    memory: ContextMemory
    drivers: Drivers
    settings: Settings
    network: Mapping[str, Any]
    prompts: Sequence[str]
    output: Output
    earlier: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise InputError for inputs that cannot serve, before anything is written."""
        self.drivers.check(self.plan)
        check_keyframes(self.settings.keyframes, self.drivers.pose)
        chunk_geometry(self.plan, self.memory.anchors, self.memory.motion_count)
        check_writing(self.output.fps, self.memory.width, self.memory.height)

    def begun_as(self, version: str) -> "Job":
        """This job with the network's facts and prompts of a run of another format, where there are such."""
        network, prompts = self.earlier.get(version, (self.network, self.prompts))
        return replace(self, network=network, prompts=prompts)

    def constants(self) -> dict[str, Any]:
        """What a run must share with an earlier part of it, as JSON values."""
        memory, settings = self.memory, self.settings
        names = [*FINGERPRINT, *(RESTORATION if settings.restore_strength else ())]
        names += [name for name in LATER if getattr(settings, name) != getattr(RELEASED, name)]
        return {
            **self.network,
            **{name: getattr(settings, name) for name in names},
            "width": memory.width,
            "height": memory.height,
            "fps": str(self.output.fps),
            "references": digest(memory.references, memory.identity),
        }


def make_job(
    references: Tensor,
    codec: Codec,
    drivers: Drivers,
    settings: Settings,
    run: RunSettings,
    network: Mapping[str, Any],
    prompts: Sequence[str],
    sound: Sound | None = None,
    sound_start: float = 0,
    metadata: Mapping[str, str] | None = None,
    earlier: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] | None = None,
) -> Job:
    """The job that settings, inputs and the facts of a network describe; see Job and Output.

    references, drivers: of any size, [R, H, W, 3] in 0..1 and videos. Raises InputError for inputs that cannot serve.
    """
    pose = drivers.pose
    plan = settings.plan(run.total_frames or (0 if pose is None else pose.frame_count))
    chunk_geometry(plan, settings.identity_latents, settings.motion_latents)
    drivers.check(plan)
    fitted = fit_frames(references[..., :3].float().cpu(), run.width, run.height, run.fit)
    rate = file_rate(run.fps) if run.fps else getattr(pose, "fps", None) or DEFAULT_FPS
    return Job(
        plan,
        build_memory(fitted, codec, settings.identity_latents, settings.motion_latents),
        fit_drivers(drivers, run.width, run.height, run.fit),
        settings,
        network,
        prompts,
        Output(rate, sound, sound_start, metadata or {}),
        earlier or {},
    )
