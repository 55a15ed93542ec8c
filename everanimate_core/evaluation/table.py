"""A report as a Markdown table that people can post: a row a chunk, against chunk 0."""

from math import dist, isfinite, nan

from ..plan import ChunkPlan
from .drift import SEAM_THRESHOLD, SEAM_THRESHOLD_ALONE
from .frame_metrics import ROUNDING_ENERGY
from .report import Report, mean
from .words import all_found

# Rows of a video that is not divided: about the frames that a chunk of 81 brings.
PART = 80
# Curves shown as factors, and the least mean of chunk 0 of which there is one: a black and white video has no
# saturation, a flat one no sharpness, and the factor of next to nothing says nothing.
FACTORS = {"lightness": 1.0, "contrast": 1.0, "saturation": 1.0, "sharpness": ROUNDING_ENERGY}
COLOUR = ("lightness", "a", "b")
AGAINST_TRUTH = {"psnr": ".1f", "ssim": ".3f"}
NONE = "-"


def as_table(report: Report, plan: ChunkPlan | None = None) -> str:
    """The table, and below it the findings and how the video was read; Markdown, readable as plain text too.

    plan: of the chunks whose joins the report has; None: the video is not divided, and a row stands for 80 frames.
    Lightness, contrast, saturation and sharpness are factors of chunk 0's means. The colour cast is the distance (ΔE)
    of the mean colour to chunk 0's. The seam is the index at a chunk's join, over that of the true video if there is
    one. With a truth a row has PSNR (dB) and SSIM too. `-`: there is no value.
    """
    starts = list(range(0, report.frames, PART)) if plan is None else [0, *report.joins]
    chunks = [range(*ends) for ends in zip(starts, [*starts[1:], report.frames], strict=True)]
    seams = {seam.join: seam.relative for seam in report.seams}
    name = "part" if plan is None else "chunk"
    rows = [
        {name: str(number)} | _cells(report, frames, chunks[0], seams.get(frames.start, nan))
        for number, frames in enumerate(chunks)
    ]
    found = f"Found: {'; '.join(all_found(report.findings))}."
    return "\n".join([*_lines(rows), "", found, "", _read(report, plan, name), ""])


def _cells(report: Report, frames: range, first: range, seam: float) -> dict[str, str]:
    """What the table says of a chunk of these frames. first: the frames of chunk 0. seam: at its join, NaN for none."""
    cells = {"frames": f"{frames.start}-{frames.stop - 1}"}
    if report.fps:
        cells["seconds"] = f"{frames.start / report.fps:.1f}-{frames.stop / report.fps:.1f}"
    for name, least in FACTORS.items():
        base = _mean(report, name, first)
        cells[name] = _cell(_mean(report, name, frames) / base if base >= least else nan, "x", ".2f")
    mine, base_colour = ([_mean(report, name, part) for name in COLOUR] for part in (frames, first))
    cells["cast"] = _cell(dist(mine, base_colour), "ΔE ", ".1f")
    if report.seams:
        cells["seam"] = _cell(seam, "", ".1f")
    for name, digits in AGAINST_TRUTH.items():
        if name in report.curves:
            cells[name.upper()] = _cell(_mean(report, name, frames), "", digits)
    return cells


def _mean(report: Report, name: str, frames: range) -> float:
    return mean(report.curves[name][frames.start : frames.stop])


def _cell(value: float, unit: str, digits: str) -> str:
    return f"{unit}{value:{digits}}" if isfinite(value) else NONE


def _lines(rows: list[dict[str, str]]) -> list[str]:
    """The lines of a table with a heading, its columns of even width."""
    widths = {head: max(len(head), *(len(row[head]) for row in rows)) for head in rows[0]}
    # The colon sets a column to the right.
    rule = {head: f"{'-' * (width - 1)}:" for head, width in widths.items()}
    every = [{head: head for head in widths}, rule, *rows]
    return [f"| {' | '.join(row[head].rjust(width) for head, width in widths.items())} |" for row in every]


def _read(report: Report, plan: ChunkPlan | None, name: str) -> str:
    """What was read and how, and what its numbers refer to."""
    rate = f" at {report.fps:g} frames a second" if report.fps else ""
    if plan is None:
        divided = f"not divided into chunks: a part is {PART} frames"
    else:
        divided = f"read in chunks of {plan.chunk_frames} frames, overlap {plan.overlap}"
    lines = [
        f"{report.frames} frames of {report.width}x{report.height}{rate}, {divided}.",
        f"x1.00 and ΔE 0.0: as in {name} 0.",
    ]
    if report.seams:
        threshold = SEAM_THRESHOLD_ALONE if report.compared_with == "first frame" else SEAM_THRESHOLD
        lines.append(f"A seam above {threshold:g} is visible.")
    return " ".join(lines)
