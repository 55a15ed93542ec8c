"""LPIPS, the learned perceptual distance (Zhang et al. 2018, arXiv 1801.03924), version 0.1 on AlexNet.

Not the `lpips` package: it takes AlexNet from torchvision, whose default wheel cannot be loaded beside another build of
torch (CPU, ROCm), and it downloads weights when it is made.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from ..digests import digest
from ..errors import InputError, one_line
from ..tensor_files import read_tensors

CHANNELS = (64, 192, 384, 256, 256)
# Of the five layers: kernel, stride, padding.
LAYERS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
POOLED = (1, 2)  # layers that begin with a 3x3 maximum at every second pixel
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in -1..1
# Of the published weights, whoever wrote the file. With them the example pictures of the authors' repository (ex_ref
# against ex_p0 and ex_p1) are at 0.722 and 0.138, as published.
WEIGHTS_DIGEST = "cbba96a80c83802930c37ee7afada548"
FETCH = "everanimate evaluate --fetch-lpips"


class Lpips(nn.Module):
    """The distance's network. Weights are random until a state dict is loaded; see load_lpips."""

    def __init__(self):
        super().__init__()
        inputs = (3, *CHANNELS[:-1])
        self.features = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride, padding)
            for before, after, (kernel, stride, padding) in zip(inputs, CHANNELS, LAYERS, strict=True)
        )
        # How much each channel's difference counts, [C] a layer.
        self.linear = nn.ParameterList(nn.Parameter(torch.rand(count)) for count in CHANNELS)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def activations(self, pictures: Tensor) -> list[Tensor]:
        """Unit-length features of five layers, [F, C, h, w] each, of pictures [F, H, W, 3] in 0..1."""
        state = (2 * pictures.movedim(-1, 1) - 1 - self.mean) / self.deviation
        found = []
        for layer, convolution in enumerate(self.features):
            if layer in POOLED:
                state = max_pool2d(state, 3, 2)
            state = convolution(state).relu()
            found.append(state / (state.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return found

    @torch.no_grad()
    def forward(self, frames: Tensor, truth: Tensor) -> Tensor:
        """Distance of every frame to its true one, [F] on the CPU, 0 for equal frames; both [F, H, W, 3] in 0..1."""
        pair = (self.activations(pictures.to(self.mean.device)) for pictures in (frames, truth))
        layers = zip(*pair, self.linear, strict=True)
        first, *others = (torch.einsum("fchw,c->fhw", (a - b).square(), by).mean(dim=(1, 2)) for a, b, by in layers)
        return sum(others, first).cpu()


def load_lpips(path: str | Path) -> Lpips:
    """The network with the published weights, from a safetensors file that `--fetch-lpips` wrote.

    Raises ValueError for any other weights: their distance would not be LPIPS.
    """

    def refuse(wrong: str) -> InputError:
        return InputError("lpips", "must be the published weights of AlexNet v0.1", FETCH, f"{one_line(path)}, {wrong}")

    state, _ = read_tensors(path, refuse)
    if exact_digest(state) != WEIGHTS_DIGEST:
        raise refuse("which holds others")
    network = Lpips()
    network.load_state_dict(state)
    return network


def exact_digest(state: dict[str, Tensor]) -> str:
    """Stands for every bit of the weights, in the order of their names."""
    return digest(*(part for name in sorted(state) for part in (name, state[name])))
