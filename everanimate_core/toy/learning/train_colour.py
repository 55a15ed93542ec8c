"""Training of the colouring toy's networks: `python -m everanimate_core.toy.learning.train_colour --out DIR`.

First the base, which makes a film of its reference and knows no lines; then, over it as it stands, a SketchDiT for each
pattern of blocks, all alike but for the pattern. DIR receives the films, and per network a state to go on from (the
same command resumes), a log, and at the end the weights with a JSON that says how they were made. With `--after OTHER`
a network begins with the weights that an earlier training left in OTHER.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from ...backends.cog_codec import CogCodec
from ...backends.cog_networks import PATCH_TIME, Rotary, predict, rotary_embedding
from ...backends.diffusers_cog import DiffusersCog
from ...json_files import write_json
from ...longanimation.control import chosen_blocks, controlled
from ...longanimation.dpm import TRAIN_STEPS, trained_alpha_bars
from ...longanimation.method import long_animation
from ...method import each_made
from ...runs.store import RunFailed
from ..network.colour_dit import load_base, load_sketch, new_network, write_network
from ..network.colour_state import BASE_WEIGHTS, NO_TEXT, SETTINGS
from ..network.colour_vae import SCALE, load_vae
from ..network.engine import WorldFrames
from ..world.raster import SIZE
from ..world.world import World
from .colour_films import make_colour_film, reference_slots
from .films import read_shards, write_shard
from .learner import Learner, check_limits, deadline
from .scores import psnr
from .train_vae import prepared

WARMUP = 200
# The network takes slots in pairs. A batch shows the first pair of each film, which the reference is in, and a run of
# so many behind it; it has as many films as make about PAIRS pairs. Short runs cost little, and each film tells another
# figure and background; long ones are what a window is.
RUNS, PAIRS = (1, 4, 10), 44
# Shards of films to learn from, the one that is held out, and how many of its batches are tested with.
SHARDS, HELD_OUT_SHARD, HELD_OUT = 6, 12, 24
COLUMNS = "step,loss,loss_unseen,psnr_unseen"
LOG_EVERY, SAVE_EVERY = 50, 500
UNSEEN = range(8)


@dataclass(frozen=True)
class Task:
    """A network to be made. blocks: behind which of the base's blocks the lines are added; None for the base itself."""

    name: str
    blocks: str | None
    steps: int
    rate: float
    decay: float = 0.998


BASE = Task("colour_base", None, 3500, 2e-3)
SKETCHES = tuple(
    Task(f"colour_{pattern.replace('-', '_').replace(' ', '_')}", pattern, 2400, 2e-3)
    for pattern in ("skip-layer", "full", "former half", "latter half")
)
TASKS = (BASE, *SKETCHES)


