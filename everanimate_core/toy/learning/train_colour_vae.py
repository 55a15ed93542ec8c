"""Training of the colouring toy's VAE: `python -m everanimate_core.toy.learning.train_colour_vae --out DIR`.

DIR receives state.safetensors (to go on from: the same command resumes), log.csv, and at the end colour_vae.safetensors
with colour_vae.json, which says how it was made and how good it is. It sees films and their line art alike, for both go
through it.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from statistics import mean

import torch
from torch import Tensor, nn

from ...json_files import write_json
from ...latents import SPATIAL_FACTOR
from ...longanimation.lines import white_on_black
from ...runs.store import RunFailed
from ..network.colour_vae import SCALE, load_vae, new_vae
from ..network.state import write_packed
from ..world.raster import SIZE
from ..world.world import World
from .learner import Learner, check_limits
from .train_vae import CLIP, FILM, FIRST_SEED, UNSEEN, prepared, train

STEPS, RATE, WARMUP, AVERAGE = 9000, 3e-3, 100, 0.998
# Up to this step it learns from small parts of pictures, of which there can be more; then from whole ones.
WHOLE_FROM = 8000
PART, PARTS, WHOLES = 32, 4, 2
# Share of the clips that are line art, and how much their error counts: their latents have to tell lines apart, nobody
# looks at what they decode to.
LINES, LINES_COUNT = 0.3, 0.1
# Noise on the latents, in units of their spread, since the decoder will be shown latents that a network made; weight of
# the wish that every channel has mean 0 and, times SCALE, spread 1.
NOISE, EVEN = 0.05, 0.01
POOL, FRESH = 96, 1
UNSEEN_FRAMES = range(81)


class Clips:
    """Clips of 17 frames of worlds of their own, by number, as film or as line art; the newest are kept."""

    def __init__(self, seed: int):
        self.seed = seed
        self._kept: dict[int, Tensor] = {}

    def has_lines(self, number: int) -> bool:
        """Whether the clip of that number is line art."""
        return Random(f"{self.seed}/colour clip {number}").random() < LINES

    def render(self, number: int) -> Tensor:
        """[3, 17, 64, 64] in -1..1."""
        start = Random(f"{self.seed}/start of colour clip {number}").randrange(FILM - CLIP)
        world, frames = World(FIRST_SEED * (1 + 100 * self.seed) + number), range(start, start + CLIP)
        shown = white_on_black(world.lineart(frames)) if self.has_lines(number) else world.frames(frames)
        return shown.movedim(-1, 0) * 2 - 1

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clips drawn from those of this step, which move on by one number a step, and how much the error of each
        counts: parts of them, [4, 3, 9 or 17, 32, 32] and [4], later whole ones, [2, 3, 17, 64, 64] and [2]."""
        first, count = FRESH * step, PARTS if step < WHOLE_FROM else WHOLES
        self._kept = {number: clip for number, clip in self._kept.items() if number >= first}
        numbers = (first + torch.randperm(POOL, generator=generator)[:count]).tolist()
        for number in numbers:
            if number not in self._kept:
                self._kept[number] = self.render(number)
        counts = torch.tensor([LINES_COUNT if self.has_lines(number) else 1.0 for number in numbers])
        clips = torch.stack([self._kept[number] for number in numbers])
        if count == WHOLES:
            return clips, counts
        corners = SPATIAL_FACTOR * torch.randint((SIZE - PART) // SPATIAL_FACTOR + 1, (count, 2), generator=generator)
        frames = CLIP if step % 2 else CLIP // 2 + 1
        parts = [
            clip[:, :frames, top : top + PART, left : left + PART]
            for clip, (top, left) in zip(clips, corners.tolist(), strict=True)
        ]
        return torch.stack(parts), counts


def loss_of(vae: nn.Module, video: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
    """Mean squared error of the round trip of video [B, 3, F, H, W] in -1..1, with noise on the latents, and how uneven
    these are. counts: how much the error of each clip counts [B]."""
    latents = vae.encode(video).latent_dist.mode()
    spread, middle = torch.std_mean(latents, dim=(0, 2, 3, 4), correction=0)
    uneven = (SCALE * middle).square().mean() + (SCALE * spread - 1).square().mean()
    noise = torch.randn(latents.shape, generator=generator)
    noisy = latents + noise * (NOISE * spread.detach().view(1, -1, 1, 1, 1))
    errors = (vae.decode(noisy).sample - video).square().flatten(1).mean(dim=1)
    return (counts * errors).mean() + EVEN * uneven


@torch.inference_mode()
def psnr(vae: nn.Module, seed: int, lines: bool = False) -> float:
    """PSNR in dB of the round trip of a window of the world of that seed, or of its line art."""
    world = World(seed)
    truth = white_on_black(world.lineart(UNSEEN_FRAMES)) if lines else world.frames(UNSEEN_FRAMES)
    latents = vae.encode(truth.movedim(-1, 0)[None] * 2 - 1).latent_dist.mode()
    made = (vae.decode(latents).sample[0] / 2 + 0.5).clamp(0, 1).movedim(0, -1)
    return -10 * (made - truth).square().mean().log10().item()


class Training:
    """A training run; every step is a function of the seed and what the step before left."""

    def __init__(self, seed: int, steps: int):
        self.seed = seed
        self.vae, self.clips = new_vae(seed), Clips(seed)
        self.learner = Learner(self.vae, steps, RATE, WARMUP, AVERAGE, {"seed": seed, "steps": steps})

    def advance(self) -> float:
        """Take one step; its loss."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_000 + self.learner.step)
        video, counts = self.clips.batch(self.learner.step, generator)
        return self.learner.update(loss_of(self.vae, video, counts, generator))

    def averaged(self) -> nn.Module:
        """A network with the moving average of the weights."""
        vae = new_vae(self.seed)
        vae.load_state_dict(self.learner.average)
        return vae.eval().requires_grad_(False)

    def averaged_psnr(self, seed: int) -> float:
        """PSNR in dB of that network on the world of that seed."""
        return psnr(self.averaged(), seed)


def export(run: Training, folder: Path, command: str) -> dict:
    """Write colour_vae.safetensors (packed) and colour_vae.json into `folder`; what the JSON says."""
    path = folder / "colour_vae.safetensors"
    write_packed(path, run.averaged().state_dict())
    # What the file holds is measured, not what was rounded to it.
    vae = load_vae(path)

    def summary(values: Iterable[float]) -> dict[str, float]:
        found = list(values)
        return {"mean": round(mean(found), 3), "min": round(min(found), 3)}

    facts = {
        "command": command,
        "seed": run.seed,
        "steps": run.learner.step,
        "steps_planned": run.learner.steps,
        "parameters": sum(value.numel() for value in vae.parameters()),
        "unseen_seeds": [UNSEEN.start, UNSEEN.stop - 1],
        "frames": len(UNSEEN_FRAMES),
        "psnr": summary(psnr(vae, seed) for seed in UNSEEN),
        "psnr_of_line_art": summary(psnr(vae, seed, lines=True) for seed in UNSEEN),
    }
    write_json(folder / "colour_vae.json", facts)
    return facts


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m everanimate_core.toy.learning.train_colour_vae", description="Train the colouring toy's VAE."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a run that is there goes on")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes (the same command goes on)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, films and noise (default: 0)")
    chosen = parser.parse_args(arguments)
    try:
        check_limits(chosen.seed, chosen.minutes)
        state, run = prepared(chosen.out), Training(chosen.seed, STEPS)
        if state.exists():
            run.learner.resume(state)
        train(run, chosen.out, chosen.minutes)
    except ValueError as error:
        parser.error(str(error))
    except RunFailed as error:
        parser.exit(1, f"{error}\n")
    print(json.dumps(export(run, chosen.out, f"{parser.prog} --out DIR --seed {chosen.seed}")))


if __name__ == "__main__":
    main()
