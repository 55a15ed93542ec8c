"""What waits for the backward pass: the tokens that each block and each face adapter takes in, and nothing else."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from everanimate_core.training import checkpointing
from everanimate_core.training.network import Network, batch_loss
from everanimate_core.training.samples import Batch

DIM = 24


def stock_inputs():
    """A batch with face and CLIP; T = 2, N = 4."""
    random = torch.Generator().manual_seed(0)
    frames = {"clean": (16, 6), "drifted": (16, 2), "noise": (16, 6), "context": (20, 6), "pose": (16, 2)}
    latents = {name: torch.randn(1, *size, 4, 4, generator=random) for name, size in frames.items()}
    text, clip, face = (torch.randn(1, *size, generator=random) for size in ((512, 8), (257, 16), (3, 5, 16, 16)))
    return Batch(**latents, text=text, clip=clip, face=face, sigma=torch.tensor([0.5]))


class Layer(torch.nn.Module):
    """Keeps several activations, unless they are computed twice."""

    def forward(self, tokens, *shared):
        return (tokens * 2).sin().cos() + sum(value.square().sum() for value in shared)


@pytest.mark.parametrize("offload", [False, True])
def test_blocks_and_face_adapters_keep_their_tokens_alone(wan, monkeypatch, offload):
    kept, moved = [], []

    def noting(shapes):
        return saved_tensors_hooks(lambda tensor: shapes.append(tuple(tensor.shape)) or tensor, lambda tensor: tensor)

    # In the place of torch's hooks for the CPU.
    monkeypatch.setattr(checkpointing, "save_on_cpu", lambda pin_memory: noting(moved))
    transformer = wan()
    checkpointing.enable_checkpointing(transformer, offload=offload)
    adapter = transformer.face_adapter[0].forward
    layer, tokens, shared = Layer(), torch.rand(1, 7, DIM, requires_grad=True), torch.rand(3, DIM)
    for compute in (transformer._gradient_checkpointing_func, partial(adapter.func, *adapter.args[:-1])):
        kept.clear()
        moved.clear()
        with noting(kept):
            result = compute(layer, tokens, shared)
        assert (moved, kept)[:: 1 if offload else -1] == ([(1, 7, DIM)], [])
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


def test_shared_out_weights_give_the_same_gradients(wan):
    """As accelerate's FSDP shares them out, blocks and face adapters each on their own; in a group of one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        gradients, inputs = [], stock_inputs()
        for sharded in (False, True):
            network = Network(wan(), 4, 2, 0)
            checkpointing.enable_checkpointing(network.transformer, offload=True)
            if sharded:
                for part in (*network.transformer.blocks, *network.transformer.face_adapter, network):
                    fully_shard(part, mesh=init_device_mesh("cpu", (1,)))
            batch_loss(network, inputs, "none").backward()
            found = [value.grad for value in network.parameters() if value.requires_grad]
            gradients.append([value.full_tensor() if sharded else value for value in found])
        assert len(gradients[0]) == 100
        assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    finally:
        dist.destroy_process_group()


def test_without_gradients_nothing_is_kept(wan):
    transformer = wan()
    checkpointing.enable_checkpointing(transformer, offload=True)
    with torch.no_grad():
        result = transformer._gradient_checkpointing_func(Layer(), torch.rand(1, 7, DIM))
    assert result.grad_fn is None