def draw_batch(films: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Some films, by name as [B, 16, T, h, w] float32, their timesteps [B] and noise like them.

    pairs [T / 2]: which pairs of their slots are shown. A timestep is the later of two, so that late ones come more
    often: the more noise, the more the lines can tell.
    """

    def drawn(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=generator)

    run = RUNS[int(drawn(len(RUNS)))]
    count = PAIRS // (1 + run)
    first = 1 + int(drawn(films["colour"].shape[2] // PATCH_TIME - run))
    pairs = torch.tensor([0, *range(first, first + run)])
    chosen = drawn(len(films["colour"]), count)
    batch = {name: shown(value[chosen], pairs).float() for name, value in films.items()}
    timestep, noise = drawn(TRAIN_STEPS, 2, count).amax(dim=0), torch.randn(batch["colour"].shape, generator=generator)
    return batch | {"pairs": pairs, "timestep": timestep, "noise": noise}


def shown(latents: Tensor, pairs: Tensor) -> Tensor:
    """Those pairs of the slots of latents [B, C, T, h, w]."""
    return latents.unflatten(2, (-1, PATCH_TIME))[:, :, pairs].flatten(2, 3)


def rotary_of(base: nn.Module, state: Tensor, pairs: Tensor) -> Rotary:
    """Cosines and sines of a state [B, T, C, h, w] whose slots are those pairs of a longer one."""
    whole = state.new_empty((1, PATCH_TIME * (int(pairs[-1]) + 1), *state.shape[2:]))
    cosines, sines = (values.unflatten(0, (int(pairs[-1]) + 1, -1)) for values in rotary_embedding(base, whole))
    return cosines[pairs].flatten(0, 1), sines[pairs].flatten(0, 1)


def loss_of(base: nn.Module, sketch: nn.Module | None, blocks: str | None, batch: dict[str, Tensor]) -> Tensor:
    """Mean squared error of v, of the base alone or steered by lines."""
    return errors_of(base, sketch, blocks, batch).mean()


def errors_of(
    base: nn.Module,
    sketch: nn.Module | None,
    blocks: str | None,
    batch: dict[str, Tensor],
    correct: Callable[[Tensor], Tensor] = lambda control: control,
) -> Tensor:
    """Squared errors of v, [B, 16, T, h, w]; see `loss_of`. correct: what becomes of the control [B, tokens, dim]."""
    clean, noise, timestep = SCALE * batch["colour"], batch["noise"], batch["timestep"]
    level = trained_alpha_bars().float()[timestep].view(-1, 1, 1, 1, 1)
    x, v = level.sqrt() * clean + (1 - level).sqrt() * noise, level.sqrt() * noise - (1 - level).sqrt() * clean
    state, reference, lines = (
        latents.transpose(1, 2) for latents in (x, reference_slots(batch["colour"]), SCALE * batch["lines"])
    )
    text, rotary = NO_TEXT.expand(len(x), -1, -1), rotary_of(base, state, batch["pairs"])
    if sketch is None or blocks is None:
        answer = predict(base, state, reference, text, timestep, rotary)
    else:
        control = correct(sketch(torch.cat([lines, reference], dim=2), text, timestep, rotary))
        chosen = chosen_blocks(blocks, len(base.transformer_blocks))
        with controlled(base.transformer_blocks, chosen, control, SETTINGS.strength):
            answer = predict(base, state, reference, text, timestep, rotary)
    return (answer.transpose(1, 2) - v).square()


def begin_as_base(sketch: nn.Module, base: nn.Module) -> None:
    """Give a SketchDiT the weights of the base's first blocks, as a ControlNet begins; what leads out stays zero."""
    own = sketch.state_dict()
    sketch.load_state_dict({**own, **{name: value for name, value in base.state_dict().items() if name in own}})


class Training:
    """One task in a folder, from where it was left to the end; a step is a function of the seed and what was before."""

    def __init__(self, task: Task, folder: Path, seed: int, after: Path | None = None):
        self.task, self.folder, self.seed, self.after = task, folder, seed, after
        self.codec = CogCodec(load_vae())
        self.network = new_network(task.blocks is not None, seed)
        if task.blocks is not None:
            own = folder / BASE_WEIGHTS.name
            self.base = load_base(own if own.exists() else BASE_WEIGHTS)
            begin_as_base(self.network, self.base)
        if after is not None:
            load = load_base if task.blocks is None else load_sketch
            self.network.load_state_dict(load(after / f"{task.name}.safetensors").state_dict())
        facts = {"task": task.name, "seed": seed, "steps": task.steps}
        self.learner = Learner(self.network, task.steps, task.rate, WARMUP, task.decay, facts)
        if self.state.exists():
            self.learner.resume(self.state)

    @property
    def state(self) -> Path:
        """Where the training is kept."""
        return self.folder / f"{self.task.name}.state.safetensors"

    def loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The loss of the network, or of the base that it steers."""
        if self.task.blocks is None:
            return loss_of(network, None, None, batch)
        return loss_of(self.base, network, self.task.blocks, batch)

    def films(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Those to learn from, and those held out; made if they are not there."""
        folder = self.folder / "films"
        folder.mkdir(exist_ok=True)
        for shard in (*range(SHARDS), HELD_OUT_SHARD):
            write_shard(folder, shard, self.codec, make_colour_film)
        return read_shards(folder, range(SHARDS)), read_shards(folder, [HELD_OUT_SHARD])

    def advance(self, films: dict[str, Tensor]) -> float:
        """Take one step; its loss."""
        generator = torch.Generator().manual_seed(self.seed * 10_000_000 + self.learner.step)
        return self.learner.update(self.loss(self.network, draw_batch(films, generator)))

    def averaged(self) -> nn.Module:
        """A network with the moving average of the weights."""
        network = new_network(self.task.blocks is not None, self.seed)
        network.load_state_dict(self.learner.average)
        return network.eval().requires_grad_(False)

    @torch.no_grad()
    def held_out(self, network: nn.Module, films: dict[str, Tensor]) -> float:
        """The loss on films that nothing is learnt from, the same batches every time."""
        batches = (draw_batch(films, torch.Generator().manual_seed(number)) for number in range(HELD_OUT))
        return mean(self.loss(network, batch).item() for batch in batches)

    def unseen(self, network: nn.Module, seeds: range) -> list[float]:
        """PSNR in dB of the first window of the worlds of those seeds, in colours of their references."""
        if self.task.blocks is None:
            return []
        model = DiffusersCog(self.base, network, self.codec, SCALE, NO_TEXT)
        return [first_window_psnr(model, seed, self.task.blocks) for seed in seeds]

    def run(self, end: float) -> bool:
        """Train until all steps are done, True, or time.monotonic() has reached `end`, False."""
        learnt, held_out = self.films()

        def tests() -> list[str]:
            network = self.averaged()
            scores = self.unseen(network, UNSEEN[:2])
            return [f"{self.held_out(network, held_out):.6f}", f"{mean(scores):.3f}" if scores else ""]

        print(self.task.name, flush=True)
        log, every = self.folder / f"{self.task.name}.csv", (LOG_EVERY, SAVE_EVERY)
        return self.learner.train(partial(self.advance, learnt), tests, log, COLUMNS, self.state, every, end)

    def export(self, command: str) -> None:
        """Write the weights, and a JSON that says how they were made."""
        network = self.averaged()
        write_network(self.folder / f"{self.task.name}.safetensors", network)
        scores = self.unseen(network, UNSEEN)
        before = None
        if self.after is not None:
            before = json.loads((self.after / f"{self.task.name}.json").read_text(encoding="utf-8"))
        facts = {
            "after": before,
            "command": command,
            "task": asdict(self.task),
            "seed": self.seed,
            "parameters": sum(value.numel() for value in network.parameters()),
            "unseen_seeds": [UNSEEN.start, UNSEEN.stop - 1],
            "psnr": [round(score, 3) for score in scores],
        }
        write_json(self.folder / f"{self.task.name}.json", facts)


def first_window_psnr(model: DiffusersCog, seed: int, blocks: str) -> float:
    """PSNR in dB of the first window of the world of that seed, steered behind these blocks, against the truth."""
    world, settings = World(seed), replace(SETTINGS, blocks=blocks)
    frames = settings.window_frames
    method = long_animation(WorldFrames(world.lineart, frames), world.reference()[None], settings, SIZE, SIZE)
    sample = partial(model.sample_window, settings=settings)
    made = next(each_made(method, sample, model.codec))
    return psnr(made.frames, world.frames(range(frames)))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m everanimate_core.toy.learning.train_colour", description="Train the colouring toy's networks."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the training; one that is there goes on")
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="these networks alone")
    parser.add_argument("--after", type=Path, help="folder of an earlier training, whose weights are begun with")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes (the same command goes on)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, films and noise (default: 0)")
    chosen = parser.parse_args(arguments)
    try:
        check_limits(chosen.seed, chosen.minutes)
        prepared(chosen.out)
        end = deadline(chosen.minutes)
        for task in TASKS:
            if chosen.only is None or task.name in chosen.only:
                training = Training(task, chosen.out, chosen.seed, chosen.after)
                if not training.run(end):
                    return
                more = "" if chosen.after is None else " --after OTHER"
                training.export(f"{parser.prog} --out DIR --only {task.name} --seed {chosen.seed}{more}")
    except ValueError as error:
        parser.error(str(error))
    except RunFailed as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
