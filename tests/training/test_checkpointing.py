"""What waits for the backward pass: the tokens that each block and each face adapter takes in, and nothing else."""

from functools import partial

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from everanimate_core.training import checkpointing

DIM = 24


class Layer(torch.nn.Module):
    """Keeps several activations, unless they are computed twice."""

    def forward(self, tokens, *shared):
        return (tokens * 2).sin().cos() + sum(value.square().sum() for value in shared)


@pytest.mark.parametrize("offload", [False, True])
def test_blocks_and_face_adapters_keep_their_tokens_alone(wan, monkeypatch, offload):
    kept = []

    def pack(tensor):
        kept.append(tuple(tensor.shape))
        return tensor

    # Torch's hooks for the CPU, in whose place these count.
    monkeypatch.setattr(
        checkpointing, "save_on_cpu", lambda pin_memory: saved_tensors_hooks(pack, lambda tensor: tensor)
    )
    transformer = wan()
    checkpointing.enable_checkpointing(transformer, offload=offload)
    adapter = transformer.face_adapter[0].forward
    layer, tokens, shared = Layer(), torch.rand(1, 7, DIM, requires_grad=True), torch.rand(3, DIM)
    for compute in (transformer._gradient_checkpointing_func, partial(adapter.func, *adapter.args[:-1])):
        kept.clear()
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            result = compute(layer, tokens, shared)
        assert kept == [(1, 7, DIM)]
        (gradient,) = torch.autograd.grad(result.sum(), tokens)
        (expected,) = torch.autograd.grad(layer(tokens, shared).sum(), tokens)
        assert torch.equal(gradient, expected)


def test_every_face_adapter_is_covered_and_one_that_is_missing_is_no_fault(wan):
    transformer = wan()
    stock = [adapter.forward for adapter in transformer.face_adapter]
    checkpointing.enable_checkpointing(transformer)
    assert [adapter.forward.args for adapter in transformer.face_adapter] == [(False, forward) for forward in stock]
    transformer.face_adapter = torch.nn.Identity()
    checkpointing.enable_checkpointing(transformer)
    assert transformer.gradient_checkpointing


def test_without_gradients_nothing_is_kept(wan):
    transformer = wan()
    checkpointing.enable_checkpointing(transformer, offload=True)
    with torch.no_grad():
        result = transformer._gradient_checkpointing_func(Layer(), torch.rand(1, 7, DIM))
    assert result.grad_fn is None
