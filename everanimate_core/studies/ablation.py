"""The paper's ablation (arXiv 2605.15042, Table 2) on the toy world, where the truth is known: `everanimate ablate`.

Every row animates the same unseen worlds. Rows differ in the network, in what is handed from chunk to chunk, and in
whether the sampler corrects drift.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path
from statistics import stdev
from typing import Any

import torch
from torch import Tensor

from ..backends.diffusers_wan import DiffusersWan
from ..errors import InputError
from ..evaluation.evaluate import evaluate
from ..evaluation.networks import Networks
from ..evaluation.report import Report, as_json, mean, shown
from ..everanimate.context import METHOD, ContextPolicy
from ..everanimate.settings import Settings
from ..files import write_whole
from ..lora.files import read_lora
from ..lora.fit import apply_lora
from ..media.frames import TensorFrames
from ..ports import Codec
from ..toy.learning.material import WAN_ANIMATE
from ..toy.learning.scores import psnr
from ..toy.network.engine import FPS, WorldFrames, load_toy, roll_out
from ..toy.network.state import (
    BASELINE_WEIGHTS,
    GEOMETRY,
    MEMORY_WEIGHTS,
    SETTINGS,
    STAGE_1,
    STAGE_1_LONGER,
    STAGE_2,
    STAGE_2_EXACT,
)
from ..toy.network.vae import ToyCodec, load_vae
from ..toy.world.world import World
from .ablation_plot import save_ablation_plot

HORIZONS = (10, 30, 60)
TRIPS = 50


@dataclass(frozen=True)
class Row:
    """A row of the table. weights: of the transformer, and lora: what is added to them."""

    name: str
    weights: Path
    lora: Path | None
    settings: Settings
    policy: ContextPolicy

    def load(self) -> DiffusersWan:
        """The row's network."""
        model = load_toy(self.weights)
        if self.lora is not None:
            apply_lora(model.transformer, read_lora(self.lora))
        return model


def lora_row(name: str, lora: Path, restore_strength: float = 0.0, **policy: Any) -> Row:
    """A row of the baseline with a LoRA, in EverAnimate's context but for `policy`."""
    settings = replace(SETTINGS, restore_strength=restore_strength)
    return Row(name, BASELINE_WEIGHTS, lora, settings, replace(METHOD, **policy))


ONE_ANCHOR = replace(SETTINGS, identity_latents=1)
ROWS = (
    Row("baseline: pixel carry, one reference", BASELINE_WEIGHTS, None, ONE_ANCHOR, WAN_ANIMATE),
    Row("baseline, latent carry", BASELINE_WEIGHTS, None, ONE_ANCHOR, replace(WAN_ANIMATE, carry="latent")),
    lora_row("without RFM: stage 1", STAGE_1),
    lora_row("without RFM: stage 1, as long as the full one", STAGE_1_LONGER),
    lora_row("without PLP: stage 2, pixel carry", STAGE_2, carry="pixel"),
    lora_row("full: stage 2, latent carry, fixed identity", STAGE_2),
    lora_row("full, with the exact target", STAGE_2_EXACT),
    lora_row("full, and explicit restoration", STAGE_2, restore_strength=2.0),
    lora_row("full, but the reference alone", STAGE_2, identity="reference"),
    lora_row("full, but identity re-taken", STAGE_2, identity="last_chunk"),
    Row("all weights trained instead of LoRAs", MEMORY_WEIGHTS, None, SETTINGS, METHOD),
)


def measure(model: DiffusersWan, row: Row, seed: int, frames: int, networks: Networks) -> Report:
    """Animate the world of that seed with the row's model, as the row says, and compare it with the truth."""
    world = World(seed)
    chunks = roll_out(model, world, frames, row.settings, row.policy)
    made = torch.cat([chunk.frames for chunk in chunks])
    joins = row.settings.plan(frames).joins
    return evaluate(
        TensorFrames(made, FPS), WorldFrames(world.frames, frames), world.reference(), joins, networks=networks
    )


def summary(reports: Sequence[Report]) -> dict[str, list[float]]:
    """Mean and spread over the seeds of the metrics over the first 10, 30, 60 s, of the seam index, and of the slope of
    PSNR in dB per 100 frames; NaN for what too few seeds have."""
    found = []
    for report in reports:
        values = {
            f"{name} {horizon} s": value
            for horizon, numbers in report.at(HORIZONS).items()
            for name, value in numbers.items()
        }
        if "seam_index" in report.numbers:
            values["seam index"] = report.numbers["seam_index"]
        found.append(values | {"PSNR slope": report.slopes["psnr"]})
    return {name: _mean_and_spread([values[name] for values in found]) for name in found[0]}


