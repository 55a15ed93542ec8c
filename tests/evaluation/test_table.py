"""The table of a report: its exact text, and that of a video file whose chunks are off by known factors."""

from dataclasses import replace
from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest
import torch
from skimage.color import lab2rgb

from everanimate_core.evaluation.evaluate import evaluate
from everanimate_core.evaluation.report import Findings, Report, Seam
from everanimate_core.evaluation.table import FACTORS, PART, as_table
from everanimate_core.media.reader import VideoFrames
from everanimate_core.media.writer import VideoWriter
from everanimate_core.plan import ChunkPlan

# Two chunks of 5 frames with overlap 1: frames 0-4, and 5-8.
PLAN = ChunkPlan(9, 5, 1)


def curve(*chunks):
    """A curve that keeps a value for each chunk of PLAN."""
    return [value for value, count in zip(chunks, (5, 4), strict=True) for _ in range(count)]


REPORT = Report(
    frames=9,
    width=64,
    height=32,
    fps=16.0,
    compared_with="first frame",
    joins=[5],
    curves={
        # The mean of 30, 40, 50, 60, 70 is 50.
        "lightness": [30.0, 40.0, 50.0, 60.0, 70.0, 56.0, 56.0, 56.0, 56.0],
        "a": curve(1.0, 3.0),
        "b": curve(-4.0, -1.0),
        "contrast": curve(20.0, 17.4),
        "saturation": curve(10.0, 8.0),
        "sharpness": curve(0.004, 0.001),
    },
    truth={},
    slopes={},
    numbers={},
    seams=[Seam(5, 3.14, None)],
    findings=Findings(6, None, None, [], [5]),
    missing={},
    sha256={},
)
AGAINST = replace(
    REPORT,
    fps=None,
    compared_with="truth",
    curves=REPORT.curves | {"psnr": [inf, 30.0, 31.0, 32.0, 33.0, *[inf] * 4], "ssim": curve(0.98, 1.0)},
    seams=[Seam(5, 3.0, 2.0)],
    findings=Findings(None, None, None, [], []),
)


def rows(table):
    """[{heading: cell}] of a table."""
    lines = table.split("\n\n")[0].split("\n")
    heads, _, *others = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(heads, row, strict=True)) for row in others]


def test_a_report_of_two_chunks():
    # The cast: 6 lighter, 2 in a, 3 in b, which is 7.
    assert as_table(REPORT, PLAN) == (
        "| chunk | frames | seconds | lightness | contrast | saturation | sharpness |   cast | seam |\n"
        "| ----: | -----: | ------: | --------: | -------: | ---------: | --------: | -----: | ---: |\n"
        "|     0 |    0-4 | 0.0-0.3 |     x1.00 |    x1.00 |      x1.00 |     x1.00 | ΔE 0.0 |    - |\n"
        "|     1 |    5-8 | 0.3-0.6 |     x1.12 |    x0.87 |      x0.80 |     x0.25 | ΔE 7.0 |  3.1 |\n"
        "\n"
        "Found: colour departs at frame 6; seams at 5.\n"
        "\n"
        "9 frames of 64x32 at 16 frames a second, read in chunks of 5 frames, overlap 1. "
        "x1.00 and ΔE 0.0: as in chunk 0. A seam above 3 is visible.\n"
    )


def test_against_the_true_video():
    """Without a rate there are no seconds; frames that equal the true ones have no PSNR; the seam is a ratio."""
    assert as_table(AGAINST, PLAN) == (
        "| chunk | frames | lightness | contrast | saturation | sharpness |   cast | seam | PSNR |  SSIM |\n"
        "| ----: | -----: | --------: | -------: | ---------: | --------: | -----: | ---: | ---: | ----: |\n"
        "|     0 |    0-4 |     x1.00 |    x1.00 |      x1.00 |     x1.00 | ΔE 0.0 |    - | 31.5 | 0.980 |\n"
        "|     1 |    5-8 |     x1.12 |    x0.87 |      x0.80 |     x0.25 | ΔE 7.0 |  1.5 |    - | 1.000 |\n"
        "\n"
        "Found: no departure, no flash, no visible seam.\n"
        "\n"
        "9 frames of 64x32, read in chunks of 5 frames, overlap 1. "
        "x1.00 and ΔE 0.0: as in chunk 0. A seam above 2 is visible.\n"
    )


def test_a_video_of_one_piece_has_a_row_for_each_80_frames():
    frames = 2 * PART + 1
    curves = {name: [1.0] * PART + [2.0] * (frames - PART) for name in REPORT.curves}
    table = as_table(replace(REPORT, frames=frames, fps=24000 / 1001, joins=[], seams=[], curves=curves))
    found = rows(table)
    assert [(row["part"], row["frames"], row["seconds"], row["contrast"]) for row in found] == [
        ("0", "0-79", "0.0-3.3", "x1.00"),
        ("1", "80-159", "3.3-6.7", "x2.00"),
        ("2", "160-160", "6.7-6.7", "x2.00"),
    ]
    assert "seam" not in found[0]
    assert table.endswith(
        "161 frames of 64x32 at 23.976 frames a second, not divided into chunks: a part is 80 frames. "
        "x1.00 and ΔE 0.0: as in part 0.\n"
    )


