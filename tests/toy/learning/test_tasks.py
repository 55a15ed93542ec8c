"""The tasks: what is shipped was trained as they say, arms differ in one thing, and what is measured was never seen."""

import json
from dataclasses import asdict

import pytest

from everanimate_core.everanimate.context import METHOD
from everanimate_core.toy.learning import films, train_dit, train_vae
from everanimate_core.toy.learning.material import WAN_ANIMATE
from everanimate_core.toy.learning.tasks import CARRY, EVEN, LADDER, LIT, TASKS
from everanimate_core.toy.network.state import FOLDER, FULL_WEIGHTS

TASK = {task.name: task for task in TASKS}
# Worlds that are ever rolled out to measure: those of the scores, of the ablation, of the benchmarks, of the nodes.
MEASURED = range(998_000)


def without(task, *names):
    """What a task says, but for these."""
    facts = asdict(task)
    facts |= facts.pop("recipe")
    return {name: value for name, value in facts.items() if name not in names}


@pytest.mark.parametrize(
    "task", [TASK[name] for name in ("baseline", "memory", FULL_WEIGHTS.stem)], ids=lambda task: task.name
)
def test_what_is_shipped_was_trained_by_its_task(task):
    facts = json.loads((FOLDER / f"{task.name}.json").read_text(encoding="utf-8"))
    assert facts["recipe"] == asdict(task.recipe)
    told = {name: facts[name] for name in ("after", "steps", "rate", "target")}
    assert told == {"after": task.after, "steps": task.steps, "rate": task.rate, "target": task.schedule}
    assert facts["command"] == f"everanimate train-toy --out DIR --seed 0 --only {task.name}"
    assert facts["films"] == train_dit.LIT_SHARDS * films.SHARD
    heading, *rows = (FOLDER / f"{task.name}.csv").read_text(encoding="utf-8").splitlines()
    assert heading == train_dit.COLUMNS and rows[-1].startswith(f"{task.steps},")
    assert rows[-1].count(",") == 3 and "" not in rows[-1].split(",")


def test_names_are_names_of_files_and_no_two_are_alike():
    assert len(TASK) == len(TASKS) == len(EVEN) + len(LIT) + len(CARRY) + len(LADDER)
    assert all(name.isidentifier() for name in TASK)
    assert all(task.after is None or task.after in TASK for task in TASKS)


def test_the_networks_in_wandering_light_differ_in_their_recipes_alone():
    baseline, control, memory = LIT
    assert without(baseline, "name", "far") == without(control, "name", "far")
    assert (baseline.recipe.far, control.recipe.far) == (True, False)
    assert without(baseline, "name", "policy") == without(memory, "name", "policy")
    (pixel,) = CARRY
    assert without(memory, "name", "policy") == without(pixel, "name", "policy")
    assert (baseline.recipe.policy, memory.recipe.policy) == (WAN_ANIMATE, METHOD)


@pytest.mark.parametrize(("after", "steps", "least"), [("memory", 1000, 9), ("memory", 3000, 2), ("baseline", 1000, 3)])
def test_a_rung_of_the_ladder_differs_from_its_control_in_target_and_perturbation_alone(after, steps, least):
    changed = ("name", "schedule", "perturbed_motion", "perturbation", "shared")
    rungs = [task for task in LADDER if (task.after, task.steps) == (after, steps)]
    control = TASK[f"{after}_longer" if steps == 1000 else f"{after}_longer_{steps}"]
    assert control in rungs and len(rungs) >= least
    assert (control.schedule, control.recipe.perturbed_motion) == ("none", 0)
    for task in rungs:
        assert without(task, *changed) == without(control, *changed)
        assert task.recipe.policy == TASK[after].recipe.policy and task.recipe.far


def test_worlds_that_are_measured_were_never_trained_on():
    """Nor by the VAE, whose components and statistics come from the worlds below its first."""
    lowest_of_vae = train_vae.FIRST_SEED - train_vae.STATISTICS
    longest = max(train_dit.SHARDS, train_dit.LIT_SHARDS + 1) * films.SHARD
    trained = range(films.FIRST_SEED, films.FIRST_SEED + longest)
    clips = range(lowest_of_vae, train_vae.FIRST_SEED + train_vae.FRESH * train_vae.STEPS + train_vae.POOL)
    assert MEASURED.stop <= lowest_of_vae and clips.stop < trained.start
