"""`everanimate ablate`: the paper's ablation on the toy world."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import check_number
from ..evaluation.networks import load_networks
from ..studies.ablation import ROWS, ablate, lora_row
from .command import Command
from .options import option, several

SEEDS = (100, 101, 102, 103)


@dataclass(frozen=True)
class Options:
    """The paper's ablation on the toy world."""

    out: option(Path, "Where the table and the plot go.", "DIR", "ablation") = Path("ablation")
    seconds: option(float, "Length of each animation.", "SECONDS", 60.0) = 60.0
    seeds: option(several(int), "The worlds to animate.", "N [N ...]", " ".join(map(str, SEEDS))) = SEEDS
    lpips: option(Path | None, "LPIPS weights.", "FILE", "those of `everanimate evaluate --fetch-lpips`") = None
    lora: option(several(Path), "LoRAs of the toy's baseline, as the only rows.", "FILE [FILE ...]", "none") = ()


def main(options: Options, command: Command) -> None:
    """Animate and measure every row."""
    command.kept = "finished rows are written"
    check_number("seconds", options.seconds, "60")
    torch.set_num_threads(1)
    rows = [lora_row(str(path), path) for path in options.lora] or ROWS
    ablate(options.out, options.seconds, options.seeds, rows, load_networks(options.lpips), command.say)
