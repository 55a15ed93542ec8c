"""The picture of the ablation: PSNR over time of every row, and what trips through the VAE cost."""

from math import isfinite, nan
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure

from ..toy.network.engine import FPS

# Frames that a point of a curve is the mean of: a second.
_WINDOW = int(FPS)


def save_ablation_plot(rows: dict[str, list[float]], trips: dict[str, list[float]], path: Path) -> None:
    """Write a PNG file. rows: PSNR in dB of every frame, trips: after 1, 2, ... trips; a gap where it is not finite."""
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    # More rows than the colours of a cycle.
    left.set_prop_cycle(color=colormaps["tab20"].colors)  # type: ignore[attr-defined]  # a list of colours
    for name, values in rows.items():
        known = torch.tensor([value if isfinite(value) else nan for value in values])
        means = known[: len(values) // _WINDOW * _WINDOW].view(-1, _WINDOW).nanmean(dim=1)
        left.plot(torch.arange(len(means)) + 0.5, means, label=name)
    left.set(xlabel="seconds", ylabel="PSNR against the truth (dB), means of a second", title="Drift")
    figure.legend(*left.get_legend_handles_labels(), fontsize="small", ncols=3, loc="outside lower center")
    for name, values in trips.items():
        right.plot(range(1, len(values) + 1), values, label=name)
    right.set(xlabel="decode / re-encode trips", ylabel="PSNR (dB)", title="Finding 1: what every trip loses")
    right.legend(fontsize="x-small")
    figure.savefig(path, format="png", dpi=90)
