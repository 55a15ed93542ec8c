"""The paper's ablation (arXiv 2605.15042, Table 2) on the toy world, where the truth is known: `everanimate ablate`.

Every row animates the same unseen worlds from the same noise seeds. Rows differ in the network, in what is handed from
chunk to chunk, and in whether the sampler corrects drift. A result is kept for each row, world and noise seed, so that
the same command goes on where it was stopped.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from math import isfinite, nan
from pathlib import Path
from statistics import stdev
from typing import Any

from ..backends.diffusers_wan import DiffusersWan
from ..digests import digest, weights_digest
from ..errors import InputError
from ..evaluation.networks import Networks
from ..evaluation.report import as_json, mean, shown
from ..files import write_whole
from ..toy.network.engine import FPS
from ..toy.world.scene import PLAIN, Scene
from ..toy.world.world import World
from .ablation_plot import save_ablation_plot
from .roll_outs import METRICS, PLANTED_CHUNK, Measured, measure
from .rows import Row
from .trips import finding_one

# Seconds after which the table looks, as far as the animation goes.
HORIZONS = (10, 30, 60, 90)
# Chunks after the planted one over which recovery is measured.
RECOVERY = 10


@dataclass(frozen=True)
class Plan:
    """What is rolled out. seconds: of each animation. worlds: their seeds. noises: seeds of the noise. scene: what the
    worlds have beside a figure. changes: settings that every row has, whatever its own. planted: every roll-out is made
    a second time, with the planted drift.

    Raises InputError for less than a frame, fewer than 2 worlds, and no noise seed.
    """

    seconds: float
    worlds: tuple[int, ...]
    noises: tuple[int, ...]
    scene: Scene = PLAIN
    changes: Mapping[str, Any] = field(default_factory=dict)
    planted: bool = False

    def __post_init__(self):
        if self.frames < 1:
            raise InputError("seconds", "must be a frame or more", "60", self.seconds)
        if len(self.worlds) < 2:
            raise InputError("worlds", "must be at least 2", "8", len(self.worlds))
        if not self.noises:
            raise InputError("noises", "must be at least 1", "2", len(self.noises))

    @property
    def frames(self) -> int:
        """Frames of each animation."""
        return round(self.seconds * FPS)

    @property
    def horizons(self) -> list[int]:
        """Those of HORIZONS that the animation reaches."""
        return [seconds for seconds in HORIZONS if seconds * FPS <= self.frames]


Results = dict[tuple[int, int], Measured]


def ablate(
    folder: Path,
    plan: Plan,
    rows: Sequence[Row],
    weights: Path | None,
    networks: Networks,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Roll out every row in every world from every noise seed; write ablation.json and ablation.png into `folder`.

    weights: a folder with networks and LoRAs of one's own, by the names of the rows'. ablation.json is written anew
    after each row. What it holds is returned. Raises ValueError for a file that is not there or does not fit.
    """
    rows = [replace(row, settings=replace(row.settings, **plan.changes)) for row in rows]
    # All of them first: a file that is not there, or of another model, costs no finished rows.
    models = [row.load(weights) for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    trips = finding_one(plan.worlds)
    facts: dict[str, Any] = {"settings": _header(plan, rows, weights), "finding 1": trips, "rows": []}
    curves: dict[str, list[float]] = {}
    for row, model in zip(rows, models, strict=True):
        found = _roll_outs(folder, plan, row, model, networks, say, planted=False)
        facts["rows"].append({"name": row.name, **summary(found, plan)})
        if plan.planted:
            hit = _roll_outs(folder, plan, row, model, networks, say, planted=True)
            facts["rows"][-1]["planted"] = recovery(found, hit)
        frames = zip(*(result.curves["psnr"] for result in found.values()), strict=True)
        curves[row.name] = [mean(values) for values in frames]
        write_facts(folder, facts)
    with write_whole(folder / "ablation.png") as part:
        save_ablation_plot(curves, trips, part)
    if networks.lpips is None:
        say(f"lpips: {networks.missing['lpips']}")
    say(as_tables(facts))
    return facts


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ablation.json into `folder`, in the place of what it was before."""
    with write_whole(folder / "ablation.json") as part:
        part.write_text(as_json(facts) + "\n", encoding="utf-8")


def _header(plan: Plan, rows: Sequence[Row], weights: Path | None) -> dict[str, Any]:
    """What the rows were made with: of the plan, and of each network and LoRA what the JSON beside it says."""
    trained: dict[str, Any] = {}
    for row in rows:
        for path in filter(None, row.files(weights)):
            beside = path.with_suffix(".json")
            if beside.is_file():
                told = json.loads(beside.read_text(encoding="utf-8"))
                keys = ("after", "steps", "films", "batch", "rate", "rank", "target", "recipe")
                trained[path.stem] = {key: told[key] for key in keys if key in told}
    return {**asdict(plan), "horizons": plan.horizons, "trained": trained}


def _roll_outs(
    folder: Path,
    plan: Plan,
    row: Row,
    model: DiffusersWan,
    networks: Networks,
    say: Callable[[str], None],
    planted: bool,
) -> Results:
    """A row's result of every world and noise seed."""
    made_with: list[Any] = [
        weights_digest(model.transformer.state_dict().items()),
        asdict(row.settings),
        asdict(row.policy),
        asdict(plan.scene),
        plan.frames,
        planted,
        networks.sha256.get("lpips", ""),
    ]

    def one(world: World, noise: int) -> Measured:
        return measure(model, row, world, noise, plan.frames, networks.lpips, planted)

    return every_result(folder, plan, f"{row.name}, planted" if planted else row.name, made_with, one, say)


def every_result(
    folder: Path,
    plan: Plan,
    name: str,
    made_with: Sequence[Any],
    one: Callable[[World, int], Measured],
    say: Callable[[str], None],
) -> Results:
    """The results of a row in every world from every noise seed; those of an earlier start are not made again.

    made_with: what the result depends on beside world and noise, as JSON values. one: makes a result.
    """
    results = {}
    for world in plan.worlds:
        for noise in plan.noises:
            path = folder / "roll-outs" / f"{digest(*made_with, world, noise)[:24]}.json"
            if path.is_file():
                results[world, noise] = Measured(**json.loads(path.read_text(encoding="utf-8")))
                continue
            found = one(World(world, scene=plan.scene), noise)
            path.parent.mkdir(exist_ok=True)
            with write_whole(path) as part:
                part.write_text(json.dumps(asdict(found)), encoding="utf-8")
            results[world, noise] = found
            say(f"{name}, world {world}, noise {noise}: PSNR {shown(mean(found.curves['psnr']), '.2f')} dB")
    return results


def summary(results: Results, plan: Plan) -> dict[str, Any]:
    """The row of those results: means over worlds and noise seeds; what has no value (equal frames) is left out.

    psnr: by seconds, in dB, the mean over the first so many. last: that of the chunk at that time. spread: of `last`,
    the standard deviation over worlds. per_world: `last` of each world. chunks: PSNR of each chunk. The other metrics,
    by name: both `first` and `last`.
    """
    worlds = {world for world, _ in results}
    chunks = next(iter(results.values())).chunks
    ends = list(accumulate(chunks))

    def of(metric: str, frames: range, world: int | None = None) -> float:
        found = (result for (own, _), result in results.items() if world in (None, own))
        return mean(mean(result.curves[metric][frames.start : frames.stop]) for result in found)

    def at(seconds: int) -> range:
        """The frames of the chunk that is on show as these seconds end."""
        number = next(number for number, end in enumerate(ends) if end >= seconds * FPS)
        return range(ends[number] - chunks[number], ends[number])

    def by_seconds(value: Callable[[int], float]) -> dict[str, float]:
        return {str(seconds): value(seconds) for seconds in plan.horizons}

    def first(metric: str) -> dict[str, float]:
        return by_seconds(lambda seconds: of(metric, range(round(seconds * FPS))))

    def last(metric: str, world: int | None = None) -> dict[str, float]:
        return by_seconds(lambda seconds: of(metric, at(seconds), world))

    per_world = {str(world): last("psnr", world) for world in worlds}
    others = [metric for metric in METRICS if metric in next(iter(results.values())).curves and metric != "psnr"]
    return {
        "psnr": first("psnr"),
        "last": last("psnr"),
        "spread": by_seconds(lambda seconds: _spread([each[str(seconds)] for each in per_world.values()])),
        "per_world": per_world,
        "chunks": [of("psnr", range(end - length, end)) for end, length in zip(ends, chunks, strict=True)],
        **{metric: {"first": first(metric), "last": last(metric)} for metric in others},
    }


def _spread(values: Sequence[float]) -> float:
    known = [value for value in values if isfinite(value)]
    return stdev(known) if len(known) > 1 else nan


def recovery(clean: Results, planted: Results) -> dict[str, Any]:
    """PSNR in dB over the chunks that follow the planted drift: of the roll-outs without it, of those with it, and how
    much lower the latter are in each of the chunks; means over worlds and noise seeds."""

    def chunk(results: Results, number: int) -> float:
        values = []
        for result in results.values():
            end = sum(result.chunks[: number + 1])
            values.append(mean(result.curves["psnr"][end - result.chunks[number] : end]))
        return mean(values)

    count = len(next(iter(clean.values())).chunks)
    after = range(PLANTED_CHUNK + 1, min(PLANTED_CHUNK + 1 + RECOVERY, count))
    without, with_drift = ([chunk(results, number) for number in after] for results in (clean, planted))
    lost = [mine - true for mine, true in zip(with_drift, without, strict=True)]
    return {"clean": mean(without), "planted": mean(with_drift), "chunks": lost}


def as_tables(facts: dict[str, Any]) -> str:
    """The tables in Markdown: drift, and recovery where drift was planted."""
    horizons = [str(seconds) for seconds in facts["settings"]["horizons"]]
    others = [metric for metric in METRICS if metric in facts["rows"][0] and metric != "psnr"]
    heads = ["", "PSNR, first chunk"]
    heads += [f"PSNR at {seconds} s" for seconds in horizons] + [f"PSNR, first {seconds} s" for seconds in horizons]
    heads += [f"{metric} at {seconds} s" for metric in others for seconds in horizons[-1:]]
    lines = [heads, ["---"] * len(heads)]
    for row in facts["rows"]:
        cells = [row["name"], shown(row["chunks"][0], ".2f")]
        cells += [f"{shown(row['last'][at], '.2f')} ± {shown(row['spread'][at], '.2f')}" for at in horizons]
        cells += [shown(row["psnr"][at], ".2f") for at in horizons]
        cells += [shown(row[metric]["last"][at], ".3f") for metric in others for at in horizons[-1:]]
        lines.append(cells)
    text = _markdown(lines)
    if any("planted" in row for row in facts["rows"]):
        lines = [["", "without drift", "after it", "lost by chunk"], ["---"] * 4]
        for row in facts["rows"]:
            found = row["planted"]
            lost = " ".join(f"{shown(value, '+.1f')}" for value in found["chunks"])
            lines.append([row["name"], shown(found["clean"], ".2f"), shown(found["planted"], ".2f"), lost])
        text += "\n\n" + _markdown(lines)
    return text


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
