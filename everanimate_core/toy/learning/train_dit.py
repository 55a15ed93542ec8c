"""Training of the toy's transformers: `everanimate train-toy --out DIR`.

One after another as tasks.py lists them, or those that --only names. DIR receives the films, and per network a state
to go on from (the same command resumes), a log, and at the end the weights with a JSON that says how they were made. A
network starts from the state of another one in DIR, or from the weights that are shipped. `ACCELERATE_USE_CPU=true
torchrun --nproc_per_node P -m everanimate_core train-toy` shares every batch among P processes.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from ...backends.wan_alignment import encode_driving, predict_velocity
from ...errors import InputError
from ...everanimate.flow import interpolate, shifted, velocity
from ...everanimate.perturbation import is_perturbed
from ...everanimate.restoration import TRAINING_SIGMAS, restorative_loss, training_pair
from ...files import clear_parts
from ...json_files import write_json
from ...runs.journal import Journal
from ..network.dit import load_dit, new_network, original_name
from ..network.engine import engine
from ..network.state import FOLDER, GEOMETRY, read_state, write_packed
from ..network.vae import ToyCodec, load_vae
from ..world.world import World
from .films import SHARD, grey_behind, make_film, make_lit_film, read_shards, write_shard
from .learner import Learner, check_limits, deadline
from .material import Batch, draw_batch
from .scores import first_chunk_psnr
from .tasks import TASKS, Task

BATCH, WARMUP = 8, 200
# Films of even and of wandering light; the shard behind them is held out, for the loss on what nothing was learnt from.
SHARDS, LIT_SHARDS = 52, 32
HELD_OUT = 8
COLUMNS = "step,loss,loss_unseen,psnr_unseen"
# The noise levels of the training are uniform under this shift (as released).
SHIFT = 5.0
LOG_EVERY, SAVE_EVERY = 50, 500
UNSEEN = range(20)


class Objective(nn.Module):
    """The loss of the velocity that a transformer answers: plain mean squared error, or restorative, as the task is."""

    def __init__(self, transformer: nn.Module, task: Task):
        super().__init__()
        self.transformer = transformer
        self.task = task

    def forward(self, batch: Batch, noise: Tensor, sigma: Tensor) -> Tensor:
        """The loss; noise like batch.clean, sigma [B]."""
        if self.task.schedule is None:
            x, target = interpolate(batch.clean, noise, sigma.view(-1, 1, 1, 1, 1)), velocity(batch.clean, noise)
        else:
            pair = training_pair(batch.clean, batch.drifted, noise, sigma, self.task.schedule)
            x, target = pair.state, pair.target
        driving = encode_driving(
            self.transformer, anchors=self.task.recipe.anchors, latents=GEOMETRY.latents, pose=batch.pose, face=None
        )
        text = x.new_zeros(len(x), 1, 1)
        state = torch.cat([x, batch.context], dim=1)
        v = predict_velocity(self.transformer, driving, state, 1000 * sigma, text, None).float()
        return (v - target).square().mean() if self.task.schedule is None else restorative_loss(v, target, sigma)


def draw_step(
    task: Task, seed: int, step: int, draw: Callable[[torch.Generator], Batch]
) -> tuple[Batch, Tensor, Tensor]:
    """Batch, noise and noise levels of a step: a function of seed and step, whatever the number of processes."""
    generator = torch.Generator().manual_seed(seed * 10_000_000 + step)
    batch = draw(generator)
    noise = torch.randn(batch.clean.shape, generator=generator)
    if task.schedule is None:
        return batch, noise, shifted(torch.rand(len(noise), generator=generator), SHIFT)
    sigma = TRAINING_SIGMAS[torch.randint(len(TRAINING_SIGMAS), (len(noise),), generator=generator)]
    hit = torch.tensor([is_perturbed(level, generator) for level in sigma.tolist()])
    return batch.drifted_where(hit & (task.schedule != "none")), noise, sigma


class Training:
    """One task in a folder, from where it was left to the end."""

    def __init__(self, task: Task, folder: Path, seed: int, accelerator: Accelerator, compiled: bool):
        self.task, self.folder, self.seed, self.accelerator = task, folder, seed, accelerator
        self.codec = ToyCodec(load_vae())
        transformer = new_network(seed)
        self.learner = Learner(
            transformer,
            task.steps,
            task.rate,
            WARMUP,
            task.decay,
            {"task": task.name, "seed": seed, "steps": task.steps},
            partial(accelerator.reduce, reduction="mean"),
        )
        if self.state.exists():
            self.learner.resume(self.state)
        elif task.after is not None:
            before = folder / f"{task.after}.state.safetensors"
            if before.exists():
                self.learner.start_from(before)
            else:
                shipped = read_state(FOLDER / f"{task.after}.safetensors")
                self.learner.start_with({name: shipped[original_name(name)] for name in self.learner.average})
        if compiled:
            for block in transformer.blocks:
                block.compile()
        self.objective = accelerator.prepare(Objective(transformer, task))

    @property
    def state(self) -> Path:
        """Where the training is kept."""
        return self.folder / f"{self.task.name}.state.safetensors"

    def material(self) -> tuple[Callable[[torch.Generator], Batch], Callable[[torch.Generator], Batch]]:
        """What a step draws its batch with, and the same of films held out; makes the films that are not there yet."""
        folder, shards, make = self.folder / "films", SHARDS, make_film
        if self.task.recipe.lit:
            folder, shards, make = self.folder / "films-lit", LIT_SHARDS, make_lit_film
        folder.mkdir(parents=True, exist_ok=True)
        for shard in range(self.accelerator.process_index, shards + 1, self.accelerator.num_processes):
            write_shard(folder, shard, self.codec, make)
        self.accelerator.wait_for_everyone()
        grey = self.codec.encode(grey_behind(World(0).frames([])))[0]
        learnt, held_out = (
            partial(draw_batch, self.task.recipe, read_shards(folder, part), grey, BATCH)
            for part in (range(shards), [shards])
        )
        return learnt, held_out

    def advance(self, draw: Callable[[torch.Generator], Batch]) -> float:
        """Take one step; the loss of this process's share of the batch."""
        batch, noise, sigma = draw_step(self.task, self.seed, self.learner.step, draw)
        share = BATCH // self.accelerator.num_processes
        own = slice(self.accelerator.process_index * share, (self.accelerator.process_index + 1) * share)
        return self.learner.update(self.objective(batch.part(own), noise[own], sigma[own]))

    def held_out(self, network: nn.Module, draw: Callable[[torch.Generator], Batch]) -> float:
        """The loss on batches of films that nothing is learnt from, the same ones every time."""
        objective = Objective(network, self.task)
        with torch.no_grad():
            return mean(objective(*draw_step(self.task, 0, number, draw)).item() for number in range(HELD_OUT))

    def averaged(self) -> nn.Module:
        """A network with the moving average of the weights."""
        network = new_network(self.seed)
        network.load_state_dict(self.learner.average, strict=False)
        return network.eval().requires_grad_(False)

    def unseen(self, network: nn.Module, seeds: range) -> list[float]:
        """PSNR in dB of the first chunk of the worlds of those seeds."""
        model = engine(network, self.codec)
        recipe = self.task.recipe
        return [first_chunk_psnr(model, seed, recipe.anchors, recipe.policy) for seed in seeds]

    def run(self, end: float) -> bool:
        """Train until all steps are done, True, or time.monotonic() of the main process has reached `end`, False."""
        main, learner = self.accelerator.is_main_process, self.learner
        draw, held_out = self.material()
        log = Journal(self.folder / f"{self.task.name}.csv", COLUMNS, learner.step + 1) if main else None
        losses = []
        while learner.step < self.task.steps:
            losses.append(self.advance(draw))
            done = learner.step == self.task.steps
            due = done or learner.step % SAVE_EVERY == 0
            if log is not None and (due or learner.step % LOG_EVERY == 0):
                loss = psnr = ""
                if due:
                    network = self.averaged()
                    loss = f"{self.held_out(network, held_out):.6f}"
                    psnr = f"{mean(self.unseen(network, UNSEEN[:4])):.3f}"
                row = learner.step, f"{mean(losses):.6f}", loss, psnr
                log.write(*row)
                print(*row, flush=True)
                losses = []
            # Time is looked at where all processes do so at the same step.
            if due:
                if main:
                    learner.save(self.state)
                if self._over(end):
                    return done
        return True

    def _over(self, end: float) -> bool:
        """Whether the time of the main process is over."""
        late = torch.tensor([float(time.monotonic() >= end)])
        return bool(broadcast(late)[0])

    def export(self, command: str) -> dict:
        """Write the weights in half precision, with a JSON about them; what the JSON says."""
        path = self.folder / f"{self.task.name}.safetensors"
        write_packed(path, {original_name(name): value for name, value in self.learner.average.items()})
        # What the file holds is measured, not what was rounded to it.
        values = self.unseen(load_dit(path), UNSEEN)
        facts = {
            "command": command,
            "seed": self.seed,
            "after": self.task.after,
            "steps": self.task.steps,
            "rate": self.task.rate,
            "batch": BATCH,
            "films": (LIT_SHARDS if self.task.recipe.lit else SHARDS) * SHARD,
            "recipe": asdict(self.task.recipe),
            "target": self.task.schedule,
            "parameters": sum(value.numel() for value in self.learner.average.values()),
            "unseen_seeds": [UNSEEN.start, UNSEEN.stop - 1],
            "psnr_mean": round(mean(values), 3),
            "psnr_min": round(min(values), 3),
            "psnr": [round(value, 3) for value in values],
        }
        write_json(path.with_suffix(".json"), facts)
        return facts


def train_toy(folder: Path, seed: int, minutes: float | None, compiled: bool, only: Sequence[str] = ()) -> None:
    """Train all networks in `folder`, or those named, going on from what is there, or for `minutes`.

    Raises ValueError as check_limits, and for a name that is none.
    """
    check_limits(seed, minutes)
    names = [task.name for task in TASKS]
    for name in only:
        if name not in names:
            raise InputError("only", f"must be of {', '.join(names)}", "baseline", name)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    if accelerator.is_main_process:
        for place in (folder, folder / "films", folder / "films-lit"):
            clear_parts(place)
    accelerator.wait_for_everyone()
    end = deadline(minutes)
    for task in TASKS:
        if only and task.name not in only:
            continue
        training = Training(task, folder, seed, accelerator, compiled)
        if not training.run(end):
            return
        if accelerator.is_main_process:
            command = f"everanimate train-toy --out DIR --seed {seed} --only {task.name}"
            print(json.dumps(training.export(command)))
