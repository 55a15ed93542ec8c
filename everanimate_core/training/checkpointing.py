"""Activation checkpointing: what blocks and face adapters compute is computed again in the backward pass, not kept.

Of each, only the tokens that it takes in stay in memory, 0.4 GB for Wan-Animate-14B at 832x480. They can wait in main
memory.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from ..backends.wan_checkpoint import has_face_path


def enable_checkpointing(transformer: nn.Module, *, offload: bool = False) -> None:
    """From now on, passes with gradients through a WanAnimateTransformer3DModel keep no activations. Gradients stay the
    same, bit for bit.

    offload: what blocks and adapters take in waits on the CPU for the backward pass. diffusers' own checkpointing
    covers the blocks alone; face adapters, which every fifth block has, need it as much.
    """
    kept = partial(_kept, offload)
    transformer.enable_gradient_checkpointing(kept)
    if has_face_path(transformer):
        for adapter in transformer.face_adapter:
            adapter.forward = partial(kept, adapter.forward)


def _kept(offload: bool, compute: Callable[..., Tensor], tokens: Tensor, *shared: Tensor) -> Tensor:
    """compute(tokens, *shared), of which only `tokens` is kept.

    shared: what all blocks take in (text, time, rotary embedding, motion vectors). It is there anyway, so it is not
    moved.
    """
    waiting = save_on_cpu(pin_memory=tokens.is_cuda) if offload else nullcontext()
    with waiting:
        return checkpoint(lambda inside: compute(inside, *shared), tokens, use_reentrant=False)
