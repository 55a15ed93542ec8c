"""The method's settings, each with the released value as its default, and the shares of its training samples."""

from dataclasses import dataclass

from ..knobs import check_knobs, knob
from ..noise import MAX_SEED, SEED_MODES
from ..plan import CONTINUATIONS, ChunkPlan, check_chunk
from .keyframes import KEYFRAMES

CLIP_SOURCES = ("last_frame", "reference")
# Of explicit restoration; that there is none is said by a strength of 0.
RESTORE_SCHEDULES = ("gaussian", "sigma_ramp", "fixed", "exact")
RESTORE_TARGETS = ("statistics", "low_frequency")

# Share of the training samples that are first chunks; of the others, of those whose anchors are all the reference.
FIRST, REFERENCE_ONLY = 0.2, 0.05


@dataclass(frozen=True)
class Settings:
    """How an animation is made (arXiv 2605.15042). Raises InputError for a value that is out of its range."""

    steps: int = knob(20, "Sampling steps (4 on the toy or with a distilled LoRA).", low=1, high=1000)
    shift: float = knob(
        5.0,
        "How far the noise levels are shifted towards noise (5 as released; ComfyUI's own default is 8).",
        low=0.01,
        high=100.0,
        step=0.01,
    )
    cfg: float = knob(
        1.0,
        "Classifier-free guidance. 1 (as released) needs no negative pass and half the time.",
        low=0.0,
        high=100.0,
        step=0.1,
    )
    seed: int = knob(
        0,
        "Seed of the noise and of the keyframes. It stays as it is, so that a run can be continued.",
        low=0,
        high=MAX_SEED,
    )
    seed_mode: str = knob(
        "released",
        "Noise seed of chunk k: released = seed + 42 k, fixed = seed, increment = seed + k.",
        choices=SEED_MODES,
        rare=True,
    )
    identity_latents: int = knob(
        4,
        "How many latents say who is animated (anchors). The released LoRA was trained with 4.",
        low=1,
        high=16,
        unit="latents",
        rare=True,
    )
    motion_latents: int = knob(
        1,
        "How many latents are carried from chunk to chunk. The released LoRA was trained with 1.",
        low=1,
        high=16,
        unit="latents",
        rare=True,
    )
    chunk_frames: int = knob(
        77,
        "Frames of a chunk, 4n + 1. The released LoRA was trained with 77.",
        low=5,
        high=161,
        step=4,
        unit="frames",
    )
    overlap: int = knob(
        4,
        "Frames that two neighbouring chunks share. The released LoRA was trained with 4.",
        low=0,
        high=159,
        unit="frames",
    )
    continuation: str = knob(
        "pingpong",
        "How a driving video that is too short goes on: pingpong (back and forth), loop, hold its last frame, or stop "
        "with an error.",
        choices=CONTINUATIONS,
    )
    keyframes: str = knob(
        "random",
        "Which frames of chunk 0 complete the identity memory: random (as released), uniform in time, first, or those "
        "whose poses differ most.",
        choices=KEYFRAMES,
        rare=True,
    )
    clip_source: str = knob(
        "last_frame",
        "What CLIP vision looks at after chunk 0: the last frame of the chunk before (as released) or always the "
        "reference.",
        choices=CLIP_SOURCES,
        rare=True,
    )
    latent_context: bool = knob(
        False,
        "Decode each chunk together with the last latents of the chunk before: joins become a little smoother. Off: as "
        "released.",
        rare=True,
    )
    restore_strength: float = knob(
        0.0,
        "How strongly drift is corrected while sampling. 0: off. Above 4 it may correct too much.",
        low=0.0,
        high=10.0,
        step=0.05,
    )
    restore_schedule: str = knob(
        "gaussian",
        "At which noise levels drift is corrected: gaussian (around the middle, as trained), sigma_ramp (early steps), "
        "fixed (all alike) or exact (late steps most; for experiments, too much above strength 1).",
        choices=RESTORE_SCHEDULES,
        rare=True,
    )
    restore_target: str = knob(
        "statistics",
        "What the picture is corrected towards: statistics (colour and contrast of chunk 0; chunk 0 itself is not "
        "corrected) or low_frequency (what the identity memory shows where nobody moves).",
        choices=RESTORE_TARGETS,
        rare=True,
    )

    def __post_init__(self):
        check_knobs(self)
        check_chunk(self.chunk_frames, self.overlap)

    def plan(self, total_frames: int) -> ChunkPlan:
        """The chunks of an animation of so many frames."""
        return ChunkPlan(total_frames, self.chunk_frames, self.overlap, self.continuation)


RELEASED = Settings()