def _mean_and_spread(values: Sequence[float]) -> list[float]:
    known = [value for value in values if isfinite(value)]
    return [mean(known), stdev(known) if len(known) > 1 else nan]


@torch.no_grad()
def round_trips(codec: Codec, frames: Tensor, trips: int = TRIPS) -> list[float]:
    """Finding 1: PSNR in dB of a static scene after 1, 2, ... trips through the VAE, each of the last one's pictures.

    frames: [F, H, W, 3] in 0..1, F = 4n + 1: one picture, or a chunk of a picture that stands still.
    """
    truth, values = frames, []
    for _ in range(trips):
        frames = codec.decode(codec.encode(frames))
        values.append(psnr(frames, truth))
    return values


@torch.no_grad()
def carried_trips(codec: Codec, frame: Tensor, chunk_frames: int, trips: int = TRIPS) -> list[float]:
    """Finding 1 as a long animation meets it: of every chunk of a picture that stands still, the last frame is carried.

    frame: [H, W, 3] in 0..1. The next chunk is the carried frame throughout. PSNR in dB of each chunk's last frame.
    """
    carried, values = frame, []
    for _ in range(trips):
        carried = codec.decode(codec.encode(carried.expand(chunk_frames, -1, -1, -1)))[-1]
        values.append(psnr(carried, frame))
    return values


def finding_one(seeds: Sequence[int]) -> dict[str, list[float]]:
    """Both curves, each the mean over the first frames of the worlds of those seeds."""
    codec = ToyCodec(load_vae())
    pictures = [World(seed).reference() for seed in seeds]
    single = [round_trips(codec, picture[None]) for picture in pictures]
    carried = [carried_trips(codec, picture, GEOMETRY.frames) for picture in pictures]
    return {
        "static picture": [mean(values) for values in zip(*single, strict=True)],
        "static chunk, last frame carried": [mean(values) for values in zip(*carried, strict=True)],
    }


def ablate(
    folder: Path,
    seconds: float,
    seeds: Sequence[int],
    rows: Sequence[Row],
    networks: Networks,
    say: Callable[[str], None],
) -> dict[str, dict[str, list[float]]]:
    """Measure every row, as ROWS, on every seed; write ablation.json and ablation.png into `folder`; the table.

    ablation.json is written anew after each row. Raises ValueError for less than a frame, fewer than 2 seeds, and a
    LoRA that does not fit.
    """
    frames = round(seconds * FPS)
    if frames < 1:
        raise InputError("seconds", "must be a frame or more", "60", seconds)
    if len(set(seeds)) < 2:
        raise InputError("seeds", "must be at least 2", "100 101 102 103", list(seeds))
    # All of them first: a LoRA that is not there, or of another model, costs no finished rows.
    models = [row.load() for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    table, curves = {}, {}
    trips = finding_one(seeds)
    for row, model in zip(rows, models, strict=True):
        reports = []
        for seed in seeds:
            reports.append(measure(model, row, seed, frames, networks))
            say(f"{row.name}, seed {seed}: PSNR {shown(reports[-1].numbers['psnr'], '.2f')} dB")
        table[row.name] = summary(reports)
        curves[row.name] = [mean(values) for values in zip(*(report.curves["psnr"] for report in reports), strict=True)]
        facts = {"seconds": seconds, "seeds": list(seeds), "rows": table, "psnr": curves, "finding 1": trips}
        with write_whole(folder / "ablation.json") as part:
            part.write_text(as_json(facts) + "\n", encoding="utf-8")
    with write_whole(folder / "ablation.png") as part:
        save_ablation_plot(curves, trips, part)
    for name, how in networks.missing.items():
        if name == "lpips":
            say(f"{name}: {how}")
    say(as_table(table))
    return table


def as_table(table: dict[str, dict[str, list[float]]]) -> str:
    """The table in Markdown, mean ± spread."""
    columns = list(next(iter(table.values())))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [
        [name, *(f"{shown(middle, '.3f')} ± {shown(spread, '.3f')}" for middle, spread in row.values())]
        for name, row in table.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
