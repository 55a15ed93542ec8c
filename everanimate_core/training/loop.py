"""The training loop: `everanimate train --stage 1|2`, in one process or in many.

OUT receives losses.csv, TensorBoard's files, and every `save_every` steps state.safetensors to go on from and
lora-STEP.safetensors (released names), and ema-STEP.safetensors, the average of LoRAs, if one is kept; every
`sample_every` steps sample-STEP.mp4. Nothing that is not a finite number is learnt or saved.
"""

from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..digests import weights_digest
from ..errors import InputError
from ..files import clear_parts
from ..lora.files import Lora, lora_from_tensors, save_lora
from ..ports import Codec
from ..runs.journal import Journal
from .checkpointing import enable_checkpointing
from .network import Network, batch_loss
from .pace import Pace
from .parts import Parts
from .preview import clip_batch, sample_clip, write_clip
from .quantised import quantise
from .reading import read_ahead
from .recipe import WEIGHT_DECAY, Recipe
from .records import FilmSet
from .samples import Batch, encode_material, film_of, held_out_sample, join, learnt_from, make_sample
from .state import (
    AVERAGE,
    WEIGHT,
    EMAModel,
    gather,
    read_state,
    saved_loras,
    trained_parameters,
    weights_of,
    write_state,
)
from .together import Result, TrainingFailed, together

try:
    import tensorboard  # noqa: F401  (what accelerate writes its log with)
    from accelerate import Accelerator, PartialState  # noqa: F401  (for the command line, as the next one)
    from accelerate.commands.config.config_args import load_config_from_file  # noqa: F401
    from accelerate.utils import DistributedType, gather_object
except ImportError as error:
    raise ImportError(
        f"everanimate: training needs accelerate and tensorboard (pip install 'everanimate[train]'); got {error}."
    ) from error

REPORT_EVERY = 50
STATE = "state.safetensors"


