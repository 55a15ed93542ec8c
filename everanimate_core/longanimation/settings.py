"""LongAnimation's settings, each with the released value as its default."""

from dataclasses import dataclass

from ..errors import InputError
from ..knobs import check_knobs, knob
from ..noise import MAX_SEED, SEED_MODES
from ..plan import ChunkPlan
from .control import check_blocks
from .lines import STYLES, THRESHOLD

REFERENCES = ("global", "autoregressive")
# Of the released script: the latents of both windows stand for frames that are one apart.
RELEASED_OVERLAP = 16


@dataclass(frozen=True)
class Settings:
    """How a line-art animation is coloured (arXiv 2507.01945). Raises InputError for a value that is out of its range.

    Two values depend on each other: fuse_from lies below steps where fusion is on.
    """

    steps: int = knob(50, "Sampling steps (50 as released).", low=2, high=1000)
    cfg: float = knob(
        6.0, "Classifier-free guidance (6 as released). 1 needs half the time.", low=0.0, high=100.0, step=0.1
    )
    seed: int = knob(0, "Seed of the noise. It stays as it is, so that a run can be continued.", low=0, high=MAX_SEED)
    seed_mode: str = knob(
        "fixed",
        "Noise seed of window k: fixed = seed (as released: all windows share their noise), released = seed + 42 k (as "
        "EverAnimate does it), increment = seed + k.",
        choices=SEED_MODES,
        rare=True,
    )
    window_frames: int = knob(
        81,
        "Frames of a window: 8n + 1. The network was trained with 81.",
        low=9,
        high=161,
        # The network reads latent frames in pairs, the reference's among them.
        step=8,
        unit="frames",
        rare=True,
    )
    overlap: int = knob(
        17,
        "Frames that two neighbouring windows share. With 17, the latents of both stand for the same frames; the "
        "released script has 16, which puts the blend one frame off.",
        low=1,
        high=157,
        unit="frames",
        rare=True,
    )
    reference_mode: str = knob(
        "global",
        "What every window takes its colours from: global = the reference picture (as released), autoregressive = the "
        "frame of the window before at which it begins, for comparison: errors add up.",
        choices=REFERENCES,
        rare=True,
    )
    strength: float = knob(
        0.5, "How strongly the line art steers the network (0.5 as trained).", low=0.0, high=10.0, step=0.05
    )
    blocks: str = knob(
        "skip-layer",
        "Behind which blocks of the network the line art is added: skip-layer = every second one (as trained), full, "
        "former half, latter half, or a list such as 0-40:2 or 0,2,4.",
        rare=True,
    )
    fuse: bool = knob(True, "Blend the overlap of two windows in the late steps, as released: joins are smooth.")
    fuse_from: int = knob(
        31, "First step, counted from 0, after which overlaps are blended (31 of 50 as released).", low=0, high=999
    )
    lines: str = knob(STYLES[0], "How the line art is drawn.", choices=STYLES)
    threshold: float = knob(
        THRESHOLD,
        "Brightness, 0 to 1, up to which a pixel counts as a line (0.78 as released). Lower for thinner lines.",
        low=0.01,
        high=0.99,
        step=0.01,
        rare=True,
    )

    def __post_init__(self):
        check_knobs(self)
        check_blocks(self.blocks)
        if self.overlap > self.window_frames - 2:
            rule = f"must be below window_frames - 1 ({self.window_frames - 1})"
            raise InputError("overlap", rule, "", self.overlap)
        if self.fuse and self.overlap != RELEASED_OVERLAP and (self.overlap % 4 != 1 or self.overlap == 1):
            rule = f"must be 4n + 1 and at least 5 where overlaps are blended, or {RELEASED_OVERLAP} as released"
            raise InputError("overlap", rule, "17", self.overlap)
        if self.fuse and self.fuse_from >= self.steps:
            raise InputError(
                "fuse_from", f"must be below steps ({self.steps}), or fuse must be off", "31 of 50", self.fuse_from
            )

    @property
    def fused_steps(self) -> int:
        """How many steps blend the overlap, and keep the end of their state for the next window; 0 without fusion."""
        return self.steps - self.fuse_from if self.fuse else 0

    def plan(self, total_frames: int) -> ChunkPlan:
        """The windows of an animation of so many frames; the last is filled up with the last line art, and cut."""
        return ChunkPlan(total_frames, self.window_frames, self.overlap, "hold")


RELEASED = Settings()


@dataclass(frozen=True)
class MemorySettings:
    """What is remembered of the frames made so far, where there is a video model that remembers. Raises InputError for
    a value that is out of its range, and where nothing would be remembered."""

    memory_frames: int = knob(
        650,
        "Most frames of the global memory, which is of the whole animation so far (650 as released). 0: no global "
        "memory.",
        low=0,
        high=100_000,
        unit="frames",
        rare=True,
    )
    local_frames: int = knob(
        20,
        "Frames of the local memory, which is of the last frames of the global one (20 as released, 81 in the paper). "
        "0: no local memory.",
        low=0,
        high=10_000,
        unit="frames",
        rare=True,
    )
    memory_append: bool = knob(
        False,
        "What becomes of an animation that is longer than memory_frames. Off, as released: frames at equal distances "
        "are chosen anew for each window, and all of them are read again. On: each frame is read once, and the oldest "
        "ones are forgotten.",
        rare=True,
    )

    def __post_init__(self):
        check_knobs(self)
        if not self.memory_frames and not self.local_frames:
            raise InputError("memory_frames and local_frames", "must not both be 0", "650 and 20", "0 and 0")
