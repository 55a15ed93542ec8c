"""Training of the toy's transformers: `everanimate train-toy --out DIR`.

First the baseline, in the way of Wan-Animate, from nothing; then, from the baseline's weights, the one that reads
EverAnimate's memory. DIR receives the films, and per network a state to go on from (the same command resumes), a log,
and at the end the weights in half precision with a JSON that says how they were made. `ACCELERATE_USE_CPU=true torchrun
--nproc_per_node P -m everanimate_core train-toy` shares every batch among P processes.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from ...backends.wan_alignment import encode_driving, predict_velocity
from ...everanimate.context import METHOD, ContextPolicy
from ...everanimate.flow import interpolate, shifted, velocity
from ...files import clear_parts, write_whole
from ...runs.journal import Journal
from ...tensor_files import write_tensors
from ..network.dit import load_dit, new_network, original_name
from ..network.engine import engine
from ..network.state import GEOMETRY
from ..network.vae import ToyCodec, load_vae
from ..world.world import World
from .films import SHARD, grey_behind, read_shards, write_shard
from .learner import COLUMNS, Learner, check_limits
from .material import WAN_ANIMATE, Batch, baseline_batch, memory_batch
from .scores import first_chunk_psnr

BATCH, WARMUP, DECAY = 8, 200, 0.999
SHARDS = 52
# The noise levels of the training are uniform under this shift (as released).
SHIFT = 5.0
LOG_EVERY, SAVE_EVERY = 50, 500
UNSEEN = range(20)


@dataclass(frozen=True)
class Task:
    """A network to be made. anchors: N. rate: the highest learning rate. after: the network that it starts from."""

    name: str
    anchors: int
    policy: ContextPolicy
    steps: int
    rate: float
    after: str | None = None


TASKS = (
    Task("baseline", 1, WAN_ANIMATE, steps=26_000, rate=1.5e-3),
    Task("memory", GEOMETRY.anchors, METHOD, steps=6_000, rate=8e-4, after="baseline"),
)


class Objective(nn.Module):
    """Flow matching: mean squared error of the velocity that a transformer sees at (1 - sigma) clean + sigma noise."""

    def __init__(self, transformer: nn.Module, anchors: int):
        super().__init__()
        self.transformer = transformer
        self.anchors = anchors

    def forward(self, batch: Batch, noise: Tensor, sigma: Tensor) -> Tensor:
        """The loss; noise like batch.clean, sigma [B]."""
        x = interpolate(batch.clean, noise, sigma.view(-1, 1, 1, 1, 1))
        driving = encode_driving(
            self.transformer, anchors=self.anchors, latents=GEOMETRY.latents, pose=batch.pose, face=None
        )
        text = x.new_zeros(len(x), 1, 1)
        state = torch.cat([x, batch.context], dim=1)
        v = predict_velocity(self.transformer, driving, state, 1000 * sigma, text, None)
        return (v.float() - velocity(batch.clean, noise)).square().mean()


def draw_step(seed: int, step: int, draw: Callable[[torch.Generator], Batch]) -> tuple[Batch, Tensor, Tensor]:
    """Batch, noise and noise levels of a step: a function of seed and step, whatever the number of processes."""
    generator = torch.Generator().manual_seed(seed * 10_000_000 + step)
    batch = draw(generator)
    noise = torch.randn(batch.clean.shape, generator=generator)
    return batch, noise, shifted(torch.rand(len(noise), generator=generator), SHIFT)


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
            DECAY,
            {"task": task.name, "seed": seed, "steps": task.steps},
            partial(accelerator.reduce, reduction="mean"),
        )
        if self.state.exists():
            self.learner.resume(self.state)
        elif task.after is not None:
            self.learner.start_from(folder / f"{task.after}.state.safetensors")
        if compiled:
            for block in transformer.blocks:
                block.compile()
        self.objective = accelerator.prepare(Objective(transformer, task.anchors))

    @property
    def state(self) -> Path:
        """Where the training is kept."""
        return self.folder / f"{self.task.name}.state.safetensors"

    def material(self) -> Callable[[torch.Generator], Batch]:
        """What a step draws its batch with; makes the films that are not there yet."""
        folder = self.folder / "films"
        folder.mkdir(parents=True, exist_ok=True)
        for shard in range(self.accelerator.process_index, SHARDS, self.accelerator.num_processes):
            write_shard(folder, shard, self.codec)
        self.accelerator.wait_for_everyone()
        films = read_shards(folder, SHARDS)
        if self.task.policy is METHOD:
            return partial(memory_batch, films, BATCH)
        grey = self.codec.encode(grey_behind(World(0).frames([])))[0]
        return partial(baseline_batch, films, grey, BATCH)

    def advance(self, draw: Callable[[torch.Generator], Batch]) -> float:
        """Take one step; the loss of this process's share of the batch."""
        batch, noise, sigma = draw_step(self.seed, self.learner.step, draw)
        share = BATCH // self.accelerator.num_processes
        own = slice(self.accelerator.process_index * share, (self.accelerator.process_index + 1) * share)
        return self.learner.update(self.objective(batch.part(own), noise[own], sigma[own]))

    def averaged(self) -> nn.Module:
        """A network with the moving average of the weights."""
        network = new_network(self.seed)
        network.load_state_dict(self.learner.average, strict=False)
        return network.eval().requires_grad_(False)

    def unseen(self, network: nn.Module, seeds: range) -> list[float]:
        """PSNR in dB of the first chunk of the worlds of those seeds."""
        model = engine(network, self.codec)
        return [first_chunk_psnr(model, seed, self.task.anchors, self.task.policy) for seed in seeds]

    def run(self, minutes: float | None) -> bool:
        """Train until all steps are done, True, or `minutes` have passed, False."""
        main, learner = self.accelerator.is_main_process, self.learner
        draw = self.material()
        log = Journal(self.folder / f"{self.task.name}.csv", COLUMNS, learner.step + 1) if main else None
        end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        losses = []
        while learner.step < self.task.steps:
            losses.append(self.advance(draw))
            done = learner.step == self.task.steps
            due = done or learner.step % SAVE_EVERY == 0
            if log is not None and (due or learner.step % LOG_EVERY == 0):
                unseen = f"{mean(self.unseen(self.averaged(), UNSEEN[:4])):.3f}" if due else ""
                row = learner.step, f"{mean(losses):.6f}", unseen
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
        weights = {original_name(name): value.half() for name, value in self.learner.average.items()}
        write_tensors(path, weights)
        # What the file holds is measured, not what was rounded to it.
        values = self.unseen(load_dit(path), UNSEEN)
        facts = {
            "command": command,
            "seed": self.seed,
            "steps": self.task.steps,
            "batch": BATCH,
            "films": SHARDS * SHARD,
            "parameters": sum(value.numel() for value in weights.values()),
            "unseen_seeds": [UNSEEN.start, UNSEEN.stop - 1],
            "psnr_mean": round(mean(values), 3),
            "psnr_min": round(min(values), 3),
            "psnr": [round(value, 3) for value in values],
        }
        with write_whole(path.with_suffix(".json")) as part:
            part.write_text(json.dumps(facts, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n")
        return facts


def train_toy(folder: Path, seed: int, minutes: float | None, compiled: bool) -> None:
    """Train both networks in `folder`, going on from what is there, or for `minutes`; ValueError as check_limits."""
    check_limits(seed, minutes)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    if accelerator.is_main_process:
        clear_parts(folder)
        clear_parts(folder / "films")
    accelerator.wait_for_everyone()
    end = time.monotonic() + 60 * minutes if minutes is not None else None
    for task in TASKS:
        training = Training(task, folder, seed, accelerator, compiled)
        if not training.run(None if end is None else (end - time.monotonic()) / 60):
            return
        if accelerator.is_main_process:
            print(json.dumps(training.export(f"everanimate train-toy --out DIR --seed {seed}")))