def test_one_chunk_is_a_chunk():
    short = ChunkPlan(9, 81, 1)
    (row,) = rows(as_table(replace(REPORT, joins=[], seams=[]), short))
    assert (row["chunk"], row["frames"], row["contrast"]) == ("0", "0-8", "x1.00")


def test_of_next_to_nothing_there_is_no_factor():
    """A black and white video gains colour; a flat one gains contrast; a frame has no value."""
    curves = REPORT.curves | {
        "saturation": curve(0.99, 20.0),
        "contrast": curve(0.0, 5.0),
        "sharpness": curve(1e-5, 1e-3),
        "a": curve(0.0, nan),
    }
    _, row = rows(as_table(replace(REPORT, curves=curves), PLAN))
    assert (row["saturation"], row["contrast"], row["sharpness"], row["cast"]) == ("-",) * 4
    faint = replace(REPORT, curves=curves | {"saturation": curve(1.0, 20.0), "sharpness": curve(2e-5, 1e-3)})
    _, row = rows(as_table(faint, PLAN))
    assert (row["saturation"], row["sharpness"]) == ("x20.00", "x50.00")


# Stripes of two colours (L, a, b), 32 pixels wide, that move 2 pixels a frame: neither the motion nor the codec's
# colours, one for 2x2 pixels, change their statistics.
STRIPE, MOTION, WIDTH, HEIGHT = 32, 2, 128, 64
STRIPES = {
    "plain": ((30, 30, 0), (70, -30, 0)),
    "less contrast": ((34, 30, 0), (66, -30, 0)),
    "less saturation": ((30, 24, 0), (70, -24, 0)),
    "lighter, bluer": ((38, 30, -6), (78, -30, -6)),
}
# Lightness, contrast, saturation, cast: from 50 to 58, from 20 to 16, from 30 to 24, from 30 to the root of 936; the
# cast is 8 lighter and 6 bluer.
EXPECTED = {
    "plain": (1, 1, 1, 0),
    "less contrast": (1, 0.8, 1, 0),
    "less saturation": (1, 1, 0.8, 0),
    "lighter, bluer": (1.16, 1, 1.02, 10),
}
LUMA = torch.tensor([0.299, 0.587, 0.114])


def colours(name):
    """The two colours of a kind of stripes in RGB: [2, 3]."""
    return torch.from_numpy(lab2rgb(np.array(STRIPES[name], dtype=float))).float()


def striped(name, frames):
    """Frames of these numbers with stripes of that kind: [n, H, W, 3]."""
    places = (torch.arange(WIDTH) - MOTION * torch.tensor(list(frames))[:, None]) // STRIPE % 2
    return colours(name)[places][:, None].expand(-1, HEIGHT, -1, -1)


def edge(name):
    """The squared difference in luma of the two colours: what the variance of the Laplacian of stripes goes with."""
    dark, bright = colours(name) @ LUMA
    return float((bright - dark) ** 2)


@pytest.mark.parametrize(("chunk_frames", "overlap"), [(17, 1), (17, 5)])
def test_a_file_whose_chunks_are_off_by_known_factors(chunk_frames, overlap, tmp_path):
    """A chain like Wan-Animate 2's (overlap 1) and SCAIL-2's (5), smaller."""
    plan = ChunkPlan(chunk_frames + 3 * (chunk_frames - overlap), chunk_frames, overlap)
    spans = [plan.output_range(number) for number in range(plan.chunk_count)]
    assert [len(span) for span in spans] == [17, *[17 - overlap] * 3]
    frames = torch.cat([striped(name, span) for name, span in zip(STRIPES, spans, strict=True)])
    with VideoWriter(tmp_path / "chained.mp4", Fraction(16), WIDTH, HEIGHT) as file:
        file.write(frames)
    with VideoFrames(tmp_path / "chained.mp4") as video:
        found = rows(as_table(evaluate(video, joins=plan.joins), plan))
    assert [(row["chunk"], row["frames"]) for row in found] == [
        (str(number), f"{span.start}-{span.stop - 1}") for number, span in enumerate(spans)
    ]
    assert found[1]["seconds"] == f"1.1-{(34 - overlap) / 16:.1f}"
    for row, name in zip(found, STRIPES, strict=True):
        *factors, cast = EXPECTED[name]
        *measured, sharpness = (float(row[column][1:]) for column in FACTORS)
        # A codec has 219 levels of luma and smears edges.
        assert measured == pytest.approx(factors, abs=0.03), name
        assert sharpness == pytest.approx(edge(name) / edge("plain"), rel=0.1), name
        assert float(row["cast"].removeprefix("ΔE ")) == pytest.approx(cast, abs=1), name
    # Usual motion moves 2 of 32 pixels from one colour to the other; how much a join changes all the others is on top.
    for row, join in zip(found[1:], plan.joins, strict=True):
        jump, usual = ((frames[at] - frames[at - 1]).abs().mean() for at in (join, join - 1))
        assert float(row["seam"]) == pytest.approx(float(jump / usual), rel=0.1, abs=0.1)
