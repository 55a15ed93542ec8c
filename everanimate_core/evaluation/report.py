"""What an evaluation found: curves over time, what they tell, and the numbers of the whole."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, isfinite
from statistics import fmean

import torch

from .alignment import Shift
from .doubling import Doubled
from .drift import (
    CAST_TOLERANCE,
    IDENTITY_TOLERANCE,
    SEAM_THRESHOLD,
    SEAM_THRESHOLD_ALONE,
    SHARPNESS_TOLERANCE,
    departure,
    flashes,
)

AGAINST_TRUTH = ("psnr", "ssim", "lpips", "face_psnr")
PSNRS = ("psnr", "face_psnr")
Curves = dict[str, list[float]]


@dataclass(frozen=True)
class Seam:
    """A join (its first frame) and its seam index; `truth`: the index there in the true video, None without one."""

    join: int
    index: float
    truth: float | None

    @property
    def relative(self) -> float:
        """The index over that of the true video; the index itself without one."""
        return self.index if self.truth is None else self.index / self.truth

    @property
    def visible(self) -> bool:
        """Whether the join stands out."""
        return self.relative > (SEAM_THRESHOLD_ALONE if self.truth is None else SEAM_THRESHOLD)


@dataclass(frozen=True)
class Findings:
    """What went wrong, and at which frame; thresholds are in drift.py.

    colour, sharpness, identity: the first frame from which the video is off for good, None if it is not; identity needs
    a truth and person_boxes. flashes: single frames. seams: joins that stand out. shifts: where the video falls out of
    step with the true one, or into it again; repeats: frames that show the one before again (alignment.py). Both need a
    truth. doubled: joins behind which the frames before it are shown again, looked for where there is no truth.
    """

    colour: int | None
    sharpness: int | None
    identity: int | None
    flashes: list[int]
    seams: list[int]
    shifts: list[Shift] = field(default_factory=list)
    repeats: list[int] = field(default_factory=list)
    doubled: list[Doubled] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """An evaluated video.

    compared_with: `truth` or `first frame`, what colour_cast and sharpness_ratio refer to. curves: a value a frame:
    lightness, a, b, contrast, saturation (Lab), sharpness, step (difference to the frame before, 0 for the first),
    colour_cast (ΔE), sharpness_ratio; with a reference identity (ΔE, to the reference); with a truth psnr, face_psnr
    (dB), ssim, lpips, identity_from_truth (ΔE, to the true frame). truth: the true video's own curves. slopes: of every
    curve, per 100 frames. numbers: means over the video of what is measured against the truth and of the relative seam
    index, and fid and videomae; NaN for what no frame has. equal: in how many frames there is no psnr or face_psnr
    because nothing differs from the true one: it is infinite in the curve and left out of the mean. missing: what to do
    for metrics without weights. sha256: of the weights used.
    """

    frames: int
    width: int
    height: int
    fps: float | None
    compared_with: str
    joins: list[int]
    curves: Curves
    truth: Curves
    slopes: dict[str, float]
    numbers: dict[str, float]
    seams: list[Seam]
    findings: Findings
    missing: dict[str, str]
    sha256: dict[str, str]
    equal: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report as JSON; what has no value (PSNR of equal frames, a face that is not there) is null."""
        return as_json(asdict(self))


def find(
    curves: Curves,
    truth: Curves,
    seams: Sequence[Seam],
    shifts: Iterable[Shift] = (),
    repeats: Iterable[int] = (),
    doubled: Iterable[Doubled] = (),
) -> Findings:
    """The findings in the curves of a video, given those of the true one (empty without), and what else was found."""
    curve = {name: torch.tensor(values) for name, values in curves.items()}
    true = {name: torch.tensor(values) for name, values in truth.items()}
    colours = torch.stack([curve[name] - true.get(name, 0) for name in ("lightness", "a", "b")], dim=-1)
    return Findings(
        colour=departure(curve["colour_cast"], CAST_TOLERANCE),
        sharpness=departure(curve["sharpness_ratio"].log2().abs(), SHARPNESS_TOLERANCE),
        identity=departure(curve["identity_from_truth"], IDENTITY_TOLERANCE)
        if "identity_from_truth" in curve
        else None,
        flashes=flashes(colours),
        seams=[seam.join for seam in seams if seam.visible],
        shifts=list(shifts),
        repeats=list(repeats),
        doubled=list(doubled),
    )


def mean(values: Iterable[float]) -> float:
    """Mean without the frames that have no value (NaN; infinite: the PSNR of equal frames); NaN when none has one."""
    known = [value for value in values if isfinite(value)]
    return fmean(known) if known else float("nan")


def equal_frames(curve: Iterable[float]) -> int:
    """In how many frames of a curve of PSNR nothing differs from the true ones."""
    return sum(value == inf for value in curve)


def shown(value: float, format: str = ".4f") -> str:
    """A number for people, `none` for one that has no value."""
    return f"{value:{format}}" if isfinite(value) else "none"


def as_json(value: object, indent: int | None = 1) -> str:
    """`value` as JSON that every reader takes: what is not finite is null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value):
    """`value` with all that is not finite replaced by None, which JSON knows."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or isfinite(value) else None
