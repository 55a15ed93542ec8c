import json

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from everanimate_core.errors import InputError
from everanimate_core.training.state import gather, read_state, weights_of, write_state

FACTS = {"seed": 0, "rank": 2}


def learner(seed, rate=0.01):
    """A frozen layer and a trained one, after three steps."""
    torch.manual_seed(seed)
    network = nn.ModuleDict({"frozen": nn.Linear(3, 3).requires_grad_(False), "trained": nn.Linear(3, 2)})
    optimiser = torch.optim.AdamW(network["trained"].parameters(), lr=rate)
    for _ in range(3):
        step(network, optimiser)
    return network, optimiser


def step(network, optimiser):
    network["trained"](network["frozen"](torch.ones(1, 3))).square().sum().backward()
    optimiser.step()
    optimiser.zero_grad()


def test_a_training_goes_on_bit_for_bit(tmp_path):
    network, optimiser = learner(0)
    path = tmp_path / "state.safetensors"
    tensors = gather(network, optimiser)
    assert {name for name in tensors if name.endswith("trained.bias")} == {
        f"{kind}.trained.bias" for kind in ("weight", "step", "exp_avg", "exp_avg_sq")
    }
    assert not [name for name in tensors if "frozen" in name]
    assert weights_of(tensors, "trained").keys() == {"weight", "bias"}
    write_state(path, tensors, 3, FACTS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.safetensors"]

    other, other_optimiser = learner(1, rate=0.02)
    other["frozen"].load_state_dict(network["frozen"].state_dict())
    assert read_state(path, other, other_optimiser, FACTS) == 3
    assert other_optimiser.param_groups[0]["lr"] == 0.02
    other_optimiser.param_groups[0]["lr"] = 0.01
    for _ in range(3):
        step(network, optimiser)
        step(other, other_optimiser)
    for one, same in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
    for one, same in zip(optimiser.state.values(), other_optimiser.state.values(), strict=True):
        assert all(torch.equal(one[name], same[name]) for name in one)


def test_an_optimiser_that_has_not_stepped_yet_can_be_restored(tmp_path):
    network, optimiser = learner(0)
    write_state(tmp_path / "state", gather(network, optimiser), 3, FACTS)
    fresh = torch.optim.AdamW(network["trained"].parameters())
    read_state(tmp_path / "state", network, fresh, FACTS)
    for one, same in zip(optimiser.state.values(), fresh.state.values(), strict=True):
        assert all(torch.equal(one[name], same[name]) for name in one)


def test_a_state_of_another_training_is_refused_and_changes_nothing(tmp_path):
    network, optimiser = learner(0)
    write_state(tmp_path / "state", gather(network, optimiser), 3, FACTS)
    other, other_optimiser = learner(1)
    before = [value.clone() for value in other.parameters()]
    message = r"^resume goes on with the settings of the training that is there \(rank 2\); got rank 4\.$"
    with pytest.raises(ValueError, match=message):
        read_state(tmp_path / "state", other, other_optimiser, {**FACTS, "rank": 4})
    with pytest.raises(ValueError, match=r"\(rank 2\); got rank off\.$"):
        read_state(tmp_path / "state", other, other_optimiser, {k: v for k, v in FACTS.items() if k != "rank"})
    assert all(torch.equal(one, was) for one, was in zip(other.parameters(), before, strict=True))


@pytest.fixture
def process_group():
    """A group of this process alone, which is enough for FSDP to make its parameters DTensors."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_sharded_network_goes_on_from_the_file_of_a_whole_one_and_back(tmp_path, process_group):
    whole, whole_optimiser = learner(0)
    write_state(tmp_path / "whole", gather(whole, whole_optimiser), 3, FACTS)

    sharded = learner(0)[0]
    fully_shard(sharded["trained"], mesh=process_group)
    optimiser = torch.optim.AdamW(sharded["trained"].parameters(), lr=0.01)
    read_state(tmp_path / "whole", sharded, optimiser, FACTS)
    step(whole, whole_optimiser)
    step(sharded, optimiser)
    assert all(isinstance(value, DTensor) for value in sharded["trained"].parameters())
    expected, tensors = gather(whole, whole_optimiser), gather(sharded, optimiser)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)
    assert not any(isinstance(value, DTensor) for value in tensors.values())


def damaged_states(tensors, header):
    """{kind of damage: (tensors, metadata)} of a state that was whole."""
    name = next(name for name in tensors if name.startswith("weight."))
    others = {other: value for other, value in tensors.items() if other != name}
    return {
        "no header": (tensors, None),
        "nested deeply": (tensors, {"training": "[" * 100_000}),
        "a list as header": (tensors, {"training": "[]"}),
        "no step": (tensors, {"training": '{"facts": {}}'}),
        "a negative step": (tensors, {"training": '{"step": -1, "facts": {}}'}),
        "text as step": (tensors, {"training": '{"step": "3", "facts": {}}'}),
        "a long step": (tensors, {"training": '{"step": ' + "9" * 5000 + ', "facts": {}}'}),
        "a list as facts": (tensors, {"training": '{"step": 3, "facts": []}'}),
        "a weight less": (others, header),
        "a weight more": ({**tensors, "weight.other": tensors[name].clone()}, header),
        "a moment less": ({key: value for key, value in tensors.items() if key != f"exp_avg.{name[7:]}"}, header),
        "another shape": ({**tensors, name: tensors[name].flatten()[:1].clone()}, header),
        "NaN": ({**tensors, name: tensors[name] * float("nan")}, header),
        "infinite moments": (
            {key: value / 0 if "exp_avg_sq" in key else value for key, value in tensors.items()},
            header,
        ),
    }


KINDS = list(damaged_states({"weight.a": torch.zeros(1)}, None))


@pytest.mark.parametrize("kind", [*KINDS, "cut", "empty", "something else"])
def test_a_damaged_state_names_the_way_on(tmp_path, kind):
    network, optimiser = learner(0)
    path = tmp_path / "state.safetensors"
    write_state(path, gather(network, optimiser), 3, FACTS)
    if kind in KINDS:
        tensors, header = damaged_states(
            gather(network, optimiser), {"training": json.dumps({"step": 3, "facts": FACTS})}
        )[kind]
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, header)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:-1], "empty": b"", "something else": b"\x80\x04K\x01."}[kind])
    (tmp_path / "lora-000003.safetensors").touch()
    other, fresh = learner(1)
    message = (
        r"^the state .* \(begin a new --out with --lora .*lora-000003\.safetensors.*\); got .*state\.safetensors, "
    )
    with pytest.raises(ValueError, match=message) as refused:
        read_state(path, other, fresh, FACTS)
    assert type(refused.value) is InputError and str(refused.value).isprintable()


def test_a_state_that_is_not_finite_is_not_written(tmp_path):
    network, optimiser = learner(0)
    path = tmp_path / "state.safetensors"
    write_state(path, gather(network, optimiser), 3, FACTS)
    before = path.read_bytes()
    with torch.no_grad():
        network["trained"].bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"must be finite numbers; got NaN or infinity in weight\.trained\.bias"):
        write_state(path, gather(network, optimiser), 4, FACTS)
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["state.safetensors"]
