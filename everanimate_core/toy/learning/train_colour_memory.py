"""Training of the colouring toy's memory: `python -m everanimate_core.toy.learning.train_colour_memory --out DIR`.

First the video model, which learns to tell what it sees, as Video-XL had learnt before LongAnimation took it: in every
beacon, the colour of the clothes in its frame, and whether they are seen from behind. Then the DGLM, over video model,
SketchDiT and base as they stand. What it can be good for is the colour of clothes behind, which nothing but the frames
so far can tell. DIR receives the films, a state of each part to go on from (the same command resumes), a log of each,
and at the end the weights with a JSON that says how they were made.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from ...backends.cog_codec import CogCodec
from ...backends.cog_networks import PATCH_TIME
from ...json_files import write_json
from ...longanimation.dglm import GlobalLocalMemory
from ...longanimation.dpm import TRAIN_STEPS
from ...longanimation.prompt import PREFIX, SUFFIX
from ...longanimation.video_memory import VideoModel
from ...runs.store import RunFailed
from ..network.colour_dit import load_base, load_sketch
from ..network.colour_memory import VIDEO, WEIGHTS, ColourMemory, new_memory, write_memory
from ..network.colour_state import SETTINGS
from ..network.colour_vae import load_vae
from .colour_memory_films import make_memory_film
from .films import SHARD, read_shards, write_shard
from .learner import Learner, check_limits, deadline
from .train_colour import errors_of
from .train_vae import prepared

WARMUP, DECAY = 50, 0.99
# Of the video model: steps, highest rate, and films of a step.
TELL_STEPS, TELL_RATE, TELL_BATCH = 800, 2e-3, 8
# How often a film is its past, and not its last frames alone.
PAST = 0.7
# The same of the DGLM.
STEPS, RATE, BATCH = 1200, 2e-3, 16
# How much more the cells count that show clothes from behind: they are few, and all that memory can tell.
WEIGHT = 4.0
# What the memory of a film is made of, drawn anew for each: one set of weights serves all rows of the ablation. A
# window without memory does not ask the DGLM, so that nothing can be learnt from one.
PARTS = ("past", "recent")
MIXES = (("past",), ("recent",), PARTS)
# Shards of clips that show clothes from behind; those of clips that begin anywhere, from which the DGLM alone learns,
# twice as often; the shard that is held out, and how many of its batches are tested with.
SHARDS, ANYWHERE = (0, 1, 2, 3, 4), (5, 6, 5, 6)
HELD_OUT_SHARD, HELD_OUT = 12, 6
LOG_EVERY, SAVE_EVERY = 50, 200
# What is tested on films that nothing is learnt from: the loss everywhere, and where clothes are seen from behind.
TESTED = {"none": (), "local": ("recent",), "global": ("past",), "both": PARTS}

Batch = dict[str, Tensor]


class Teller(nn.Module):
    """A video model with what reads its beacons: of the values a colour, of the keys whether clothes are seen from
    behind."""

    def __init__(self, video: VideoModel):
        super().__init__()
        self.video = video
        read = len(VIDEO.language.read) * VIDEO.language.kv_width
        self.value, self.key = nn.Linear(read, 3), nn.Linear(read, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Of crops [n, S, S, 3] uint8: colours [n, 2, 3] by the upper and the lower beacon, and what is 1 from behind
        and 0 from the front, [n, 2]."""
        beacons = self.video.memory(crops)[:, :, len(PREFIX) : -len(SUFFIX)]
        keys, values = beacons.transpose(1, 2).flatten(2)
        return self.value(values).unflatten(0, (-1, 2)), self.key(keys).view(-1, 2)


