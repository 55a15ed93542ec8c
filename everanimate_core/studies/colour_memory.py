"""What LongAnimation's memory of the video is worth on the toy: `everanimate ablate --method colour --memory`.

In worlds of two-sided clothes (`Scene.two_sided`) the colour behind is not in the reference. Nobody can know it when it
is shown for the first time; shown again, it should be the same. Rows differ in what is remembered: nothing, the whole
animation so far, its end, or both.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..backends.diffusers_cog import DiffusersCog
from ..digests import weights_digest
from ..errors import InputError
from ..evaluation.frame_metrics import to_lab
from ..evaluation.lpips import Lpips
from ..evaluation.networks import Networks
from ..evaluation.report import mean, shown
from ..longanimation.settings import MemorySettings, Settings
from ..longanimation.video_memory import Held
from ..toy.learning.colour_memory_films import LEAST, shows_behind
from ..toy.network.colour_dit import load_colour
from ..toy.network.colour_memory import SETTINGS as MEMORY
from ..toy.network.colour_memory import WEIGHTS, MemoryOfToy, load_memory
from ..toy.network.colour_state import SETTINGS
from ..toy.world.sides import showings
from ..toy.world.world import World
from .ablation import Plan, every_result, summary, write_facts
from .colour import coloured
from .roll_outs import Measured, measured, rounded
from .rows import named_rows, own_or_shipped

# 500 frames: three showings of the back.
SECONDS = 20.0
# Of the clothes behind in later showings, in Lab (Delta E): how far they are from those of the first showing, and from
# the truth; and how far the truth is from its own first showing, as shades differ.
_BEHIND = ("consistency", "behind", "truth")


@dataclass(frozen=True)
class MemoryRow:
    """A row of the table. memory: what is remembered, None for nothing. told: what is remembered of the frames up to
    the end of the first showing is the truth, as if these had been put right by hand."""

    name: str
    memory: MemorySettings | None
    told: bool = False


_LOCAL, _GLOBAL = replace(MEMORY, memory_frames=0), replace(MEMORY, local_frames=0)
MAIN = (
    MemoryRow("none", None),
    MemoryRow("local", _LOCAL),
    MemoryRow("global", _GLOBAL),
    MemoryRow("both", MEMORY),
)
# The same where the first showing has its true colour in memory, which the local part forgets.
TOLD = tuple(MemoryRow(f"{row.name}, told", row.memory, told=True) for row in MAIN[2:])
ROWS = {row.name: row for row in (*MAIN, *TOLD)}


def chosen_memory_rows(names: tuple[str, ...]) -> list[MemoryRow]:
    """The rows of those names, or all; InputError for a name that is none."""
    return named_rows(names, ROWS, "both") or list(ROWS.values())


@dataclass(frozen=True)
class _Told(MemoryOfToy):
    """A memory to which the first frames are shown as they should have been."""

    # [n, S, S, 3] uint8. The class that this comes from has a default in its last field, so this must have one.
    truth: Tensor | None = None

    def remember(self, crops: Tensor, held: Held | None = None) -> tuple[Tensor, Held | None]:
        """See MemoryOfVideo."""
        assert self.truth is not None
        known = self.truth[: len(crops)]
        return super().remember(torch.cat([known, crops[len(known) :]]), held)


def ablate_memory(
    folder: Path,
    plan: Plan,
    rows: Sequence[MemoryRow],
    weights: Path | None,
    networks: Networks,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Colour every world with every row from every noise seed; ablation.json, written anew after each row, into
    `folder`. What it holds is returned.

    weights: a folder with a memory of one's own. Raises ValueError for a file that is not there or does not fit, and
    where a world does not show the back twice.
    """
    if any(len(showings(f"{world}", plan.frames)) < 2 for world in plan.worlds):
        raise InputError("seconds", "must show the back of clothes twice", f"{SECONDS:g}", plan.seconds)
    settings = replace(SETTINGS, **plan.changes)
    memory = load_memory(own_or_shipped(WEIGHTS.stem, weights))
    folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"settings": {**asdict(plan), "horizons": plan.horizons}, "rows": []}
    for row in rows:
        model = load_colour(memory=None if row.memory is None else memory)
        made_with = [
            weights_digest(model.base.state_dict().items()),
            weights_digest(model.sketch.state_dict().items()),
            "" if row.memory is None else weights_digest(memory.state_dict().items()),
            None if row.memory is None else asdict(row.memory),
            row.told,
            asdict(settings),
            asdict(plan.scene),
            plan.frames,
            networks.sha256.get("lpips", ""),
        ]
        remembering = None if row.memory is None else MemoryOfToy(memory.video, row.memory)
        one = partial(measure_memory, model, remembering, row.told, settings, frames=plan.frames, lpips=networks.lpips)
        found = every_result(folder, plan, row.name, made_with, one, say)
        behind = {name: mean(mean(result.curves[name]) for result in found.values()) for name in _BEHIND}
        whole = mean(mean(result.curves["psnr"]) for result in found.values())
        facts["rows"].append({"name": row.name, **summary(found, plan), "whole": whole, **behind})
        write_facts(folder, facts)
    if networks.lpips is None:
        say(f"lpips: {networks.missing['lpips']}")
    say(memory_table(facts))
    return facts