class Training:
    """A training in a folder, from where it was left or from its beginning."""

    def __init__(
        self,
        recipe: Recipe,
        pace: Pace,
        films: FilmSet,
        parts: Parts,
        accelerator: Accelerator,
        folder: Path,
        start: Lora | None,
        say: Callable[[str], None],
    ):
        """start: the LoRA to begin with; not read where the folder holds a training. ValueError when films, LoRA or
        the folder's training do not fit the recipe and the network."""
        self.recipe, self.pace, self.films, self.parts = recipe, pace, films, parts
        self.accelerator, self.folder, self.say = accelerator, folder, say
        if not films.records:
            raise InputError("data", "must be a finished set", "run precompute again", films.folder)
        processes = accelerator.num_processes
        self.portions, self.share = pace.portions(recipe.batch, processes)
        accelerator.gradient_accumulation_steps = self.portions
        if recipe.perturbed_motion and not films.settings.motion_pixels:
            rule = "must be 0 with a set that keeps no first chunks"
            raise InputError("perturbed_motion", rule, "precompute with --motion-pixels", recipe.perturbed_motion)
        if learnt_from(recipe, films) < 1:
            raise InputError("held_out", f"must be below the {len(films.records)} films of the set", 1, recipe.held_out)
        # Only what is perturbed or augmented is encoded while it trains.
        self.codec = self._load_codec() if recipe.stage == 2 or recipe.perturbed_motion else None
        network = self._network(start)
        optimiser = torch.optim.AdamW(network.trained().values(), lr=recipe.rate, weight_decay=WEIGHT_DECAY)
        self.network, self.optimiser = accelerator.prepare(network, optimiser)
        self.average = EMAModel(trained_parameters(self.network), decay=recipe.ema) if recipe.ema else None
        self.step = 0
        # The step of the state on disk; None before the first.
        self.saved: int | None = None
        if (folder / STATE).exists():
            self.step = self.saved = read_state(
                folder / STATE, self.network, self.optimiser.optimizer, self.facts, self.average
            )

    def _network(self, start: Lora | None) -> Network:
        accelerator = self.accelerator
        sharded = accelerator.distributed_type == DistributedType.FSDP
        quantised, half = self.recipe.quantised != "none", accelerator.mixed_precision == "bf16"
        if quantised and sharded:
            raise InputError(
                "quantised", "must be none where processes share out the weights", "", self.recipe.quantised
            )
        # What is made smaller, or shared out, may be larger than the GPU before.
        device = torch.device("cpu") if sharded or quantised else accelerator.device
        transformer = self.parts.network(device, torch.bfloat16 if half else torch.float32)
        base = weights_digest(transformer.state_dict().items())
        self.facts = {**self.recipe.facts(), "films": len(self.films.records), "network": base}
        if self.recipe.rate_schedule != "constant":
            self.facts["steps"] = self.pace.steps
        network = Network(transformer, self.films.settings.geometry.anchors, self.recipe.rank, self.recipe.seed)
        if self.pace.checkpointing and self.parts.checkpoints:
            enable_checkpointing(transformer, offload=self.pace.offload)
        if half:
            network.compute_in_half()
        if start is not None:
            network.start_from(start)
        if quantised:
            quantise(transformer, self.recipe.quantised)
        return network if sharded else network.to(accelerator.device)

    def _load_codec(self) -> Codec:
        codec = self.parts.codec()
        # Before they are rounded: precompute encodes in float32.
        found = weights_digest(codec.vae.state_dict().items())
        if found != self.films.settings.vae:
            raise InputError(
                "data",
                "must have been made with the model's VAE",
                found,
                f"{self.films.folder}, made with {self.films.settings.vae}",
            )
        codec.vae.to(self.parts.vae_dtype)
        return codec

    def run(self) -> None:
        """Train up to the last step; TrainingFailed, in all processes, when that cannot be done."""
        accelerator = self.accelerator
        self.journal = (
            Journal(self.folder / "losses.csv", "step,loss,rate", self.step) if accelerator.is_main_process else None
        )
        self.unseen = None
        if self.recipe.held_out and accelerator.is_main_process:
            # With the loss behind the last step that was taken.
            self.unseen = Journal(self.folder / "held_out.csv", "step,loss", self.step + 1)
        accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": self.step}})
        if self.saved is not None:
            # A kill behind the writing of the state leaves it without its LoRA.
            self._save_lora(gather(self.network, self.optimiser.optimizer, self.average), again=False)
        portions = (
            self._numbers(step, part) for step in range(self.step, self.pace.steps) for part in range(self.portions)
        )
        self.material = read_ahead(self.recipe, self.films, portions, self.pace.workers)
        while self.step < self.pace.steps:
            rate = self.recipe.learning_rate(self.step, self.pace.steps)
            loss = self.advance(rate)
            self._together(partial(self._log, loss, rate))
            self.step += 1
            if self._due(REPORT_EVERY):
                self.say(f"step {self.step} of {self.pace.steps}: loss {loss:.6f}")
            if self._due(self.pace.save_every):
                self._save()
            if self.pace.sample_every and self._due(self.pace.sample_every):
                self._sample()
        accelerator.end_training()

    def _log(self, loss: float, rate: float) -> None:
        if self.journal is not None:
            self.journal.write(self.step, loss, rate)
        self.accelerator.log({"loss": loss, "rate": rate}, step=self.step)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.pace.steps

    def advance(self, rate: float) -> float:
        """Take one step; the loss of the whole batch. TrainingFailed, and the weights stay as they were, unless loss
        and gradients are finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        losses: list[Tensor] = []
        for _ in range(self.portions):
            with self.accelerator.accumulate(self.network):
                loss = self._loss(self._next_samples)
                self.accelerator.backward(loss)
                losses.append(loss.detach())
                if self.accelerator.sync_gradients:
                    whole = self._finite_loss(torch.stack(losses).mean())
                    if self.recipe.clip_norm:
                        self.accelerator.clip_grad_norm_(trained_parameters(self.network), self.recipe.clip_norm)
                self.optimiser.step()
                self.optimiser.zero_grad()
        if self.average is not None:
            self.average.step(trained_parameters(self.network))
        return whole

    def _next_samples(self) -> Batch:
        """What was read ahead, encoded; its fault, if it has one."""
        material = next(self.material)
        if isinstance(material, Exception):
            raise material
        return join([encode_material(one, self.films.settings, self.codec) for one in material])

    def _loss(self, samples: Callable[[], Batch]) -> Tensor:
        """The mean loss of samples, which all processes get together."""
        return batch_loss(self.network, self._together(samples).to(self.accelerator.device), self.recipe.restoration)

    def _finite_loss(self, loss: Tensor) -> float:
        """The mean of all processes' losses; TrainingFailed unless that and the gradients are finite."""
        values = [loss]
        # A scaler leaves out the steps whose gradients overflow, and lowers its scale.
        if self.accelerator.scaler is None:
            # Where FSDP keeps the weights in main memory, the gradients are there too.
            values.append(_norm(self.network).to(loss.device))
        whole, *norms = self.accelerator.reduce(torch.stack(values), "mean").tolist()
        if not all(isfinite(value) for value in (whole, *norms)):
            raise self._not_finite(whole, *norms)
        return whole

    def _numbers(self, step: int, portion: int) -> range:
        """The samples of this process in a portion of a step."""
        portions = portion * self.accelerator.num_processes + self.accelerator.process_index
        start = step * self.recipe.batch + portions * self.share
        return range(start, start + self.share)

    def _sample(self) -> None:
        # All processes: where the weights are shared out, none of them has them all.
        batch = self._together(partial(clip_batch, self.films, self.recipe)).to(self.accelerator.device)
        latents = sample_clip(self.network, batch, self.parts.steps)

        def write() -> None:
            if self.accelerator.is_main_process:
                path = self.folder / f"sample-{self.step:06}.mp4"
                write_clip(path, latents, self.codec or self._load_codec(), self.films)

        self._together(write)

    @torch.no_grad()
    def _measure_unseen(self) -> None:
        """Log the mean loss of the films that are held out. All processes measure all: some share out the weights."""
        losses = [
            self._loss(partial(held_out_sample, self.recipe, self.films, number, self.codec))
            for number in range(self.recipe.held_out)
        ]
        loss = float(torch.stack(losses).mean())

        def write() -> None:
            if self.unseen is not None:
                self.unseen.write(self.step, loss)
                self.unseen.sync()

        self._together(write)
        self.accelerator.log({"held_out": loss}, step=self.step)

    def _save(self) -> None:
        if self.recipe.held_out:
            self._measure_unseen()
        tensors = gather(self.network, self.optimiser.optimizer, self.average)

        def write() -> None:
            if self.journal is not None:
                self.journal.sync()
                write_state(self.folder / STATE, tensors, self.step, self.facts)

        self._together(write)
        self.saved = self.step
        self._save_lora(tensors)

    def _save_lora(self, tensors: dict[str, Tensor], again: bool = True) -> None:
        """Write the LoRA of the state on disk, and its average. again: also where there is one."""
        files = {lora_name(self.step): WEIGHT}
        if self.average is not None:
            files[f"ema-{self.step:06}.safetensors"] = AVERAGE
        facts = {"step": self.step, **self.facts, "training": "everanimate"}
        metadata = {name: str(value) for name, value in facts.items()}

        def write() -> None:
            for name, kind in files.items():
                if self.accelerator.is_main_process and (again or not (self.folder / name).exists()):
                    lora = lora_from_tensors(weights_of(tensors, "transformer", kind), metadata)
                    save_lora(self.folder / name, lora)

        self._together(write)

    def _together(self, work: Callable[[], Result]) -> Result:
        return together(self.accelerator, work, lambda reason: self._failed(f"{reason.rstrip('.')}. {self._way_on()}"))

    def _failed(self, what: str) -> TrainingFailed:
        return TrainingFailed(f"stopped after {self.step} of {self.pace.steps} steps: {what}")

    def _way_on(self) -> str:
        """What is kept, and how to go on from there when the cause is out of the way."""
        if not self.folder.is_dir():
            return (
                f"The folder {self.folder} is gone, and with it what was saved: bring it back and add --resume, or "
                f"give the command without --resume to begin anew."
            )
        if self.saved is None:
            return "Nothing was saved yet: the same command begins anew."
        if not (self.folder / STATE).exists():
            return (
                f"The {STATE} in {self.folder} is gone: bring it back and add --resume, or begin a new --out with "
                f"--lora and the last LoRA there is."
            )
        return f"Step {self.saved} is kept in {self.folder}: add --resume to go on from there."

    def _not_finite(self, loss: float, *norms: float) -> TrainingFailed:
        """What to say of a step that was not taken; every process must ask."""
        names = sorted({name for portion in range(self.portions) for name in self._culprits(portion)})
        tried = [f"a lower --rate (now {self.recipe.rate:g})"]
        tried += ["--precision no"] if self.accelerator.mixed_precision != "no" else []
        if names:
            tried.append(f"a set without {', '.join(names[:3])}{' and others' * (len(names) > 3)}")
        # With the same settings, and so with --resume, the same step would come to the same end.
        start = "a new --out"
        if self.saved is not None:
            start += f" with --lora {self.folder / lora_name(self.saved)} (the last that was saved)"
        norm = "".join(f", gradients of norm {value}" for value in norms)
        return self._failed(
            f"loss and gradients of the next one must be finite numbers; got loss {loss}{norm}. That step was not "
            f"taken, and nothing of it is kept. Begin {start}, and try {' or '.join(tried)}."
        )

    @torch.no_grad()
    def _culprits(self, portion: int) -> list[str]:
        """The records whose samples alone have no finite loss, in that portion of the step in all processes."""
        names = []
        for number in self._numbers(self.step, portion):
            if not self._loss(partial(make_sample, self.recipe, self.films, number, self.codec)).isfinite():
                names.append(self.films.title(film_of(self.recipe.seed, number, learnt_from(self.recipe, self.films))))
        return gather_object(names)


