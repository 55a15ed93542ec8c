"""The ablation of LongAnimation (supplement of arXiv 2507.01945) on the toy: `everanimate ablate --method colour`.

Its Table 2: behind which blocks of the network the line art is added, each pattern with a SketchDiT that was trained
for it. Its Figure 1: colours taken from one reference throughout, or from the window before; and joins with and without
the late fusion of overlaps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..backends.diffusers_cog import DiffusersCog
from ..digests import weights_digest
from ..evaluation.lpips import Lpips
from ..evaluation.networks import Networks
from ..longanimation.method import long_animation
from ..longanimation.settings import Settings
from ..longanimation.video_memory import MemoryOfVideo
from ..method import each_made
from ..toy.learning.train_colour import SKETCHES
from ..toy.network.colour_dit import load_colour
from ..toy.network.colour_state import SETTINGS, SKETCH_WEIGHTS
from ..toy.network.engine import WorldFrames
from ..toy.world.raster import SIZE
from ..toy.world.world import World
from .ablation import Plan, as_tables, every_result, summary, write_facts
from .roll_outs import Measured, measured
from .rows import named_rows, own_or_shipped


@dataclass(frozen=True)
class ColourRow:
    """A row of the table. sketch: the SketchDiT that steers the base, by the name of its task."""

    name: str
    sketch: str
    settings: Settings


def _shipped(name: str, **changes: Any) -> ColourRow:
    return ColourRow(name, SKETCH_WEIGHTS.stem, replace(SETTINGS, **changes))


MAIN = (
    _shipped("skip-layer"),
    _shipped("autoregressive", reference_mode="autoregressive"),
    _shipped("without fusion", fuse=False),
)
# The other patterns: of SketchDiTs that are not shipped.
PATTERNS = tuple(
    ColourRow(task.blocks, task.name, replace(SETTINGS, blocks=task.blocks))
    for task in SKETCHES
    if task.blocks is not None and task.blocks != SETTINGS.blocks
)
ROWS = {row.name: row for row in (*MAIN, *PATTERNS)}


def chosen_colour_rows(names: tuple[str, ...]) -> list[ColourRow]:
    """The rows of those names, or the main ones; InputError for a name that is none."""
    return named_rows(names, ROWS, "skip-layer") or list(MAIN)


def ablate_colour(
    folder: Path,
    plan: Plan,
    rows: Sequence[ColourRow],
    weights: Path | None,
    networks: Networks,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Colour every world with every row from every noise seed; ablation.json, written anew after each row, into
    `folder`. What it holds is returned.

    weights: a folder with SketchDiTs of one's own, by the names of their tasks. Raises ValueError for a file that is
    not there or does not fit.
    """
    rows = [replace(row, settings=replace(row.settings, **plan.changes)) for row in rows]
    models = [load_colour(own_or_shipped(row.sketch, weights)) for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"settings": {**asdict(plan), "horizons": plan.horizons}, "rows": []}
    for row, model in zip(rows, models, strict=True):
        made_with = [
            weights_digest(model.base.state_dict().items()),
            weights_digest(model.sketch.state_dict().items()),
            asdict(row.settings),
            asdict(plan.scene),
            plan.frames,
            networks.sha256.get("lpips", ""),
        ]
        one = partial(measure_colour, model, row.settings, frames=plan.frames, lpips=networks.lpips)
        found = every_result(folder, plan, row.name, made_with, one, say)
        facts["rows"].append({"name": row.name, **summary(found, plan)})
        write_facts(folder, facts)
    if networks.lpips is None:
        say(f"lpips: {networks.missing['lpips']}")
    say(as_tables(facts))
    return facts


@torch.no_grad()
def measure_colour(
    model: DiffusersCog, settings: Settings, world: World, noise: int, *, frames: int, lpips: Lpips | None
) -> Measured:
    """Colour so many frames of a world's line art like its reference; what is measured of every frame."""
    return measured(coloured(model, replace(settings, seed=noise), world, frames), world, lpips)


def coloured(
    model: DiffusersCog, settings: Settings, world: World, frames: int, memory: MemoryOfVideo | None = None
) -> Iterator[Tensor]:
    """So many frames of a world's line art, coloured like its reference: those of one window after another
    [n, 64, 64, 3] in 0..1. memory: of the frames so far; None for windows without."""
    lineart = WorldFrames(world.lineart, frames)
    method = long_animation(lineart, world.reference()[None], settings, SIZE, SIZE).with_memory(memory)
    for made in each_made(method, partial(model.sample_window, settings=settings), model.codec):
        yield made.frames[method.plan.kept(made.index)]
