"""The memory's correction of the control, against the authors' class."""

import os
from pathlib import Path

import pytest
import torch
from colour_authors import module, needs_authors
from colour_parts import DGLM_SIZES, dglm_network
from refusals import refusal
from safetensors.torch import load_file, save_file
from tensor_parts import randn, relative_error

from everanimate_core.longanimation.dglm import (
    HEAD_DIM,
    DglmSizes,
    GlobalLocalMemory,
    check_dglm,
    check_kv,
    check_memory,
)

GOLDEN = Path(__file__).parents[1] / "data" / "longanimation" / "dglm.safetensors"
RELEASED = DglmSizes(width=3072, kv=512, narrow=1024, wide=2048, inner=3072)


def inputs():
    """Global and local memory [2, 3, n, 512], and a control of two rows."""
    return randn(2, 3, 13, 512, seed=1), randn(2, 3, 7, 512, seed=2), randn(2, 30, 128, seed=3)


@torch.no_grad()
def made(network):
    whole, last, control = inputs()
    return network(network.project(torch.cat([whole, last], dim=2)), control)


@torch.no_grad()
def authors(network):
    whole, last, control = inputs()
    kind = module("global_local_memory_module").global_local_memory
    theirs = kind(dim=128, dim_head=HEAD_DIM, heads=2, output_dim=128).eval()
    theirs.load_state_dict(network.state_dict())
    # Their class repeats the memory for every row of the control.
    return theirs(whole[None], last[None], control)


def test_it_has_the_golden_numbers():
    """They were made by the authors' class: see the test below."""
    assert relative_error(made(dglm_network()), load_file(GOLDEN)["added"]) < 1e-5


@needs_authors
def test_it_is_the_authors():
    network = dglm_network()
    theirs = authors(network)
    assert relative_error(made(network), theirs) < 1e-6
    if os.environ.get("WRITE_GOLDEN"):
        save_file({"added": theirs}, GOLDEN)


def test_the_released_network_has_97_tensors():
    with torch.device("meta"):
        network = GlobalLocalMemory(RELEASED)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes == RELEASED.shapes()
    assert len(shapes) == 97
    assert sum(value.numel() for value in network.parameters()) == 402_782_208


@needs_authors
def test_names_and_shapes_are_the_authors():
    with torch.device("meta"):
        theirs = module("global_local_memory_module").global_local_memory()
    assert {name: tuple(value.shape) for name, value in theirs.state_dict().items()} == RELEASED.shapes()


def test_an_untrained_one_adds_nothing():
    assert not made(GlobalLocalMemory(DGLM_SIZES)).any()


@torch.no_grad()
def test_every_row_and_every_token_looks_up_by_itself():
    network, (whole, _, control) = dglm_network(), inputs()
    projected = network.project(whole)
    added = network(projected, control)
    for row in range(2):
        assert relative_error(network(projected, control[row : row + 1]), added[row : row + 1]) < 1e-5
    assert relative_error(network(projected, control[:, 4:9]), added[:, 4:9]) < 1e-5


@torch.no_grad()
def test_the_order_of_the_memory_does_not_matter_but_all_of_it_counts():
    network, (whole, last, control) = dglm_network(), inputs()

    def added(*parts):
        return network(network.project(torch.cat(parts, dim=2)), control)

    one = added(whole, last)
    assert relative_error(added(last, whole), one) < 1e-5
    for part in range(2):
        for layer in range(3):
            changed = whole.clone()
            changed[part, layer] += randn(13, 512, seed=4)
            assert relative_error(added(changed, last), one) > 1e-2


@torch.no_grad()
def test_keys_and_values_have_one_norm():
    network, whole = dglm_network(), inputs()[0]
    before = network.project(whole)
    for looking, _ in network.layers:
        looking.norm1.weight.mul_(2)
    for (key, value), (other_key, other_value) in zip(before, network.project(whole), strict=True):
        assert relative_error(other_key, key) > 0.1 and relative_error(other_value, value) > 0.1


class Counting(torch.nn.Linear):
    calls = 0

    def forward(self, x):
        Counting.calls += 1
        return super().forward(x)


@torch.no_grad()
def test_a_host_hands_in_its_classes_and_the_attention():
    class operations:
        Linear, LayerNorm = Counting, torch.nn.LayerNorm

    seen = []

    def attention(*tensors):
        seen.append([list(tensor.shape) for tensor in tensors])
        return torch.nn.functional.scaled_dot_product_attention(*tensors)

    network = GlobalLocalMemory(DGLM_SIZES, operations, attention, dtype=torch.bfloat16)
    assert {value.dtype for value in network.state_dict().values()} == {torch.bfloat16}
    network.float().load_state_dict(dglm_network().state_dict())
    whole, last, control = inputs()
    projected = network.project(torch.cat([whole, last], dim=2))
    # Three maps and one projection for keys and for values, in three layers: once a window.
    assert Counting.calls == 3 * 2 * 4
    found = network(projected, control)
    assert Counting.calls == 3 * 2 * 4 + 3 * 4
    assert seen == [[[1, 2, 60, 96], [1, 2, 20, 96], [1, 2, 20, 96]]] * 3
    assert torch.equal(found, made(dglm_network()))


@pytest.mark.parametrize("shape", [(2, 3, 0, 512), (2, 2, 9, 512), (1, 3, 9, 512), (2, 3, 512)])
def test_other_memories_are_refused(shape):
    message = f"memory must be keys and values of 3 layers ([2, 3, N, 512]); got {list(shape)}."
    assert refusal(check_memory, torch.zeros(shape), DGLM_SIZES) == message


def test_widths_that_do_not_fit_are_refused():
    assert refusal(check_dglm, DGLM_SIZES, 3072) == "memory_file must be of SketchDiT's width, 3072; got 128."
    check_dglm(RELEASED, 3072)
    message = "memory must be of the width that the DGLM reads, 512; got 256."
    assert refusal(check_memory, torch.zeros(2, 3, 9, 256), DGLM_SIZES) == message
    message = "video_model must be of the width that the DGLM reads, 512; got 256."
    assert refusal(check_kv, 256, DGLM_SIZES, "video_model") == message
    check_memory(torch.zeros(2, 3, 9, 512), DGLM_SIZES)
