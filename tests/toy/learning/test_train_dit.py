"""Training of the toy's transformers: it learns, it goes on, and processes share a batch without a difference."""

import json
from dataclasses import replace
from statistics import mean

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from everanimate_core.cli import main as cli
from everanimate_core.toy.learning import films, train_dit
from everanimate_core.toy.learning.material import Batch
from everanimate_core.toy.learning.train_dit import TASKS, Objective, Training, draw_step
from everanimate_core.toy.network.state import BASELINE_WEIGHTS, MEMORY_WEIGHTS


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Training of the same kind that takes moments; the folder of the run."""
    for name, value in {"SHARDS": 1, "SHARD": 4, "BATCH": 2, "WARMUP": 4, "LOG_EVERY": 5, "SAVE_EVERY": 10}.items():
        monkeypatch.setattr(train_dit, name, value)
    monkeypatch.setattr(train_dit, "UNSEEN", range(1))
    monkeypatch.setattr(films, "SHARD", 4)
    monkeypatch.setattr(train_dit, "TASKS", tuple(replace(task, steps=20) for task in TASKS))
    return tmp_path


@pytest.fixture
def accelerator():
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


def training(folder, accelerator, task=0):
    return Training(train_dit.TASKS[task], folder, 0, accelerator, compiled=False)


@pytest.mark.parametrize("task", [0, 1])
def test_thirty_steps_reduce_the_loss(small, accelerator, monkeypatch, task):
    monkeypatch.setattr(train_dit, "TASKS", tuple(replace(task, steps=30, after=None) for task in TASKS))
    run = training(small, accelerator, task)
    draw = run.material()
    losses = [run.advance(draw) for _ in range(30)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_a_row_has_the_mean_loss_of_the_steps_since_the_one_before(small, accelerator, monkeypatch):
    run, losses = training(small, accelerator), []
    advance = run.advance
    monkeypatch.setattr(run, "advance", lambda draw: losses.append(advance(draw)) or losses[-1])
    assert run.run(None)
    rows = [row.split(",") for row in (small / f"{run.task.name}.csv").read_text().splitlines()[1:]]
    assert [row[:2] for row in rows] == [[f"{n}", f"{mean(losses[n - 5 : n]):.6f}"] for n in (5, 10, 15, 20)]


def test_it_goes_on_where_it_was_left(small, accelerator):
    run = training(small, accelerator)
    draw = run.material()
    for _ in range(2):
        run.advance(draw)
    run.learner.save(run.state)
    again = training(small, accelerator)
    assert [run.advance(draw) for _ in range(2)] == [again.advance(draw) for _ in range(2)]
    for name, value in run.learner.network.named_parameters():
        assert torch.equal(value, again.learner.network.get_parameter(name))


def test_the_second_network_starts_from_the_first(small, accelerator):
    run = training(small, accelerator)
    run.advance(run.material())
    run.learner.save(run.state)
    second = training(small, accelerator, task=1)
    for name, value in run.learner.average.items():
        assert torch.equal(second.learner.network.get_parameter(name), value)


def test_shares_of_a_batch_make_up_the_whole(small, accelerator):
    run = training(small, accelerator)
    batch, noise, sigma = draw_step(0, 0, run.material())
    objective = Objective(run.learner.network, 1)
    with torch.no_grad():
        run.learner.network.proj_out.weight.normal_(generator=torch.Generator().manual_seed(0))
        whole = objective(batch, noise, sigma)
        shares = [objective(batch.part(part), noise[part], sigma[part]) for part in (slice(0, 1), slice(1, 2))]
    assert whole.item() == pytest.approx(sum(shares).item() / 2, rel=1e-5)


def test_the_loss_by_hand(small, accelerator):
    run = training(small, accelerator)
    batch, noise, sigma = draw_step(0, 3, run.material())
    # A network that has learned nothing answers zero: the loss is the mean square of noise - clean.
    loss = Objective(run.learner.network, 1)(batch, noise, sigma)
    assert loss.item() == pytest.approx((noise - batch.clean).square().mean().item(), rel=1e-5)


def test_noise_levels_are_shifted_towards_noise():
    empty = Batch(torch.zeros(4000, 1), torch.zeros(4000, 1), torch.zeros(4000, 1))
    _, _, sigma = draw_step(0, 0, lambda generator: empty)
    # Half of the uniform levels lie above 1/2, which becomes 5/6.
    assert (sigma > 5 / 6).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert sigma.min() >= 0 and sigma.max() <= 1
    assert torch.equal(sigma, draw_step(0, 0, lambda generator: empty)[2])
    assert not torch.equal(sigma, draw_step(0, 1, lambda generator: empty)[2])


def test_command_line_trains_stops_and_exports(small, capsys):
    command = ["train-toy", "--out", str(small)]
    # Time for one step only: it stops at the next save, and the same command goes on from there.
    assert cli.main([*command, "--minutes", "1e-9"]) == 0
    assert not (small / "baseline.safetensors").exists()
    capsys.readouterr()
    assert cli.main(command) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("15 ")
    AcceleratorState._reset_state(reset_partial_state=True)
    for name in ("baseline", "memory"):
        facts = json.loads((small / f"{name}.json").read_text())
        assert facts["command"] == "everanimate train-toy --out DIR --seed 0"
        assert (facts["steps"], facts["films"], len(facts["psnr"])) == (20, 4, 1)
        rows = (small / f"{name}.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows[1:]] == ["5", "10", "15", "20"]
        shipped = load_file({"baseline": BASELINE_WEIGHTS, "memory": MEMORY_WEIGHTS}[name])
        made = load_file(small / f"{name}.safetensors")
        assert {key: value.shape for key, value in made.items()} == {key: value.shape for key, value in shipped.items()}
