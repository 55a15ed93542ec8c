"""The Wan-Animate transformer, computed by several processes together: each has a share of the token sequence.

diffusers' context parallelism (Ulysses: https://arxiv.org/abs/2309.14509) with a plan for this transformer. Tokens are
split after patch embedding and pose. Self-attention sees all of them: for its time, each process has a share of the
heads instead. All else looks at each token on its own: feed-forward, attention to text and picture, and the face
adapters, whose tokens attend to the motion vectors of their own frame. Numbers of tokens and heads need not divide by
that of processes.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.functional import pad

from ..errors import InputError
from .needs import extra_packages
from .wan_checkpoint import has_face_path

with extra_packages():
    from diffusers import ContextParallelConfig, ParallelConfig
    from diffusers.hooks.context_parallel import apply_context_parallel, remove_context_parallel
    from diffusers.models._modeling_parallel import ContextParallelInput

# Where tokens are split: the two parts of the rotary embedding [1, S, 1, D], and what the first block sees [B, S, dim].
PLAN = {
    "rope": {part: ContextParallelInput(split_dim=1, expected_dims=4, split_output=True) for part in (0, 1)},
    "blocks.0": {"hidden_states": ContextParallelInput(split_dim=1, expected_dims=3)},
}


def check_heads(transformer: nn.Module, processes: int) -> None:
    """Raise InputError unless each of so many processes gets a share of the attention heads.

    All get equally many, but for the last, which gets what is left.
    """
    heads = transformer.config.num_attention_heads
    able = [count for count in range(1, heads + 1) if -(-heads // count) * (count - 1) < heads]
    if processes not in able:
        rule = f"must leave none without a share of the network's {heads} attention heads"
        raise InputError("processes", rule, ", ".join(map(str, able)), processes)


@contextmanager
def context_parallel(transformer: nn.Module) -> Iterator[None]:
    """While the block runs, all processes of the default group compute each call of the transformer together.

    All of them must call it, with equal weights and equal inputs; all get the whole output. transformer: diffusers'
    WanAnimateTransformer3DModel, which is left as it was.
    """
    processes = dist.get_world_size()
    device = transformer.patch_embedding.weight.device
    mesh = dist.init_device_mesh(device.type, (1, processes), mesh_dim_names=("ring", "ulysses"))
    # What the model's own `enable_parallelism` does, which needs an accelerator, and would have every face adapter
    # attend to the frames of other processes.
    config = ContextParallelConfig(ulysses_degree=processes, ulysses_anything=True, mesh=mesh)
    parallel = ParallelConfig(context_parallel_config=config)
    parallel.setup(dist.get_rank(), processes, device, mesh=mesh)
    attention = [block.attn1.processor for block in transformer.blocks]
    with ExitStack() as hooks:
        share = _Share(mesh)
        hooks.enter_context(transformer.blocks[0].register_forward_pre_hook(share.count))
        hooks.enter_context(transformer.proj_out.register_forward_hook(share.gather))
        for adapter in transformer.face_adapter if has_face_path(transformer) else ():
            hooks.enter_context(adapter.register_forward_pre_hook(share.to_whole_frames))
            hooks.enter_context(adapter.register_forward_hook(share.to_own_tokens))
        apply_context_parallel(transformer, config, PLAN)
        try:
            for processor in attention:
                processor._parallel_config = parallel
            yield
        finally:
            for processor in attention:
                processor._parallel_config = None
            remove_context_parallel(transformer, PLAN)


class _Share:
    """The share of this process in the tokens of a call, by hooks of the transformer's modules."""

    def __init__(self, mesh: DeviceMesh):
        self.group, self.rank = mesh["ulysses"].get_group(), mesh["ulysses"].get_local_rank()

    def count(self, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Before the first block splits the tokens [B, S, dim]: which of them are whose."""
        shares = torch.arange(inputs[0].shape[1]).tensor_split(dist.get_world_size(self.group))
        self.counts = [len(share) for share in shares]

    def to_whole_frames(self, adapter: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Own tokens [B, own, dim] and motion vectors of all F frames [B, F, 5, dim] -> those of the own frames.

        A face adapter takes tokens of whole frames: where a frame is shared, zeros stand in for tokens of others.
        """
        tokens, vectors = inputs
        size = sum(self.counts) // vectors.shape[1]
        start = sum(self.counts[: self.rank])
        stop = start + tokens.shape[1]
        first, last = start // size, -(-stop // size)
        self.before = start - first * size
        return pad(tokens, (0, 0, self.before, last * size - stop)), vectors[:, first:last]

    def to_own_tokens(self, adapter: nn.Module, inputs: tuple[Tensor, Tensor], output: Tensor) -> Tensor:
        """What a face adapter says, without what it says of the zeros."""
        return output[:, self.before : self.before + self.counts[self.rank]]

    def gather(self, head: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """The output [B, own, C] of all processes, [B, S, C]. Sent in equal sizes: gloo knows no others."""
        largest = pad(output, (0, 0, 0, max(self.counts) - output.shape[1])).contiguous()
        parts = [torch.empty_like(largest) for _ in self.counts]
        dist.all_gather(parts, largest, group=self.group)
        return torch.cat([part[:, :count] for part, count in zip(parts, self.counts, strict=True)], dim=1)
