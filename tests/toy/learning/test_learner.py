"""Steps of learning, and a run that goes on where it was left."""

import math
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from everanimate_core.runs.run import RunFailed
from everanimate_core.toy.learning.learner import Learner, check_limits, deadline


def learner(seed=0, **changes):
    torch.manual_seed(seed)
    facts = {"steps": 10, "rate": 0.1, "warmup": 4, "decay": 0.5, "facts": {"seed": 0}} | changes
    return Learner(nn.Linear(3, 2), **facts)


def loss(run):
    return run.network(torch.ones(1, 3)).square().sum()


def test_the_rate_rises_and_falls():
    run, rates = learner(), []
    for _ in range(10):
        run.update(loss(run))
        rates.append(run.optimiser.param_groups[0]["lr"])
    falls = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    rises = [0.25, 0.5, 0.75, *[1] * 7]
    assert rates == pytest.approx([0.1 * rise * fall for rise, fall in zip(rises, falls, strict=True)])
    assert run.step == 10


def test_the_average_follows_the_weights():
    run = learner()
    before = run.network.weight.detach().clone()
    value = run.update(loss(run))
    assert value == pytest.approx(
        (before.sum(1) + run.average["bias"] * 0 + learner().network.bias).square().sum().item()
    )
    assert torch.allclose(run.average["weight"], (before + run.network.weight) / 2)
    run.restart_average()
    assert torch.equal(run.average["weight"], run.network.weight)


def test_a_run_goes_on(tmp_path):
    run = learner()
    for _ in range(3):
        run.update(loss(run))
    run.save(tmp_path / "state.safetensors")
    again = learner(seed=1)
    again.resume(tmp_path / "state.safetensors")
    for _ in range(3):
        assert run.update(loss(run)) == again.update(loss(again))
    assert again.step == 6
    for name, value in run.network.named_parameters():
        assert torch.equal(again.network.get_parameter(name), value)
        assert torch.equal(again.average[name], run.average[name])
    with pytest.raises(
        ValueError, match=r"must be of the same run \({'seed': 1}\); got {'seed': 0} in .*state\.safetensors\.$"
    ):
        learner(facts={"seed": 1}).resume(tmp_path / "state.safetensors")


def test_rows_are_logged_and_states_saved_now_and_then(tmp_path):
    losses, log, state = [], tmp_path / "log.csv", tmp_path / "state.safetensors"

    def train(run, end):
        def advance():
            losses.append(run.update(loss(run)))
            return losses[-1]

        return run.train(advance, lambda: [f"{run.step}.5", ""], log, "step,loss,one,other", state, (2, 4), end)

    # Its time is over after the first step.
    assert not train(learner(), -math.inf)
    again = learner(seed=1)
    again.resume(state)
    assert again.step == len(losses) == 1
    assert train(again, math.inf)

    def row(step, since, *more):
        return ",".join([str(step), f"{sum(losses[since:step]) / (step - since):.6f}", *more])

    rows = [row(2, 1, "", ""), row(4, 2, "4.5", ""), row(6, 4, "", ""), row(8, 6, "8.5", ""), row(10, 8, "10.5", "")]
    assert log.read_text().splitlines() == ["step,loss,one,other", *rows]
    last = learner()
    last.resume(state)
    assert last.step == 10


def test_a_deadline(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)
    assert (deadline(2), deadline(None)) == (127.0, math.inf)


def test_a_run_starts_from_the_average_of_another(tmp_path):
    run = learner()
    run.update(loss(run))
    run.save(tmp_path / "state.safetensors")
    other = learner(seed=1, facts={"seed": 1})
    other.start_from(tmp_path / "state.safetensors")
    assert other.step == 0 and not other.optimiser.state
    assert torch.equal(other.network.weight, run.average["weight"])
    assert torch.equal(other.average["bias"], run.average["bias"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_nothing(value):
    run = learner()
    run.update(loss(run))
    before = [value.clone() for value in (*run.network.parameters(), *run.average.values())]
    with pytest.raises(
        RunFailed, match=rf"got loss {value}, gradients of norm .* in step 2 of 10\. The step was not taken"
    ):
        run.update(loss(run) * value)
    after = (*run.network.parameters(), *run.average.values())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert run.step == 1


def test_a_bad_loss_of_another_process_stops_this_one_too():
    run = learner(shared=lambda own: own * math.nan)
    with pytest.raises(RunFailed, match="got loss nan"):
        run.update(loss(run))


@pytest.mark.parametrize("damage", ["cut", "no header", "deep", "no step", "missing", "shape", "nan"])
def test_a_damaged_state_is_named_with_the_way_out(tmp_path, damage):
    run, path = learner(), tmp_path / "state.safetensors"
    run.update(loss(run))
    run.save(path)
    tensors, header = load_file(path), {"training": '{"step": 1, "seed": 0}'}
    tensors = {name: value.clone() for name, value in tensors.items()}
    if damage == "no header":
        header = None
    elif damage == "deep":
        header = {"training": "[" * 100_000}
    elif damage == "no step":
        header = {"training": '{"step": "1"}'}
    elif damage == "missing":
        del tensors["exp_avg.bias"]
    elif damage == "shape":
        tensors["weight.bias"] = torch.zeros(3)
    elif damage == "nan":
        tensors["weight.bias"][0] = math.nan
    save_file(tensors, path, header)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        ValueError, match=r"^the state of a training must be .* \(delete it to begin anew\); got .*state"
    ):
        learner().resume(path)


@pytest.mark.parametrize(
    ("seed", "minutes"), [(-1, None), (2**32, None), (0, math.nan), (0, math.inf), (0, 0.0), (0, -1.0)]
)
def test_limits_that_make_no_sense_are_refused(seed, minutes):
    with pytest.raises(ValueError, match=r"^(seed|minutes) must be"):
        check_limits(seed, minutes)
