"""How the toy's networks learn: AdamW, warmup and cosine, a moving average of the weights, and a file to go on from."""

import csv
import json
import os
from math import cos, pi
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Learner:
    """A network in training: its weights, their moving average, the optimiser, and the step that comes next.

    rate: the highest learning rate, reached after `warmup` steps, falling to a hundredth at step `steps`. decay: of the
    moving average, per step. facts: what a file of another run differs in (seed and steps; JSON values).
    """

    def __init__(self, network: nn.Module, steps: int, rate: float, warmup: int, decay: float, facts: dict):
        self.network, self.steps, self.rate, self.warmup, self.decay = network, steps, rate, warmup, decay
        self.facts = facts
        self.step = 0
        self.restart_average()
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)

    def restart_average(self) -> None:
        """Let the moving average begin with the weights as they are."""
        self.average = {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def update(self, loss: Tensor) -> float:
        """Take one step down the gradient of `loss`; its value."""
        fall = 0.01 + 0.99 * (1 + cos(pi * self.step / self.steps)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * min(1, (self.step + 1) / self.warmup) * fall
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                self.average[name].lerp_(value, 1 - self.decay)
        self.step += 1
        return loss.item()

    def start_from(self, path: Path) -> None:
        """Begin with the averaged weights of another run's file."""
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(file.get_tensor(f"average.{name}"))
        self.restart_average()

    def save(self, path: Path) -> None:
        """Write all that is needed to go on, at once or not at all."""
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        for name, value in self.network.named_parameters():
            tensors[f"weight.{name}"] = value.detach()
            tensors |= {f"{moment}.{name}": self.optimiser.state[value][moment] for moment in _MOMENTS}
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        new = path.with_suffix(".new")
        save_file(tensors, new, metadata={"training": json.dumps({"step": self.step, **self.facts})})
        os.replace(new, path)

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote; ValueError when it belongs to a run with other facts."""
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        step = header.pop("step")
        if header != self.facts:
            raise ValueError(f"train-toy: {path} must be of the same run ({self.facts}); got {header}.")
        self.step = step
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(tensors[f"weight.{name}"])
                self.average[name] = tensors[f"average.{name}"]
                moments = {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS}
                self.optimiser.state[value] = {"step": torch.tensor(float(step)), **moments}


class Log:
    """The CSV file of a training that stands at `step`; rows from after that are written once more."""

    def __init__(self, path: Path, step: int):
        self.path = path
        rows = path.read_text().splitlines()[1:] if path.exists() else []
        rows = [row for row in rows if int(row.split(",")[0]) <= step]
        path.write_text("\n".join(["step,loss,psnr_unseen", *rows, ""]))

    def write(self, step: int, loss: str, unseen: str) -> None:
        """Add a row, and print it."""
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow((step, loss, unseen))
        print(step, loss, unseen, flush=True)
