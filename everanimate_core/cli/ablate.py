"""`everanimate ablate`: the paper's ablation on the toy world."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..evaluation.networks import load_networks
from ..studies.ablation import ROWS, ablate, lora_row
from .command import Command
from .options import option

SEEDS = (100, 101, 102, 103)


@dataclass(frozen=True)
class Options:
    """The paper's ablation on the toy world."""

    out: option(Path, "Where the table and the plot go.", "DIR", "ablation") = Path("ablation")
    seconds: option(float, "Length of each animation.", "SECONDS", 60.0) = 60.0
    seeds: option(tuple[int, ...], "The worlds to animate.", "N", " ".join(map(str, SEEDS))) = SEEDS
    lpips: option(Path | None, "LPIPS weights (default: those of `everanimate evaluate --fetch-lpips`).", "FILE") = None
    lora: option(tuple[Path, ...], "LoRAs of the toy's baseline, as the only rows.", "FILE") = ()


def main(options: Options, command: Command) -> None:
    """Animate and measure every row."""
    torch.set_num_threads(1)
    rows = [lora_row(str(path), path) for path in options.lora] or ROWS
    ablate(options.out, options.seconds, options.seeds, rows, load_networks(options.lpips), command.say)
