"""`everanimate train --dry-run`: what one step will need, from config.json and headers alone."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backends.wan_checkpoint import has_face_path, outline_transformer
from ..errors import InputError, one_line
from ..toy.network.state import TOYS
from ..training.loop import load_config_from_file
from ..training.memory_need import Step, operations, step_need
from ..training.pace import Pace
from ..training.recipe import Recipe
from ..training.records import SetSettings
from .models import model_path

GB = 1e9
# Of a card: what allocators, libraries and the context want of it, beside tensors.
SPARE = 0.15


@dataclass(frozen=True)
class Launch:
    """What decides on memory in a settings file of accelerate. sharded: whether processes share out the weights."""

    processes: int = 1
    sharded: bool = False
    offload_weights: bool = False
    precision: str = "bf16"


def read_launch(path: Path | None) -> Launch:
    """Of a settings file of accelerate; None: one process on an accelerator. ValueError for another file."""
    if path is None:
        return Launch()
    try:
        config = load_config_from_file(os.fspath(path))
    except Exception as error:  # a stranger's YAML can make it stumble anywhere
        got = f"{one_line(path)} ({one_line(error, 200)})"
        raise InputError("launch", "must be a settings file of accelerate", "8x80gb.yaml", got) from error
    fsdp: Mapping[str, Any] = getattr(config, "fsdp_config", None) or {}
    sharded = config.distributed_type == "FSDP"
    offload = sharded and bool(fsdp.get("fsdp_offload_params"))
    return Launch(config.num_processes, sharded, offload, str(config.mixed_precision))


def tell_need(
    model: str, precision: str | None, launch: Launch, recipe: Recipe, pace: Pace, settings: SetSettings
) -> list[str]:
    """What is said of one step, as lines. Raises ValueError for a model that is none, and for the toy."""
    if model in TOYS:
        raise InputError("dry_run", "is for Wan2.2-Animate", "the toy fits anywhere", f"--model {model}")
    outline = outline_transformer(model_path(model))
    portions, samples = pace.portions(recipe.batch, launch.processes)
    step = Step(
        outline,
        settings.geometry,
        settings.width,
        settings.height,
        faces=settings.faces and has_face_path(outline),
        samples=samples,
        half=(precision or launch.precision) == "bf16",
        rank=recipe.rank,
        checkpointing=pace.checkpointing,
        offload=pace.offload,
        quantised=recipe.quantised != "none",
        ema=bool(recipe.ema),
        encodes=recipe.stage == 2 or bool(recipe.perturbed_motion),
        shards=launch.processes if launch.sharded else 1,
        offload_weights=launch.offload_weights,
    )
    need = step_need(step)
    rows = [*need.device.items(), ("all of it", need.total), ("a card for it", need.total / (1 - SPARE))]
    return [
        f"{step.tokens} tokens a sample: {settings.width}x{settings.height}, {settings.geometry.frames} frames, "
        f"{settings.geometry.anchors} anchors, {'with' if step.faces else 'without'} a face",
        f"{recipe.batch} samples a step: {launch.processes} processes x {portions} portions x {samples}",
        "On the GPU of each process, in GB (10^9 bytes of tensors; of a card for it, 15 % are left):",
        *(_row(name, size) for name, size in rows),
        *(["In the main memory of each process:"] if need.main else []),
        *(_row(name, size) for name, size in need.main.items()),
        f"Operations of a step: {recipe.batch * operations(step) / 1e15:.1f} x 10^15",
        "Seconds of a step: not known, we have measured none on a GPU",
    ]


def _row(name: str, size: float) -> str:
    return f"  {name:18}{size / GB:9.2f}"