def lora_name(step: int) -> str:
    """The file of the LoRA after so many steps."""
    return f"lora-{step:06}.safetensors"


def _norm(network: nn.Module) -> Tensor:
    """The norm of this process's gradients."""
    gradients = [value.grad for value in network.parameters() if value.grad is not None]
    # Of shared-out weights, each process has a part.
    parts = [value.to_local() if isinstance(value, DTensor) else value for value in gradients]
    return torch.stack([value.norm() for value in parts]).norm()


def train(
    recipe: Recipe,
    pace: Pace,
    films: FilmSet,
    parts: Parts,
    accelerator: Accelerator,
    folder: Path,
    *,
    start: Lora | None = None,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Train in `folder`, in every process of the accelerator.

    start: the LoRA to begin with, None for a new one. resume: whether a training that is there goes on. say: is told
    how far it is, in each process. ValueError when there is a training in the folder that is not to be resumed, or
    cannot be, and for what does not fit; TrainingFailed when it cannot go on.
    """
    films.check()
    if not (folder / STATE).exists() and (loras := saved_loras(folder)):
        raise InputError(
            "out",
            f"must be a new folder, or have the {STATE} of its training",
            f"begin a new one with --lora {loras[-1]} to go on from the last LoRA there",
            f"LoRAs without it in {folder}",
        )
    if (folder / STATE).exists() and not resume:
        raise InputError("out", "must be a new folder", "or --resume what is in it", folder)
    folder.mkdir(parents=True, exist_ok=True)
    if accelerator.is_main_process:
        clear_parts(folder)
    accelerator.wait_for_everyone()
    Training(recipe, pace, films, parts, accelerator, folder, start, say).run()
