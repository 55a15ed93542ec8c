"""What a run is to make: a method with its inputs, a network, prompts, and what becomes of the chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ..media.rates import file_rate
from ..media.sound import Sound
from ..media.writer import check_writing
from ..method import Method
from ..plan import ChunkPlan
from .settings import RunSettings
from .takes import FIRST_METHOD

DEFAULT_FPS = Fraction(25)


@dataclass(frozen=True)
class Output:
    """What becomes of the chunks. fps: of the result. sound: goes with it, from sound_start seconds of its picture on.

    metadata: tags of the result, by name.
    """

    fps: Fraction
    sound: Sound | None = None
    sound_start: float = 0
    metadata: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What the video is made with, as JSON values. The tags are left out: a graph changes when a node is moved."""
        sound = None if self.sound is None else self.sound.digest()
        return {"fps": str(self.fps), "sound": sound, "sound_start": float(self.sound_start) if sound else 0.0}


@dataclass(frozen=True)
class Job:
    """Everything that a run is made from, apart from the network itself; it can be pickled where its inputs are files.

    network: JSON values that stand for all else that is constant (network, LoRA, sampler, noise levels); a take is only
    gone on with by the same. prompts: digest of each chunk's prompt, the last serves all that follow. earlier: {format
    of a run: (network, prompts)} as the version with that format made them, for runs that were begun by it. widgets:
    {name: value} of what the user set beside the method's settings, to tell takes apart.
    """

    method: Method
    network: Mapping[str, Any]
    prompts: Sequence[str]
    output: Output
    earlier: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] = field(default_factory=dict)
    widgets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plan(self) -> ChunkPlan:
        """The chunks of the video."""
        return self.method.plan

    def check(self) -> None:
        """Raise InputError for inputs that cannot serve, before anything is written."""
        self.method.check()
        check_writing(self.output.fps, self.method.width, self.method.height)

    def begun_as(self, version: str) -> "Job":
        """This job with the network's facts and prompts of a run of another format, where there are such."""
        network, prompts = self.earlier.get(version, (self.network, self.prompts))
        return replace(self, network=network, prompts=prompts)

    def settings(self) -> dict[str, Any]:
        """What all chunks of a take share, as JSON values: what they are made with, but for the seed."""
        named = {} if self.method.name == FIRST_METHOD else {"method": self.method.name}
        return {**named, **self.network, **self.method.constants()}

    def output_facts(self) -> dict[str, Any]:
        """What a take's video is made with, besides its chunks, as JSON values."""
        return {"total_frames": self.plan.total_frames, **self.output.facts()}

    def set_by_user(self) -> dict[str, Any]:
        """What the user set, by the names of the settings, as JSON values."""
        values = {**self.method.widgets(), **self.widgets}
        # Rates may be given as exact fractions.
        return {name: float(value) if isinstance(value, Fraction) else value for name, value in values.items()}

    def prompt(self, index: int) -> str:
        """Digest of the prompt of a chunk."""
        return self.prompts[min(index, len(self.prompts) - 1)]


def make_job(
    method: Method,
    run: RunSettings,
    network: Mapping[str, Any],
    prompts: Sequence[str],
    sound: Sound | None = None,
    sound_start: float = 0,
    metadata: Mapping[str, str] | None = None,
    earlier: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] | None = None,
) -> Job:
    """The job that a method, the facts of a network and settings describe; see Job and Output.

    Raises InputError for a rate that no video can have.
    """
    rate = file_rate(run.fps) if run.fps else method.fps or DEFAULT_FPS
    return Job(
        method, network, prompts, Output(rate, sound, sound_start, metadata or {}), earlier or {}, run.of_the_video()
    )
