"""Training of the toy VAE: `python -m everanimate_core.toy.learning.train_vae --out DIR [--minutes M] [--seed 0]`.

DIR receives state.safetensors (to go on from: the same command resumes), log.csv, and at the end vae.safetensors in
half precision with vae.json, which says how it was made and how good it is.
"""

import argparse
import json
from collections.abc import Iterable
from math import log10
from pathlib import Path
from random import Random
from statistics import mean
from typing import Protocol

import torch
from torch import Tensor

from ...files import clear_parts
from ...json_files import write_json
from ...plan import latent_frames
from ...runs.store import RunFailed
from ...tensor_files import write_tensors
from ..network.vae import LATENT_CHANNELS, ToyCodec, ToyVae, load_vae
from ..world.world import World
from .learner import Learner, check_limits, deadline
from .vae_statistics import fold_statistics, start_from_components

STEPS, BATCH, RATE, WARMUP, AVERAGE = 1800, 8, 1.5e-3, 50, 0.995
# Frames of a clip, the film that it is cut from, and how many clips are at hand, of which each step replaces two.
CLIP, FILM, POOL, FRESH = 17, 640, 64, 2
# Noise on the latents, in units of their spread: the decoder will be shown latents that a network made.
NOISE = 0.05
# Clips for the principal components, and for the latent statistics.
COMPONENTS, STATISTICS = 200, 2000
COLUMNS = "step,loss,psnr_unseen"
LOG_EVERY, SAVE_EVERY = 25, 250
STATE = "state.safetensors"
# Training takes worlds from here on, components and statistics the 2000 before; smaller seeds are unseen.
FIRST_SEED = 1_000_000
UNSEEN, UNSEEN_FRAMES = range(20), range(129)


class Clips:
    """Clips of 17 frames of worlds of their own, by number; the newest are kept."""

    def __init__(self, seed: int):
        self.seed = seed
        self._kept: dict[int, Tensor] = {}

    def render(self, number: int) -> Tensor:
        """[3, 17, 64, 64] in -1..1."""
        start = Random(f"{self.seed}/clip {number}").randrange(FILM - CLIP)
        world = World(FIRST_SEED * (1 + 100 * self.seed) + number)
        return world.frames(range(start, start + CLIP)).movedim(-1, 0) * 2 - 1

    def aside(self, count: int) -> Iterable[Tensor]:
        """So many clips [3, 17, 64, 64] that no step takes, one after another."""
        return (self.render(-1 - number) for number in range(count))

    def batch(self, step: int, generator: torch.Generator) -> Tensor:
        """[8, 3, 17, 64, 64]: clips drawn from those of this step, which move on by two numbers a step."""
        first = FRESH * step
        self._kept = {number: clip for number, clip in self._kept.items() if number >= first}
        numbers = (first + torch.randperm(POOL, generator=generator)[:BATCH]).tolist()
        for number in numbers:
            if number not in self._kept:
                self._kept[number] = self.render(number)
        return torch.stack([self._kept[number] for number in numbers])


def loss_of(vae: ToyVae, video: Tensor, noise: Tensor | None = None) -> Tensor:
    """Mean squared error of the round trip of video [B, 3, F, H, W] in -1..1, with `noise` on the latents."""
    latents = vae.normalised(video)
    if noise is not None:
        latents = latents + noise * (NOISE * latents.detach().std(dim=(0, 2, 3, 4), keepdim=True))
    return (vae.from_normalised(latents) - video).square().mean()


def psnr(vae: ToyVae, seed: int) -> float:
    """PSNR in dB of the round trip of UNSEEN_FRAMES of the world of that seed."""
    codec, truth = ToyCodec(vae), World(seed).frames(UNSEEN_FRAMES)
    return -10 * log10((codec.decode(codec.encode(truth)) - truth).square().mean())


