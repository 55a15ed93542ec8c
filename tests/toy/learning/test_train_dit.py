"""Training of the toy's transformers: it learns, it goes on, and processes share a batch without a difference."""

import json
from dataclasses import asdict, replace
from math import inf
from statistics import mean

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from everanimate_core.cli import main as cli
from everanimate_core.everanimate.perturbation import GATE_SIGMA
from everanimate_core.everanimate.restoration import loss_weight
from everanimate_core.toy.learning import films, train_dit
from everanimate_core.toy.learning.material import Batch
from everanimate_core.toy.learning.tasks import TASKS
from everanimate_core.toy.learning.train_dit import Objective, Training, draw_step
from everanimate_core.toy.network.dit import original_name
from everanimate_core.toy.network.state import BASELINE_WEIGHTS, FOLDER, read_state

TASK = {task.name: task for task in TASKS}
SMALL = ("even_baseline", "even_memory", "memory", "memory_rfm_light")


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Training of the same kind that takes moments, of four networks; the folder of the run."""
    sizes = {"SHARDS": 1, "LIT_SHARDS": 1, "SHARD": 4, "BATCH": 2, "WARMUP": 4, "LOG_EVERY": 5, "SAVE_EVERY": 10}
    for name, value in {**sizes, "HELD_OUT": 1}.items():
        monkeypatch.setattr(train_dit, name, value)
    monkeypatch.setattr(train_dit, "UNSEEN", range(1))
    monkeypatch.setattr(films, "SHARD", 4)
    tasks = [replace(TASK[name], steps=20) for name in SMALL]
    # From weights that are shipped, whatever else is.
    monkeypatch.setattr(train_dit, "TASKS", (*tasks[:3], replace(tasks[3], after="even_memory")))
    return tmp_path


@pytest.fixture
def accelerator():
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


def training(folder, accelerator, task=0):
    return Training(train_dit.TASKS[task], folder, 0, accelerator, compiled=False)


@pytest.mark.parametrize("task", [0, 1])
def test_thirty_steps_reduce_the_loss(small, accelerator, monkeypatch, task):
    tasks = tuple(replace(task, steps=30, rate=1e-3, after=None) for task in train_dit.TASKS)
    monkeypatch.setattr(train_dit, "TASKS", tasks)
    run = training(small, accelerator, task)
    draw, _ = run.material()
    losses = [run.advance(draw) for _ in range(30)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_a_row_has_the_mean_loss_of_the_steps_since_the_one_before(small, accelerator, monkeypatch):
    run, losses = training(small, accelerator), []
    advance = run.advance
    monkeypatch.setattr(run, "advance", lambda draw: losses.append(advance(draw)) or losses[-1])
    assert run.run(inf)
    rows = [row.split(",") for row in (small / f"{run.task.name}.csv").read_text().splitlines()[1:]]
    assert [row[:2] for row in rows] == [[f"{n}", f"{mean(losses[n - 5 : n]):.6f}"] for n in (5, 10, 15, 20)]


def test_it_goes_on_where_it_was_left(small, accelerator):
    run = training(small, accelerator)
    draw, _ = run.material()
    for _ in range(2):
        run.advance(draw)
    run.learner.save(run.state)
    again = training(small, accelerator)
    assert [run.advance(draw) for _ in range(2)] == [again.advance(draw) for _ in range(2)]
    for name, value in run.learner.network.named_parameters():
        assert torch.equal(value, again.learner.network.get_parameter(name))


def test_the_second_network_starts_from_the_first(small, accelerator):
    run = training(small, accelerator)
    run.advance(run.material()[0])
    run.learner.save(run.state)
    second = training(small, accelerator, task=1)
    for name, value in run.learner.average.items():
        assert torch.equal(second.learner.network.get_parameter(name), value)


def test_without_a_state_a_network_starts_from_the_shipped_weights(small, accelerator):
    run, shipped = training(small, accelerator, task=2), read_state(FOLDER / "even_baseline.safetensors")
    for name, value in run.learner.network.named_parameters():
        assert torch.equal(value, shipped[original_name(name)])
        assert torch.equal(value, run.learner.average[name])


def test_shares_of_a_batch_make_up_the_whole(small, accelerator):
    run = training(small, accelerator)
    batch, noise, sigma = draw_step(run.task, 0, 0, run.material()[0])
    objective = Objective(run.learner.network, run.task)
    with torch.no_grad():
        run.learner.network.proj_out.weight.normal_(generator=torch.Generator().manual_seed(0))
        whole = objective(batch, noise, sigma)
        shares = [objective(batch.part(part), noise[part], sigma[part]) for part in (slice(0, 1), slice(1, 2))]
    assert whole.item() == pytest.approx(sum(shares).item() / 2, rel=1e-5)


def test_the_loss_by_hand(small, accelerator):
    run = training(small, accelerator)
    batch, noise, sigma = draw_step(run.task, 0, 3, run.material()[0])
    # A network that has learned nothing answers zero: the loss is the mean square of noise - clean.
    loss = Objective(run.learner.network, run.task)(batch, noise, sigma)
    assert loss.item() == pytest.approx((noise - batch.clean).square().mean().item(), rel=1e-5)


def test_the_restorative_loss_by_hand(small, accelerator):
    run = training(small, accelerator, task=3)
    batch, noise, _ = draw_step(run.task, 0, 3, run.material()[0])
    chunk, sigma = batch.clean[:, :, 4:], torch.full((2,), 0.5)
    drifted = replace(batch, drifted=chunk + 1)
    with torch.no_grad():
        for parameter in run.learner.network.parameters():
            parameter.zero_()
    # At sigma 0.5 the bounded weight is 1, and the state is moved by half of the drift.
    target = noise - batch.clean
    target[:, :, 4:] += 0.5
    weight = loss_weight(torch.tensor(0.5)).item()
    loss = Objective(run.learner.network, run.task)(drifted, noise, sigma)
    assert loss.item() == pytest.approx(weight * target.square().mean().item(), rel=1e-4)
    assert Objective(run.learner.network, replace(run.task, schedule="none"))(
        drifted.drifted_where(torch.zeros(2, dtype=torch.bool)), noise, sigma
    ).item() == pytest.approx(weight * (noise - batch.clean).square().mean().item(), rel=1e-4)


def test_only_noisy_samples_drift_and_those_of_the_control_never(small, accelerator):
    run = training(small, accelerator, task=3)
    draw, _ = run.material()
    hits = {True: 0, False: 0}
    for step in range(40):
        batch, _, sigma = draw_step(run.task, 0, step, draw)
        for clean, drifted, level in zip(batch.clean, batch.drifted, sigma, strict=True):
            hit = not torch.equal(drifted, clean[:, 4:])
            hits[hit] += 1
            assert not hit or level >= GATE_SIGMA
        control, _, same = draw_step(replace(run.task, schedule="none"), 0, step, draw)
        assert torch.equal(same, sigma) and torch.equal(control.context, batch.context)
        assert torch.equal(control.drifted, control.clean[:, :, 4:])
    assert hits[True] > 10 < hits[False]


def test_noise_levels_are_shifted_towards_noise():
    empty, task = Batch(*[torch.zeros(4000, 1)] * 4), TASK["even_baseline"]
    _, _, sigma = draw_step(task, 0, 0, lambda generator: empty)
    # Half of the uniform levels lie above 1/2, which becomes 5/6.
    assert (sigma > 5 / 6).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert sigma.min() >= 0 and sigma.max() <= 1
    assert torch.equal(sigma, draw_step(task, 0, 0, lambda generator: empty)[2])
    assert not torch.equal(sigma, draw_step(task, 0, 1, lambda generator: empty)[2])


def test_command_line_trains_stops_and_exports(small, capsys):
    command = ["train-toy", "--out", str(small), "--only", "even_baseline", "memory"]
    # Time for one step only: it stops at the next save, and the same command goes on from there.
    assert cli.main([*command, "--minutes", "1e-9"]) == 0
    assert not (small / "even_baseline.safetensors").exists()
    capsys.readouterr()
    assert cli.main(command) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("15 ")
    AcceleratorState._reset_state(reset_partial_state=True)
    assert not (small / "even_memory.csv").exists()
    for name in ("even_baseline", "memory"):
        facts = json.loads((small / f"{name}.json").read_text())
        assert facts["command"] == f"everanimate train-toy --out DIR --seed 0 --only {name}"
        assert (facts["steps"], facts["films"], len(facts["psnr"])) == (20, 4, 1)
        assert (facts["after"], facts["target"]) == (TASK[name].after, None)
        assert facts["recipe"] == asdict(TASK[name].recipe)
        heading, *rows = (row.split(",") for row in (small / f"{name}.csv").read_text().splitlines())
        assert heading == ["step", "loss", "loss_unseen", "psnr_unseen"]
        assert [row[0] for row in rows] == ["5", "10", "15", "20"]
        assert [bool(row[2] and row[3]) for row in rows] == [False, True, False, True]
        shipped, made = read_state(BASELINE_WEIGHTS), read_state(small / f"{name}.safetensors")
        assert {key: value.shape for key, value in made.items()} == {key: value.shape for key, value in shipped.items()}


def test_a_network_that_is_none_is_refused(small, capsys):
    assert cli.main(["train-toy", "--out", str(small), "--only", "barseline"]) == 2
    assert (
        "--only: must be of even_baseline, even_memory, memory, memory_rfm_light (baseline); got"
        in capsys.readouterr().err
    )