def draw_told(films: Batch, generator: torch.Generator, changed: bool = True) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Crops [n, S, S, 3] of some films, the colours [n, 2, 3] that they should tell, and whether they show the clothes
    from behind, [n]. changed: with channels exchanged and inverted at random, which makes new colours of a few films.
    """
    drawn = []
    for number in torch.randint(len(films["past"]), (TELL_BATCH,), generator=generator).tolist():
        part = PARTS[0] if torch.rand(1, generator=generator) < PAST else PARTS[1]
        crops, turned = films[part][number], films[f"{part}_turned"][number]
        colours = films["colours"][number].float()
        if changed:
            order, inverted = torch.randperm(3, generator=generator), torch.rand(3, generator=generator) < 0.5
            crops, colours = crops[..., order], colours[:, order]
            crops, colours = torch.where(inverted, 255 - crops, crops), torch.where(inverted, 1 - colours, colours)
        drawn.append((crops, torch.where(turned[:, None, None], colours[2], colours[:2]), turned))
    return drawn


def told_errors(teller: Teller, batch: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """[3] mean squared errors: of the colours, of those from behind, and of which side is seen."""
    found = []
    for crops, colours, turned in batch:
        colour, side = teller(crops)
        errors = (colour - colours).square().mean(dim=-1)
        behind = errors[turned].sum() / max(1, 2 * int(turned.sum()))
        found.append(torch.stack([errors.mean(), behind, (side - turned[:, None].float()).square().mean()]))
    return torch.stack(found).mean(dim=0)


def draw_batch(films: Batch, generator: torch.Generator) -> Batch:
    """Some films by name, timesteps [B], noise, and in `mix` [B] what of MIXES their memories are made of.

    pairs [5]: the places in time of their pairs of slots: the clip stands somewhere in a window. Of two timesteps each
    has the later one, as in train_colour.
    """

    def drawn(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=generator)

    run = films["colour"].shape[2] // PATCH_TIME - 1
    first = 1 + int(drawn((SETTINGS.window_frames + 7) // 8 - run))
    chosen = drawn(len(films["colour"]), BATCH)
    names = ("colour", "lines", "behind", *(f"{part}_memory" for part in PARTS))
    batch = {name: films[name][chosen].float() for name in names}
    timestep = drawn(TRAIN_STEPS, 2, BATCH).amax(dim=0)
    return batch | {
        "pairs": torch.tensor([0, *range(first, first + run)]),
        "timestep": timestep,
        "noise": torch.randn(batch["colour"].shape, generator=generator),
        "mix": drawn(len(MIXES), BATCH),
    }


def corrected(dglm: GlobalLocalMemory, batch: Batch, mixes: list[tuple[str, ...]], control: Tensor) -> Tensor:
    """The control [B, tokens, dim] of films whose memories are made of those parts."""
    rows = []
    for number, (parts, row) in enumerate(zip(mixes, control.split(1), strict=True)):
        if parts:
            memory = torch.cat([batch[f"{part}_memory"][number] for part in parts], 2)
            row = row + dglm(dglm.project(memory), row)
        rows.append(row)
    return torch.cat(rows)


def weighted(errors: Tensor, behind: Tensor) -> Tensor:
    """The mean of errors [B, 16, T, h, w], in which cells that show clothes from behind [B, T, h, w] count more."""
    weights = (1 + WEIGHT * behind)[:, None].expand_as(errors)
    return (errors * weights).sum() / weights.sum()


class Part:
    """One of the two trainings in a folder, from where it was left to the end; a step is a function of the seed and
    what was before."""

    name: str
    # What is tested now and then.
    columns: tuple[str, ...]

    def __init__(self, folder: Path, network: nn.Module, seed: int, steps: int, rate: float):
        self.folder, self.seed = folder, seed
        facts = {"part": self.name, "seed": seed, "steps": steps}
        self.learner = Learner(network, steps, rate, WARMUP, DECAY, facts)
        if self.state.exists():
            self.learner.resume(self.state)

    @property
    def state(self) -> Path:
        """Where the training is kept."""
        return self.folder / f"{self.name}.state.safetensors"

    def loss(self, films: Batch, generator: torch.Generator) -> Tensor:
        """Of the next step."""
        raise NotImplementedError

    def tests(self, films: Batch) -> list[float]:
        """The values of `columns`, on films that nothing is learnt from; the same batches every time."""
        raise NotImplementedError

    def advance(self, films: Batch) -> float:
        """Take one step; its loss."""
        generator = torch.Generator().manual_seed(self.seed * 10_000_000 + self.learner.step)
        return self.learner.update(self.loss(films, generator))

    def run(self, learnt: Batch, held_out: Batch, end: float) -> bool:
        """Train until all steps are done, True, or time.monotonic() has reached `end`, False."""
        print(self.name, flush=True)
        log, columns = self.folder / f"{self.name}.csv", ",".join(["step", "loss", *self.columns])
        advance, tests = partial(self.advance, learnt), partial(self.tests, held_out)
        return self.learner.train(advance, tests, log, columns, self.state, (LOG_EVERY, SAVE_EVERY), end)


class Telling(Part):
    """The video model learns to tell."""

    name, columns = "colour_video", ("colour_unseen", "behind_unseen", "side_unseen")

    def __init__(self, folder: Path, seed: int):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            teller = Teller(new_memory(seed).video)
        super().__init__(folder, teller, seed, TELL_STEPS, TELL_RATE)

    def loss(self, films: Batch, generator: torch.Generator) -> Tensor:
        """See Part; colours from behind count twice."""
        return told_errors(self.learner.network, draw_told(films, generator)).sum()

    @torch.no_grad()
    def tests(self, films: Batch) -> list[float]:
        """See Part."""
        batches = (draw_told(films, torch.Generator().manual_seed(number), False) for number in range(HELD_OUT))
        errors = torch.stack([told_errors(self.learner.network, batch) for batch in batches]).mean(dim=0)
        return [round(value, 6) for value in errors.tolist()]


class Remembering(Part):
    """The DGLM learns to read what a video model keeps; films have `past_memory` and `recent_memory`."""

    name = "colour_memory"
    columns = tuple(f"{kind}_{name}" for kind in ("unseen", "behind") for name in TESTED)

    def __init__(self, folder: Path, seed: int):
        self.base, self.sketch = load_base(), load_sketch()
        super().__init__(folder, new_memory(seed).dglm, seed, STEPS, RATE)

    def errors(self, dglm: GlobalLocalMemory, batch: Batch, mixes: list[tuple[str, ...]]) -> Tensor:
        """Squared errors of v, [B, 16, T, h, w]."""
        correct: Callable[[Tensor], Tensor] = lambda control: corrected(dglm, batch, mixes, control)  # noqa: E731
        return errors_of(self.base, self.sketch, SETTINGS.blocks, batch, correct)

    def loss(self, films: Batch, generator: torch.Generator) -> Tensor:
        """See Part."""
        batch = draw_batch(films, generator)
        errors = self.errors(self.learner.network, batch, [MIXES[number] for number in batch["mix"]])
        return weighted(errors, batch["behind"])

    def averaged(self) -> GlobalLocalMemory:
        """The DGLM with the moving average of its weights."""
        dglm = new_memory(self.seed).dglm
        dglm.load_state_dict(self.learner.average)
        return dglm.eval().requires_grad_(False)

    @torch.no_grad()
    def tests(self, films: Batch) -> list[float]:
        """See Part."""
        found: dict[str, list[float]] = {name: [] for name in self.columns}
        dglm = self.averaged()
        for number in range(HELD_OUT):
            batch = draw_batch(films, torch.Generator().manual_seed(number))
            behind = batch["behind"][:, None]
            for name, parts in TESTED.items():
                errors = self.errors(dglm, batch, [parts] * BATCH)
                found[f"unseen_{name}"].append(errors.mean().item())
                shown = (errors * behind).sum() / (behind.sum() * errors.shape[1])
                found[f"behind_{name}"].append(shown.item())
        return [round(mean(values), 6) for values in found.values()]


def films_in(folder: Path, shards: tuple[int, ...]) -> Batch:
    """The films of those shards; made if they are not there."""
    folder.mkdir(exist_ok=True)
    codec = CogCodec(load_vae())
    for shard in shards:
        write_shard(folder, shard, codec, make_memory_film)
    return read_shards(folder, shards)


@torch.no_grad()
def with_memories(films: Batch, video: VideoModel) -> Batch:
    """The films, and what a video model keeps of them: [films, 2, 3, N, kv] for the past and for the last frames."""
    memories = {f"{part}_memory": torch.stack([video.memory(crops) for crops in films[part]]) for part in PARTS}
    return films | memories


def train(folder: Path, seed: int, minutes: float | None, command: str) -> None:
    """Train both, and write the weights; `minutes` later at the latest, stop."""
    end = deadline(minutes)
    films = folder / "films"
    told, held_out = films_in(films, SHARDS), films_in(films, (HELD_OUT_SHARD,))
    telling = Telling(folder, seed)
    if not telling.run(told, held_out, end):
        return
    video = telling.learner.network.video.eval().requires_grad_(False)
    remembering = Remembering(folder, seed)
    learnt, held_out = (
        with_memories(films_in(films, shards), video) for shards in ((*SHARDS, *ANYWHERE), (HELD_OUT_SHARD,))
    )
    if not remembering.run(learnt, held_out, end):
        return
    memory = ColourMemory()
    memory.video.load_state_dict(video.state_dict())
    memory.dglm.load_state_dict(remembering.averaged().state_dict())
    write_memory(folder / WEIGHTS.name, memory)
    facts = {
        "command": command,
        "seed": seed,
        **{
            part.name: {
                "steps": part.learner.steps,
                "rate": part.learner.rate,
                "parameters": sum(value.numel() for value in network.parameters()),
                "unseen": dict(zip(part.columns, part.tests(held_out), strict=True)),
            }
            for part, network in ((telling, memory.video), (remembering, memory.dglm))
        },
        "films": SHARD * len({*SHARDS, *ANYWHERE}),
    }
    write_json(folder / f"{WEIGHTS.stem}.json", facts)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m everanimate_core.toy.learning.train_colour_memory",
        description="Train the colouring toy's memory of the video.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the training; one that is there goes on")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes (the same command goes on)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, films and noise (default: 0)")
    chosen = parser.parse_args(arguments)
    try:
        check_limits(chosen.seed, chosen.minutes)
        prepared(chosen.out)
        train(chosen.out, chosen.seed, chosen.minutes, f"{parser.prog} --out DIR --seed {chosen.seed}")
    except ValueError as error:
        parser.error(str(error))
    except RunFailed as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
