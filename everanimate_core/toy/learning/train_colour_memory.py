"""Training of the colouring toy's memory: `python -m everanimate_core.toy.learning.train_colour_memory --out DIR`.

Video model and DGLM learn as one, through SketchDiT and base, which stay as they are. What they can be good for is the
colour of clothes behind, which nothing but the frames so far can tell. DIR receives the films, a state to go on from
(the same command resumes), a log, and at the end the weights with a JSON that says how they were made.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from ...backends.cog_codec import CogCodec
from ...backends.cog_networks import PATCH_TIME
from ...files import write_whole
from ...longanimation.dpm import TRAIN_STEPS
from ...runs.journal import Journal
from ...runs.store import RunFailed
from ..network.colour_dit import load_base, load_sketch
from ..network.colour_memory import PARTS, WEIGHTS, ColourMemory, new_memory, write_memory
from ..network.colour_state import SETTINGS
from ..network.colour_vae import load_vae
from .colour_memory_films import make_memory_film
from .films import read_shards, write_shard
from .learner import Learner, check_limits
from .train_colour import errors_of
from .train_vae import prepared

STEPS, RATE, WARMUP, DECAY = 1400, 2e-3, 50, 0.99
# Films of a step, and how often each is shown, with noise of its own: what is remembered costs the most.
BATCH, DRAWS = 8, 2
# How much more the cells count that show clothes from behind: they are few, and all that memory can tell.
WEIGHT = 8.0
# What the memory of a film is made of, drawn anew for each: one set of weights serves all rows of the ablation. A
# window without memory asks neither network, so that nothing can be learnt from one.
MIXES = (("global",), ("global",), ("local",), PARTS)
# Shards of films to learn from, the one that is held out, and how many of its batches are tested with.
SHARDS, HELD_OUT_SHARD, HELD_OUT = 5, 12, 6
LOG_EVERY, SAVE_EVERY = 25, 100
# What is tested on films that nothing is learnt from: the loss everywhere, and where clothes show their back.
TESTED = {"none": (), "local": ("local",), "global": ("global",), "both": PARTS}
COLUMNS = ",".join(["step", "loss", *(f"{kind}_{name}" for kind in ("unseen", "behind") for name in TESTED)])

Batch = dict[str, Tensor]


def draw_batch(films: Batch, generator: torch.Generator) -> Batch:
    """Some films by name, and in `mix` [B] what of MIXES their memories are made of.

    All but `past` and `recent` has a row for each time a film is shown, [B * DRAWS], so have timestep and noise. pairs
    [5]: the places in time of their pairs of slots: the clip stands somewhere in a window. Of two timesteps each has
    the later one, as in train_colour.
    """

    def drawn(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=generator)

    run = films["colour"].shape[2] // PATCH_TIME - 1
    first = 1 + int(drawn((SETTINGS.window_frames + 7) // 8 - run))
    chosen = drawn(len(films["colour"]), BATCH)
    batch = {name: value[chosen] for name, value in films.items()}
    for name in ("colour", "lines", "behind"):
        batch[name] = batch[name].float().repeat_interleave(DRAWS, 0)
    timestep = drawn(TRAIN_STEPS, 2, BATCH * DRAWS).amax(dim=0)
    return batch | {
        "pairs": torch.tensor([0, *range(first, first + run)]),
        "timestep": timestep,
        "noise": torch.randn(batch["colour"].shape, generator=generator),
        "mix": drawn(len(MIXES), BATCH),
    }


def corrected(memory: ColourMemory, batch: Batch, mixes: list[tuple[str, ...]], control: Tensor) -> Tensor:
    """The control [B * DRAWS, tokens, dim] of films whose memories are made of those parts [B]."""
    crops = {"global": batch["past"], "local": batch["recent"]}
    rows = []
    for number, (parts, row) in enumerate(zip(mixes, control.split(DRAWS), strict=True)):
        if parts:
            projected = memory.dglm.project(memory.remembered({part: crops[part][number] for part in parts}))
            row = row + memory.dglm(projected, row)
        rows.append(row)
    return torch.cat(rows)


def weighted(errors: Tensor, behind: Tensor) -> Tensor:
    """The mean of errors [B, 16, T, h, w], in which cells that show clothes from behind [B, T, h, w] count more."""
    weights = (1 + WEIGHT * behind)[:, None].expand_as(errors)
    return (errors * weights).sum() / weights.sum()


class Training:
    """A memory in a folder, from where it was left to the end; a step is a function of the seed and what was before."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed
        self.codec = CogCodec(load_vae())
        self.base, self.sketch = load_base(), load_sketch()
        facts = {"seed": seed, "steps": STEPS}
        self.learner = Learner(new_memory(seed), STEPS, RATE, WARMUP, DECAY, facts)
        if self.state.exists():
            self.learner.resume(self.state)

    @property
    def state(self) -> Path:
        """Where the training is kept."""
        return self.folder / "colour_memory.state.safetensors"

    def errors(self, memory: nn.Module, batch: Batch, mixes: list[tuple[str, ...]]) -> Tensor:
        """Squared errors of v, [B, 16, T, h, w]."""
        return errors_of(
            self.base, self.sketch, SETTINGS.blocks, batch, lambda control: corrected(memory, batch, mixes, control)
        )

    def films(self) -> tuple[Batch, Batch]:
        """Those to learn from, and those held out; made if they are not there."""
        folder = self.folder / "films"
        folder.mkdir(exist_ok=True)
        for shard in (*range(SHARDS), HELD_OUT_SHARD):
            write_shard(folder, shard, self.codec, make_memory_film)
        return read_shards(folder, range(SHARDS)), read_shards(folder, [HELD_OUT_SHARD])

    def advance(self, films: Batch) -> float:
        """Take one step; its loss."""
        batch = draw_batch(films, torch.Generator().manual_seed(self.seed * 10_000_000 + self.learner.step))
        errors = self.errors(self.learner.network, batch, [MIXES[number] for number in batch["mix"]])
        return self.learner.update(weighted(errors, batch["behind"]))

    def averaged(self) -> ColourMemory:
        """The networks with the moving average of the weights."""
        memory = ColourMemory()
        memory.load_state_dict(self.learner.average)
        return memory.eval().requires_grad_(False)

    @torch.no_grad()
    def held_out(self, memory: ColourMemory, films: Batch) -> dict[str, float]:
        """Losses on films that nothing is learnt from, by column of the log; the same batches every time."""
        found: dict[str, list[float]] = {name: [] for name in COLUMNS.split(",")[2:]}
        for number in range(HELD_OUT):
            batch = draw_batch(films, torch.Generator().manual_seed(number))
            behind = batch["behind"][:, None]
            for name, parts in TESTED.items():
                errors = self.errors(memory, batch, [parts] * BATCH)
                found[f"unseen_{name}"].append(errors.mean().item())
                shown = (errors * behind).sum() / (behind.sum() * errors.shape[1])
                found[f"behind_{name}"].append(shown.item())
        return {name: round(mean(values), 6) for name, values in found.items()}

    def run(self, minutes: float | None) -> bool:
        """Train until all steps are done, True, or `minutes` have passed, False."""
        learner = self.learner
        learnt, held_out = self.films()
        log = Journal(self.folder / "colour_memory.csv", COLUMNS, learner.step + 1)
        end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        losses = []
        while learner.step < STEPS:
            losses.append(self.advance(learnt))
            due = learner.step == STEPS or learner.step % SAVE_EVERY == 0
            if due or learner.step % LOG_EVERY == 0:
                tests = self.held_out(self.averaged(), held_out).values() if due else [""] * (2 * len(TESTED))
                row = learner.step, f"{mean(losses):.6f}", *tests
                log.write(*row)
                print(*row, flush=True)
                losses = []
            over = time.monotonic() >= end
            if due or over:
                learner.save(self.state)
            if over:
                return False
        return True

    def export(self, command: str) -> None:
        """Write the weights, and a JSON that says how they were made."""
        memory = self.averaged()
        write_memory(self.folder / WEIGHTS.name, memory)
        facts = {
            "command": command,
            "seed": self.seed,
            "steps": self.learner.step,
            "steps_planned": STEPS,
            "rate": RATE,
            "batch": BATCH,
            "films": len(self.films()[0]["colour"]),
            "parameters": {
                "video": sum(value.numel() for value in memory.video.parameters()),
                "dglm": sum(value.numel() for value in memory.dglm.parameters()),
            },
            "unseen": self.held_out(memory, self.films()[1]),
        }
        with write_whole(self.folder / f"{WEIGHTS.stem}.json") as part:
            part.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m everanimate_core.toy.learning.train_colour_memory",
        description="Train the colouring toy's memory of the video.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the training; one that is there goes on")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes (the same command goes on)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    try:
        check_limits(chosen.seed, chosen.minutes)
        prepared(chosen.out)
        training = Training(chosen.out, chosen.seed)
        if training.run(chosen.minutes):
            training.export(f"{parser.prog} --out DIR --seed {chosen.seed}")
    except ValueError as error:
        parser.error(str(error))
    except RunFailed as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