@torch.no_grad()
def measure_memory(
    model: DiffusersCog,
    memory: MemoryOfToy | None,
    told: bool,
    settings: Settings,
    world: World,
    noise: int,
    *,
    frames: int,
    lpips: Lpips | None,
) -> Measured:
    """Colour so many frames of a world's line art like its reference; what is measured of every frame, and of every
    frame of later showings. told: see MemoryRow."""
    settings = replace(settings, seed=noise)
    spans = showings(f"{world.seed}", frames)
    if told and memory is not None:
        truth = memory.model.crops(world.frames(range(spans[0].stop)))
        memory = _Told(memory.model, memory.settings, truth=truth)
    windows = list(coloured(model, settings, world, frames, memory))
    result = measured(windows, world, lpips)
    made, true = (
        [behind_colours(each, world, span) for span in spans]
        for each in (torch.cat(windows), world.frames(range(frames)))
    )
    found = {
        "consistency": _distances(made[1:], made[0].mean(dim=0)),
        "behind": [(own - right).norm(dim=1) for own, right in zip(made[1:], true[1:], strict=True)],
        "truth": _distances(true[1:], true[0].mean(dim=0)),
    }
    behind = {name: rounded(torch.cat(showing)) for name, showing in found.items()}
    return Measured(result.curves | behind, result.chunks)


def behind_colours(frames: Tensor, world: World, span: range) -> Tensor:
    """The mean colour [n, 3] in Lab of clothes from behind, in those frames of a showing that have enough of them.

    frames: [F, 64, 64, 3], all of the world's frames in some colouring.
    """
    covered = shows_behind(world, span).flatten(1).float()
    seen = covered.sum(dim=1) >= LEAST
    lab = to_lab(frames[span.start : span.stop]).flatten(1, 2)
    return torch.einsum("npc,np->nc", lab[seen], covered[seen]) / covered[seen].sum(dim=1, keepdim=True)


def _distances(showings: Sequence[Tensor], colour: Tensor) -> list[Tensor]:
    return [(showing - colour).norm(dim=1) for showing in showings]


def memory_table(facts: dict[str, Any]) -> str:
    """The table in Markdown."""
    heads = ["memory", "PSNR, first window", "PSNR, all frames", "PSNR, last window"]
    heads += ["behind: off its first showing", "behind: off the truth"]
    lines = [heads, ["---"] * len(heads)]
    for row in facts["rows"]:
        cells = [row["name"], *(shown(value, ".2f") for value in (row["chunks"][0], row["whole"], row["chunks"][-1]))]
        lines.append([*cells, *(shown(row[name], ".1f") for name in ("consistency", "behind"))])
    lines.append(["the truth", *[""] * 3, shown(facts["rows"][0]["truth"], ".1f"), "0.0"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
