"""The rows: each network is rolled out as it was trained, and rows differ in what their names say."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from everanimate_core.errors import InputError
from everanimate_core.everanimate.context import METHOD
from everanimate_core.lora.files import read_lora
from everanimate_core.lora.fit import apply_lora
from everanimate_core.studies.rows import EVEN, MAIN, ROWS, SIDE, chosen_rows, lora_row, row
from everanimate_core.toy.learning.material import WAN_ANIMATE
from everanimate_core.toy.learning.tasks import TASKS
from everanimate_core.toy.network.engine import load_toy
from everanimate_core.toy.network.state import FOLDER, FULL_LORA, MEMORY_LORA, SETTINGS, TOYS, write_packed

TASK = {task.name: task for task in TASKS}
# What a row may change about what its network was trained for.
CHANGES = {"latent carry": "carry", "pixel carry": "carry", "reference alone": "identity", "re-taken": "identity"}


@pytest.mark.parametrize("tested", [*MAIN, *SIDE, *EVEN], ids=lambda tested: tested.name)
def test_networks_are_rolled_out_as_they_were_trained(tested):
    """But for what the row's name says."""
    if tested.lora is not None:
        trained, anchors = METHOD, 4
    else:
        recipe = TASK[tested.network].recipe
        trained, anchors = recipe.policy, recipe.anchors
    changed = {name for name, value in vars(tested.policy).items() if value != getattr(trained, name)}
    assert changed == {field for words, field in CHANGES.items() if words in tested.name}
    assert tested.settings.identity_latents == anchors
    strength = 2.0 if "strength 2" in tested.name else 1.0 if "restore" in tested.name else 0.0
    target = "low_frequency" if "low frequency" in tested.name else "statistics"
    expected = {"identity_latents": anchors, "restore_strength": strength, "restore_target": target}
    assert tested.settings == replace(SETTINGS, **expected)


def test_the_main_rows():
    found = [(each.name, each.network, each.lora, each.policy == METHOD) for each in MAIN]
    assert found == [
        ("baseline", "baseline", None, False),
        ("baseline+restore", "baseline", None, False),
        ("memory", "memory", None, True),
        ("full", "memory_motion_exact", None, True),
        ("memory-lora", "baseline", "memory_lora", True),
        ("full-lora", "baseline", "full_lora", True),
    ]
    assert MAIN[0].policy == WAN_ANIMATE
    assert len(ROWS) == len(MAIN) + len(SIDE) + len(EVEN)


def test_rows_are_chosen_by_name():
    assert chosen_rows(()) == list(MAIN)
    assert chosen_rows(("memory", "baseline")) == [ROWS["memory"], ROWS["baseline"]]
    with pytest.raises(InputError, match=r"^rows must be of baseline; baseline\+restore; .* \(baseline\); got bse\.$"):
        chosen_rows(("bse",))


def test_weights_of_ones_own_come_first(tmp_path):
    mine = row("mine", "baseline")
    assert mine.files(None) == (TOYS["toy-baseline"], None) == mine.files(tmp_path)
    write_packed(tmp_path / "baseline.safetensors", {"head.head.bias": torch.ones(64)})
    assert mine.files(tmp_path) == (tmp_path / "baseline.safetensors", None)
    named = row("named", "baseline", lora="full_lora")
    assert named.files(None) == (TOYS["toy-baseline"], FULL_LORA) == (FOLDER / "baseline.safetensors", FULL_LORA)
    assert lora_row(Path("own.safetensors")).files(tmp_path)[1] == Path("own.safetensors")
    with pytest.raises(ValueError, match=r"none\.safetensors, which is not a file"):
        row("none", "baseline", lora=Path("none.safetensors")).load(None)


@pytest.mark.parametrize("tested", [*MAIN, *EVEN], ids=lambda tested: tested.name)
def test_the_networks_of_these_rows_are_shipped(tested):
    assert all(path.is_file() for path in tested.files(None) if path is not None)


def test_a_row_has_its_lora():
    model = load_toy(TOYS["toy-baseline"])
    apply_lora(model.transformer, read_lora(MEMORY_LORA))
    loaded = row("with", "baseline", lora=MEMORY_LORA).load(None)
    for mine, other in zip(loaded.transformer.parameters(), model.transformer.parameters(), strict=True):
        assert torch.equal(mine, other)
