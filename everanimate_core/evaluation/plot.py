"""The drift plot: curves over time, one above the other, with the chunk joins and what was found marked."""

import io
from math import isfinite, nan
from pathlib import Path

import matplotlib.image
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .report import Report, shown
from .words import steps_found

WIDTH, PANEL_HEIGHT, DPI = 11.0, 1.7, 100  # inches, pixels an inch
# Panels from above: label, curves, the range that is always shown, and the finding that belongs to it. What little a
# faultless video moves should look little. A panel without its curves is left out.
PANELS = (
    ("PSNR (dB)", ("psnr", "face_psnr"), (20, 30), None),
    ("SSIM, LPIPS", ("ssim", "lpips"), (0, 1), None),
    ("colour cast (ΔE)", ("colour_cast",), (0, 5), "colour"),
    ("sharpness ratio", ("sharpness_ratio",), (0.5, 1.5), "sharpness"),
    ("identity (ΔE)", ("identity", "identity_from_truth"), (0, 10), "identity"),
    ("contrast (L)", ("contrast",), (5, 15), None),
)
STEPS_SHOWN = 3  # lines of the title
JOIN, SEAM, FLASH, TRUTH = "0.8", "tab:orange", "tab:red", "0.5"


def plot(report: Report) -> Figure:
    """The report's curves as a figure of its own, which no other matplotlib state knows.

    Thin grey lines are chunk joins, orange ones visible seams; red triangles are flashes; a red dashed line is where a
    curve departs for good. Grey curves are the true video's. A curve has a gap where a frame has no value. Below the
    numbers stands where the video falls out of step with the true one.
    """
    panels = [panel for panel in PANELS if _shown(report, panel[1])]
    figure = Figure(figsize=(WIDTH, 0.8 + PANEL_HEIGHT * len(panels)), dpi=DPI, layout="constrained")
    every = figure.subplots(len(panels), 1, sharex=True)
    for axes, (label, names, (low, high), finding) in zip(every, panels, strict=True):
        departed = None if finding is None else getattr(report.findings, finding)
        _draw(axes, report, _shown(report, names), departed)
        axes.set_ylim(min(low, axes.get_ylim()[0]), max(high, axes.get_ylim()[1]))
        axes.set_ylabel(label)
    every[-1].set_xlabel("frame" if report.fps is None else f"frame ({report.fps:g} a second)")
    figure.suptitle(_title(report), fontsize="medium")
    return figure


def to_image(figure: Figure) -> Tensor:
    """The figure as a picture: [1, H, W, 3] in 0..1."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return torch.from_numpy(matplotlib.image.imread(buffer, format="png")[None, ..., :3].copy())


def save_plot(report: Report, path: str | Path) -> None:
    """Write the plot as a PNG file."""
    plot(report).savefig(path, format="png")


def _shown(report: Report, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in report.curves]


def _draw(axes: Axes, report: Report, names: list[str], departed: int | None) -> None:
    for join in report.joins:
        visible = join in report.findings.seams
        axes.axvline(join, color=SEAM if visible else JOIN, linewidth=1.5 if visible else 0.8, zorder=0)
    for name in names:
        if name in report.truth:
            axes.plot(report.truth[name], color=TRUTH, linewidth=0.8, label=f"{name}, true video")
        slope = report.slopes[name]
        curve = [value if isfinite(value) else nan for value in report.curves[name]]
        axes.plot(curve, linewidth=1.2, label=f"{name} ({shown(slope, '+.3g')} per 100 frames)")
    for number, flash in enumerate(report.findings.flashes):
        # On the axis, whatever the curve does there; one entry in the legend.
        axes.plot(flash, 0, "^", color=FLASH, transform=axes.get_xaxis_transform(), label=None if number else "flash")
    if departed is not None:
        axes.axvline(departed, color=FLASH, linestyle="--", linewidth=1.2, label=f"departs at {departed}")
    axes.margins(x=0.01)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="x-small", frameon=False)


def _title(report: Report) -> str:
    numbers = [f"{name} {shown(value, '.3f')}" for name, value in report.numbers.items()]
    size = f"{report.frames} frames of {report.width}x{report.height}, compared with the {report.compared_with}"
    steps = steps_found(report.findings)
    if len(steps) > STEPS_SHOWN:
        steps[STEPS_SHOWN - 1 :] = [f"and {len(steps) - STEPS_SHOWN + 1} more changes of step"]
    return "\n".join([size, "   ".join(numbers), *steps]).strip()
