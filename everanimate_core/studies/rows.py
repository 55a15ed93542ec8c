"""The rows of the ablation: each is a network of the toy, what is handed from chunk to chunk, and how it is sampled."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..backends.diffusers_wan import DiffusersWan
from ..errors import InputError
from ..everanimate.context import METHOD, ContextPolicy
from ..everanimate.settings import Settings
from ..lora.files import read_lora
from ..lora.fit import apply_lora
from ..toy.learning.tasks import CARRY, LADDER, TASKS
from ..toy.network.engine import load_toy
from ..toy.network.state import FOLDER, FULL_LORA, FULL_WEIGHTS, MEMORY_LORA, SETTINGS

AnyRow = TypeVar("AnyRow")


def own_or_shipped(name: str, weights: Path | None) -> Path:
    """The file of a network's weights: in the folder `weights`, where it has one of that name, else as shipped."""
    own = None if weights is None else weights / f"{name}.safetensors"
    return own if own is not None and own.is_file() else FOLDER / f"{name}.safetensors"


@dataclass(frozen=True)
class Row:
    """A row of the table. network: of the toy, by the name of its task. lora: what is added to it. settings, policy: of
    its roll-outs."""

    name: str
    network: str
    policy: ContextPolicy
    settings: Settings
    lora: str | Path | None = None

    def files(self, weights: Path | None) -> tuple[Path, Path | None]:
        """The files of network and LoRA: those in the folder `weights`, where it has them, else those shipped.

        Raises InputError for a LoRA of a name of its own that is no file.
        """

        lora = own_or_shipped(self.lora, weights) if isinstance(self.lora, str) else self.lora
        return own_or_shipped(self.network, weights), lora

    def load(self, weights: Path | None) -> DiffusersWan:
        """The row's network; InputError for files that are not there, or of another model."""
        network, lora = self.files(weights)
        model = load_toy(network)
        if lora is not None:
            apply_lora(model.transformer, read_lora(lora))
        return model


_POLICIES = {task.name: task.recipe.policy for task in TASKS}
_ANCHORS = {task.name: task.recipe.anchors for task in TASKS}


def row(
    name: str,
    network: str,
    lora: str | Path | None = None,
    restore: float = 0.0,
    target: str = SETTINGS.restore_target,
    **policy: Any,
) -> Row:
    """A row whose roll-outs are what its network was trained for, but for restoration and what `policy` changes.

    A LoRA is trained for EverAnimate's context, whatever its network was.
    """
    own = METHOD if lora is not None else _POLICIES[network]
    anchors = SETTINGS.identity_latents if lora is not None else _ANCHORS[network]
    settings = replace(SETTINGS, identity_latents=anchors, restore_strength=restore, restore_target=target)
    return Row(name, network, replace(own, **policy), settings, lora)


def lora_row(lora: Path) -> Row:
    """The drifting baseline with a LoRA of one's own."""
    return row(str(lora), "baseline", lora)


FULL = FULL_WEIGHTS.stem
# Networks and LoRAs that are shipped.
MAIN = (
    row("baseline", "baseline"),
    row("baseline+restore", "baseline", restore=1.0),
    row("memory", "memory"),
    row("full", FULL),
    row("memory-lora", "baseline", lora=MEMORY_LORA.stem),
    row("full-lora", "baseline", lora=FULL_LORA.stem),
)
# Of networks that `everanimate train-toy` makes, and of the shipped ones rolled out in other ways.
SIDE = (
    row("control", "control"),
    row("memory+rfm", "memory_rfm"),
    row("baseline, latent carry", "baseline", carry="latent"),
    row("baseline+restore, strength 2", "baseline", restore=2.0),
    row("baseline+restore, low frequency", "baseline", restore=1.0, target="low_frequency"),
    row("memory, pixel carry", "memory", carry="pixel"),
    row("memory, reference alone", "memory", identity="reference"),
    row("memory, identity re-taken", "memory", identity="last_chunk"),
    row("memory, identity re-taken, +restore", "memory", restore=1.0, identity="last_chunk"),
    row("memory+restore", "memory", restore=1.0),
    row("full+restore", FULL, restore=1.0),
    row("full+restore, low frequency", FULL, restore=1.0, target="low_frequency"),
    row("full, identity re-taken", FULL, identity="last_chunk"),
    *(row(task.name, task.name) for task in (*CARRY, *LADDER)),
)
# Networks that have seen even light alone.
EVEN = (
    row("even_baseline", "even_baseline"),
    row("even_baseline, latent carry", "even_baseline", carry="latent"),
    row("even_memory", "even_memory"),
)
ROWS = {each.name: each for each in (*MAIN, *SIDE, *EVEN)}


def chosen_rows(names: tuple[str, ...]) -> list[Row]:
    """The rows of those names, or the main ones; InputError for a name that is none."""
    return named_rows(names, ROWS, "baseline") or list(MAIN)


def named_rows(names: tuple[str, ...], rows: Mapping[str, AnyRow], example: str) -> list[AnyRow]:
    """Those of `rows` that are named; InputError, with a name as an example, for a name that is none."""
    for name in names:
        if name not in rows:
            raise InputError("rows", f"must be of {'; '.join(rows)}", example, name)
    return [rows[name] for name in names]
