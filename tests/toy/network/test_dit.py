"""The form in which the network is trained and the stock class that loads its file are one function."""

import pytest
import torch

from everanimate_core.backends.wan_alignment import encode_driving, predict_velocity
from everanimate_core.backends.wan_checkpoint import transformer_from_state
from everanimate_core.toy.network.dit import load_dit, new_network, original_name
from everanimate_core.toy.network.state import DIM, MEMORY_WEIGHTS, complete, read_state


@pytest.fixture(scope="module")
def trained():
    """A network as it is trained, with weights that all matter."""
    network = new_network(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("attn2.bias") or "proj_out" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    return network.eval().requires_grad_(False)


def answer(network, text):
    generator = torch.Generator().manual_seed(2)
    state, pose = (torch.randn(shape, generator=generator) for shape in ((2, 36, 13, 8, 8), (2, 16, 9, 8, 8)))
    driving = encode_driving(network, anchors=4, latents=9, pose=pose, face=None)
    return predict_velocity(network, driving, state, torch.tensor([900.0, 300.0]), text.expand(2, -1, -1), None)


@pytest.mark.parametrize("tokens", [1, 7])
def test_the_stock_class_gives_the_same_for_any_text(trained, tokens):
    state = {original_name(name): value for name, value in trained.named_parameters()}
    stock = transformer_from_state(complete(state), "trained", device="cpu", dtype=torch.float32)
    text = torch.randn(1, tokens, 4096, generator=torch.Generator().manual_seed(tokens))
    ours = answer(trained, torch.zeros(1, 1, 1))
    assert (answer(stock, text) - ours).norm() / ours.norm() < 1e-6


def test_it_starts_with_open_gates_and_no_output():
    network = new_network(0)
    table = network.blocks[3].scale_shift_table
    assert (table[:, [2, 5]] == 1).all() and not (table[:, [0, 1, 3, 4]] == 1).any()
    assert not answer(network.eval(), torch.zeros(1, 1, 1)).any()
    assert torch.equal(new_network(0).patch_embedding.weight, network.patch_embedding.weight)
    assert not torch.equal(new_network(1).patch_embedding.weight, network.patch_embedding.weight)


def test_making_one_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    new_network(0)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_the_shipped_file_loads():
    network = load_dit()
    weight = read_state(MEMORY_WEIGHTS)["blocks.2.self_attn.q.weight"]
    assert torch.equal(network.blocks[2].attn1.to_q.weight, weight) and weight.shape == (DIM, DIM)
    assert not network.training and not any(value.requires_grad for value in network.parameters())