class Training:
    """A training run: the network as it learns, and its clips.

    Every step is a function of the seed and what the step before left, so that a resumed run equals an unbroken one.
    """

    def __init__(self, seed: int, steps: int):
        self.seed = seed
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.vae = ToyVae()
        self.clips = Clips(seed)
        self.learner = Learner(self.vae, steps, RATE, WARMUP, AVERAGE, {"seed": seed, "steps": steps})

    @classmethod
    def start(cls, seed: int, steps: int) -> "Training":
        """A new run, from the principal components."""
        run = cls(seed, steps)
        start_from_components(run.vae, run.clips.aside(COMPONENTS))
        run.learner.restart_average()
        return run

    @classmethod
    def resume(cls, path: Path, seed: int, steps: int) -> "Training":
        """Go on from a file of another run of the same seed and number of steps; ValueError for others."""
        run = cls(seed, steps)
        run.learner.resume(path)
        return run

    def advance(self) -> float:
        """Take one step; its loss, the mean squared error in -1..1."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_000 + self.learner.step)
        video = self.clips.batch(self.learner.step, generator)
        noise = torch.randn(BATCH, LATENT_CHANNELS, latent_frames(CLIP), 8, 8, generator=generator)
        return self.learner.update(loss_of(self.vae, video, noise))

    def averaged(self) -> ToyVae:
        """A network with the moving average of the weights."""
        vae = ToyVae()
        vae.load_state_dict(self.learner.average)
        return vae.eval().requires_grad_(False)

    def averaged_psnr(self, seed: int) -> float:
        """PSNR in dB of that network on the world of that seed."""
        return psnr(self.averaged(), seed)


def export(run: Training, folder: Path, command: str) -> dict:
    """Write vae.safetensors (half precision) and vae.json into `folder`; what the JSON says."""
    vae = run.averaged()
    fold_statistics(vae, run.clips.aside(STATISTICS))
    path = folder / "vae.safetensors"
    write_tensors(path, {name: value.half() for name, value in vae.state_dict().items()})
    # What the file holds is measured, not what was rounded to it.
    values = [psnr(load_vae(path), seed) for seed in UNSEEN]
    facts = {
        "command": command,
        "seed": run.seed,
        "steps": run.learner.step,
        "steps_planned": run.learner.steps,
        "parameters": sum(value.numel() for value in vae.parameters()),
        "unseen_seeds": [UNSEEN.start, UNSEEN.stop - 1],
        "frames": len(UNSEEN_FRAMES),
        "psnr_mean": round(mean(values), 3),
        "psnr_min": round(min(values), 3),
        "psnr": [round(value, 3) for value in values],
    }
    write_json(folder / "vae.json", facts)
    return facts


def prepared(folder: Path) -> Path:
    """Make the folder of a training, without what a killed one left unfinished; where its state is, or will be."""
    folder.mkdir(parents=True, exist_ok=True)
    clear_parts(folder)
    return folder / STATE


class VaeTraining(Protocol):
    """A training of one of the toy's VAEs."""

    learner: Learner

    def advance(self) -> float:
        """Take one step; its loss."""

    def averaged_psnr(self, seed: int) -> float:
        """PSNR in dB of the round trip of the world of that seed, with the moving average of the weights."""


def train(run: VaeTraining, folder: Path, minutes: float | None) -> None:
    """Train in `folder`, whose state `run` may have gone on from, until all steps are done or `minutes` have passed."""

    def unseen() -> list[str]:
        return [f"{mean(run.averaged_psnr(seed) for seed in UNSEEN[:4]):.3f}"]

    every = LOG_EVERY, SAVE_EVERY
    run.learner.train(run.advance, unseen, folder / "log.csv", COLUMNS, folder / STATE, every, deadline(minutes))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m everanimate_core.toy.learning.train_vae", description="Train the toy VAE."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a run that is there goes on")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes (the same command goes on)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, films and noise (default: 0)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps of the training (default: {STEPS})")
    chosen = parser.parse_args(arguments)
    if chosen.steps < 1:
        parser.error(f"--steps must be at least 1; got {chosen.steps}.")
    try:
        check_limits(chosen.seed, chosen.minutes)
        state = prepared(chosen.out)
        if state.exists():
            run = Training.resume(state, chosen.seed, chosen.steps)
        else:
            run = Training.start(chosen.seed, chosen.steps)
        train(run, chosen.out, chosen.minutes)
    except ValueError as error:
        parser.error(str(error))
    except RunFailed as error:
        parser.exit(1, f"{error}\n")
    command = f"{parser.prog} --out DIR --seed {chosen.seed} --steps {chosen.steps}"
    print(json.dumps(export(run, chosen.out, command)))


if __name__ == "__main__":
    main()
