"""Late overlap fusion: in the late steps, a window's first latents are blended with the last ones of the window before.

Slot 0 of the state is the reference's; slot 1 stands for the window's first frame, each further one for four. With an
overlap of 4 n + 1 frames slots 2 .. n + 1 stand for the same frames as the last n slots of the window before.
"""

import torch
from torch import Tensor

from ..latents import with_end


def shared_latents(overlap: int) -> int:
    """n, the latents that two windows share: 4 for 17 frames, and for 16, where they are one frame apart."""
    return overlap // 4


def fused(state: Tensor, tails: Tensor) -> Tensor:
    """The state [B, 16, T, h, w] of a window, its overlap blended with tails [B, 16, n, h, w] of the window before.

    The share of the window itself rises evenly: 0.2, 0.4, 0.6, 0.8 for four latents.
    """
    count = tails.shape[2]
    own = torch.arange(1, count + 1, device=state.device, dtype=state.dtype).view(1, 1, -1, 1, 1) / (count + 1)
    result = state.clone()
    result[:, :, 2 : 2 + count] = (1 - own) * tails.to(state) + own * state[:, :, 2 : 2 + count]
    return result


class Fusion:
    """What happens to the state after each step: blended with the window before, and its end kept for the next.

    first: the first step that is blended. before: the ends that the window before kept, [steps - first, 16, n, h, w],
    None for the first window. held: the end is given (`dpm.sample`) and is not blended; in short windows it may be part
    of the overlap. kept: the ends of this one, in the form of `before`.
    """

    def __init__(self, first: int, shared: int, before: Tensor | None, held: bool = False):
        self.first, self.shared, self.before, self.held = first, shared, before, held
        self._ends: list[Tensor] = []

    def __call__(self, index: int, state: Tensor, clean: Tensor) -> Tensor:
        """The state after step `index`."""
        if index < self.first:
            return state
        if self.before is not None:
            blend = fused(state, self.before[index - self.first, None])
            state = with_end(blend, state[:, :, -self.shared :]) if self.held else blend
        self._ends.append(state[0, :, -self.shared :].float().cpu())
        return state

    @property
    def kept(self) -> Tensor:
        """[steps - first, 16, n, h, w], float32, on the CPU."""
        return torch.stack(self._ends)
