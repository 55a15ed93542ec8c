"""How the toy's networks learn: AdamW, warmup and cosine, a moving average of the weights, and a file to go on from."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from math import cos, inf, isfinite, pi
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn

from ...errors import InputError, one_line, shown
from ...json_files import check_fields, parse_json
from ...runs.journal import Journal
from ...runs.store import RunFailed
from ...tensor_files import all_finite, read_tensors, write_tensors

_MOMENTS = ("exp_avg", "exp_avg_sq")


def check_limits(seed: int, minutes: float | None) -> None:
    """ValueError unless the seed is one that every generator takes, and the minutes, if given, are a time."""
    if not 0 <= seed < 2**32:
        raise InputError("seed", "must be between 0 and 2^32 - 1", "0", shown(seed))
    if minutes is not None and not 0 < minutes < inf:
        raise InputError("minutes", "must be a finite number above 0", "600", minutes)


def deadline(minutes: float | None) -> float:
    """When so many minutes will have passed, by time.monotonic(); never for None."""
    return inf if minutes is None else time.monotonic() + 60 * minutes


class Learner:
    """A network in training: its weights, their moving average, the optimiser, and the step that comes next.

    rate: the highest learning rate, reached after `warmup` steps, falling to a hundredth at step `steps`. decay: of the
    moving average, per step. facts: what a file of another run differs in (seed and steps; JSON values). shared: the
    mean of a tensor over all processes that learn together.
    """

    def __init__(
        self,
        network: nn.Module,
        steps: int,
        rate: float,
        warmup: int,
        decay: float,
        facts: dict,
        shared: Callable[[Tensor], Tensor] = lambda own: own,
    ):
        self.network, self.steps, self.rate, self.warmup, self.decay = network, steps, rate, warmup, decay
        self.facts, self.shared = facts, shared
        self.step = 0
        self.restart_average()
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01)

    def restart_average(self) -> None:
        """Let the moving average begin with the weights as they are."""
        self.average = {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def update(self, loss: Tensor) -> float:
        """Take one step down the gradient of `loss`; its value.

        RunFailed, in all processes, and nothing changes, unless loss and gradients are finite everywhere.
        """
        fall = 0.01 + 0.99 * (1 + cos(pi * self.step / self.steps)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * min(1, (self.step + 1) / self.warmup) * fall
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        mean_loss, norm = self.shared(torch.stack([loss.detach().float(), norm])).tolist()
        if not isfinite(mean_loss) or not isfinite(norm):
            raise RunFailed(
                f"loss and gradients must be finite numbers; got loss {mean_loss}, gradients of norm {norm} in "
                f"step {self.step + 1} of {self.steps}. The step was not taken; the last saved state is kept. "
                "The same command comes to the same end: try another --seed in a new --out."
            )
        self.optimiser.step()
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                self.average[name].lerp_(value, 1 - self.decay)
        self.step += 1
        return loss.item()

    def start_from(self, path: Path) -> None:
        """Begin with the averaged weights of another run's file; ValueError where that is damaged."""
        tensors, _ = self._read(path)
        self.start_with({name: tensors[f"average.{name}"] for name in self.average})

    def start_with(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with those weights, by the names of the network's parameters."""
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(weights[name])
        self.restart_average()

    def save(self, path: Path) -> None:
        """Write all that is needed to go on, at once or not at all."""
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        for name, value in self.network.named_parameters():
            tensors[f"weight.{name}"] = value.detach()
            tensors |= {f"{moment}.{name}": self.optimiser.state[value][moment] for moment in _MOMENTS}
        write_tensors(path, tensors, {"training": json.dumps({"step": self.step, **self.facts})})

    def resume(self, path: Path) -> None:
        """Go on from a file that `save` wrote; ValueError for a damaged one, and one of a run with other facts."""
        tensors, header = self._read(path)
        step = header.pop("step")
        if header != self.facts:
            got = f"{shown(header)} in {one_line(path)}"
            raise InputError("the state of a training", "must be of the same run", self.facts, got)
        self.step = step
        with torch.no_grad():
            for name, value in self.network.named_parameters():
                value.copy_(tensors[f"weight.{name}"])
                self.average[name] = tensors[f"average.{name}"]
                moments = {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS}
                self.optimiser.state[value] = {"step": torch.tensor(float(step)), **moments}

    def train(
        self,
        advance: Callable[[], float],
        tests: Callable[[], Iterable[float | str]],
        log: Path,
        columns: str,
        state: Path,
        every: tuple[int, int],
        end: float,
    ) -> bool:
        """Learn until all steps are done, True, or time.monotonic() has reached `end`, False.

        advance: takes a step; its loss. tests: what stands in the columns of `log` (CSV) behind step and loss; made
        where the state is saved, as that takes its time. every: after so many steps a row is written, and the state
        is saved.
        """
        journal, losses = Journal(log, columns, self.step + 1), []
        while self.step < self.steps:
            losses.append(advance())
            due = self.step == self.steps or self.step % every[1] == 0
            if due or self.step % every[0] == 0:
                tested = tests() if due else [""] * (columns.count(",") - 1)
                row = self.step, f"{mean(losses):.6f}", *tested
                journal.write(*row)
                print(*row, flush=True)
                losses = []
            over = time.monotonic() >= end
            if due or over:
                self.save(state)
            if over:
                return False
        return True

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict]:
        """The tensors of a file that `save` wrote, and what it says of its run."""

        def refuse(wrong: str) -> InputError:
            got = f"{one_line(path)}, {wrong}"
            return InputError("the state of a training", "must be as it was written", "delete it to begin anew", got)

        def refuse_header(got: str) -> InputError:
            return refuse(f"with {got} about its training")

        tensors, metadata = read_tensors(path, refuse)
        header = parse_json(metadata.get("training", "null"), refuse_header)
        check_fields(header, {"step": int}, refuse_header, others=True)
        for name, value in self.network.named_parameters():
            for part in ("average", "weight", *_MOMENTS):
                found = tensors.get(f"{part}.{name}")
                if found is None or found.shape != value.shape or not all_finite(found):
                    raise refuse(f"whose {part}.{name} is missing, of another shape or not finite")
        return tensors, header
