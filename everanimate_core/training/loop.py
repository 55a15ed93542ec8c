"""The training loop: `everanimate train --stage 1|2`, in one process or in many.

OUT receives losses.csv, TensorBoard's files, and every `save_every` steps lora-STEP.safetensors (released names) and
state.safetensors to go on from; every `sample_every` steps sample-STEP.mp4.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..fingerprint import weights_digest
from ..lora import Lora, lora_from_tensors, save_lora
from ..memory import Codec
from .journal import Journal
from .network import Network, batch_loss
from .parts import Parts
from .preview import sample_clip, write_clip
from .recipe import WEIGHT_DECAY, Recipe
from .records import FilmSet
from .samples import join, make_sample
from .state import gather, read_state, weights_of, write_state

try:
    import tensorboard  # noqa: F401  (what accelerate writes its log with)
    from accelerate import Accelerator
    from accelerate.utils import DistributedType
except ImportError as error:
    raise ImportError(
        f"everanimate: training needs accelerate and tensorboard (pip install 'everanimate[train]'); got {error}."
    ) from error

REPORT_EVERY = 50
STATE = "state.safetensors"


@dataclass(frozen=True)
class Pace:
    """How far and in what portions; nothing of it changes what is learnt at a step.

    steps: in all. accumulate: portions that every process takes of the recipe's batch, one after another. save_every,
    sample_every: steps; 0 for no samples. checkpointing: compute activations twice rather than keep them.
    """

    steps: int
    accumulate: int = 1
    save_every: int = 250
    sample_every: int = 0
    checkpointing: bool = False

    def __post_init__(self):
        for name, least, example in (
            ("steps", 1, 4000),
            ("accumulate", 1, 4),
            ("save_every", 1, 250),
            ("sample_every", 0, 500),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"train: {name} must be at least {least} ({example}); got {getattr(self, name)}.")


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
            raise ValueError(f"train: data must be a finished set (run precompute again); got {films.folder}.")
        processes = accelerator.num_processes
        self.share, rest = divmod(recipe.batch, processes * pace.accumulate)
        if rest:
            raise ValueError(
                f"train: batch must be a multiple of processes x accumulate (8 for 2 x 4); got {recipe.batch} for "
                f"{processes} x {pace.accumulate}."
            )
        accelerator.gradient_accumulation_steps = pace.accumulate
        # Stage 2 alone encodes while it trains.
        self.codec = self._load_codec() if recipe.stage == 2 else None
        network = self._network(start)
        optimiser = torch.optim.AdamW(network.trained().values(), lr=recipe.rate, weight_decay=WEIGHT_DECAY)
        self.network, self.optimiser = accelerator.prepare(network, optimiser)
        self.step = 0
        if (folder / STATE).exists():
            self.step = read_state(folder / STATE, self.network, self.optimiser.optimizer, self.facts)

    def _network(self, start: Lora | None) -> Network:
        accelerator = self.accelerator
        sharded = accelerator.distributed_type == DistributedType.FSDP
        device = torch.device("cpu") if sharded else accelerator.device
        dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
        transformer = self.parts.network(device, dtype)
        if self.pace.checkpointing:
            transformer.enable_gradient_checkpointing()
        base = weights_digest(transformer.state_dict().items())
        self.facts = {**asdict(self.recipe), "films": len(self.films.records), "network": base}
        network = Network(transformer, self.films.settings.geometry.identity, self.recipe.rank, self.recipe.seed)
        if start is not None:
            network.start_from(start)
        return network.to(device)

    def _load_codec(self) -> Codec:
        codec = self.parts.codec()
        found = weights_digest(codec.vae.state_dict().items())
        if found != self.films.settings.vae:
            raise ValueError(
                f"train: data must have been made with the model's VAE ({found}); got {self.films.folder}, made with "
                f"{self.films.settings.vae}."
            )
        return codec

    def run(self) -> None:
        """Train up to the last step."""
        accelerator, main = self.accelerator, self.accelerator.is_main_process
        journal = Journal(self.folder / "losses.csv", self.step) if main else None
        accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": self.step}})
        while self.step < self.pace.steps:
            rate = self.recipe.learning_rate(self.step)
            loss = self.advance(rate)
            if main:
                journal.write(self.step, loss, rate)
            accelerator.log({"loss": loss, "rate": rate}, step=self.step)
            self.step += 1
            if self._due(REPORT_EVERY):
                self.say(f"step {self.step} of {self.pace.steps}: loss {loss:.6f}")
            if self.pace.sample_every and self._due(self.pace.sample_every):
                self._sample()
            if self._due(self.pace.save_every):
                self._save()
        accelerator.end_training()

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.pace.steps

    def advance(self, rate: float) -> float:
        """Take one step; the loss of the whole batch."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        losses: list[Tensor] = []
        for portion in range(self.pace.accumulate):
            with self.accelerator.accumulate(self.network):
                samples = [
                    make_sample(self.recipe, self.films, number, self.codec) for number in self._numbers(portion)
                ]
                loss = batch_loss(self.network, join(samples).to(self.accelerator.device), self.recipe.restoration)
                self.accelerator.backward(loss)
                self.optimiser.step()
                self.optimiser.zero_grad()
            losses.append(loss.detach())
        return float(self.accelerator.reduce(torch.stack(losses).mean(), "mean"))

    def _numbers(self, portion: int) -> range:
        """The samples of this process in a portion of the step."""
        portions = portion * self.accelerator.num_processes + self.accelerator.process_index
        start = self.step * self.recipe.batch + portions * self.share
        return range(start, start + self.share)

    def _sample(self) -> None:
        # All processes: where the weights are shared out, none of them has them all.
        device = self.accelerator.device
        latents = sample_clip(self.network, self.films, self.parts.steps, self.recipe.seed, device)
        if self.accelerator.is_main_process:
            write_clip(
                self.folder / f"sample-{self.step:06}.mp4", latents, self.codec or self._load_codec(), self.films
            )

    def _save(self) -> None:
        tensors = gather(self.network, self.optimiser.optimizer)
        if not self.accelerator.is_main_process:
            return
        facts = {"step": self.step, **self.facts, "training": "everanimate"}
        metadata = {name: str(value) for name, value in facts.items()}
        lora = lora_from_tensors(weights_of(tensors, "transformer"), metadata)
        save_lora(self.folder / f"lora-{self.step:06}.safetensors", lora)
        # Last: what this state has behind it is there.
        write_state(self.folder / STATE, tensors, self.step, self.facts)


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
    """Train in `folder`; ValueError when there is a training in it and it is not to be resumed."""
    if (folder / STATE).exists() and not resume:
        raise ValueError(f"train: --out must be a new folder (or --resume what is in it); got {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    accelerator.wait_for_everyone()
    Training(recipe, pace, films, parts, accelerator, folder, start, say).run()
