"""Fréchet distances between the frames, and between the motion, of two videos.

FID (Heusel et al. 2017): over the 2048 Inception features of single frames. VideoMAE distance: the same over features
of clips, which see motion. Both compare distributions, so frames need not correspond, and both are biased upwards by
small samples: compare videos of equal length only.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from ..backends.model_folders import check_model, load_model
from ..digests import sha256
from ..errors import InputError, one_line
from ..media.frames import fit_frames

# NVIDIA's TorchScript translation of the original network, which StyleGAN and clean-fid use too. It resizes inside.
INCEPTION_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
INCEPTION_FEATURES = 2048
VIDEOMAE_WEIGHTS = "model.safetensors"
# Of ImageNet, by which VideoMAE's inputs are normalised.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrechetDistance:
    """Fréchet distance between Gaussians fitted to two growing sets of features [n, size]."""

    def __init__(self, size: int):
        features = nn.Identity()  # they come computed
        features.num_features = size
        self._metric = FrechetInceptionDistance(features)

    def update(self, mine: Tensor, true: Tensor) -> None:
        """Add features [n, size] of the video and of the true one."""
        self._metric.update(mine, real=False)
        self._metric.update(true, real=True)

    def value(self) -> float:
        """The distance so far, 0 for equal sets, in float64; NaN for fewer than two features."""
        if self._metric.real_features_num_samples < 2:
            return float("nan")
        return float(self._metric.compute())


class Inception:
    """FID's network from the file at INCEPTION_URL. Raises ValueError for any other file: its distance is not FID."""

    size = INCEPTION_FEATURES

    def __init__(self, path: str | Path, device: torch.device | str = "cpu"):
        found = sha256(path)
        if found != INCEPTION_SHA256:
            raise InputError(
                "inception",
                f"must be inception-2015-12-05.pt of {INCEPTION_URL}",
                f"sha256 {INCEPTION_SHA256}",
                f"sha256 {found} in {one_line(path)}",
            )
        self._network, self._device = torch.jit.load(path, map_location=device).eval(), device

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """Features [F, 2048] on the CPU of frames [F, H, W, 3] in 0..1."""
        pictures = (frames * 255).round().to(self._device, torch.uint8).movedim(-1, 1)
        return self._network(pictures, return_features=True).cpu()


class VideoMae:
    """Clip features by a transformers VideoMAE folder (config.json, model.safetensors), such as MCG-NJU/videomae-base.

    The number depends on the checkpoint. `frames`: how many make a clip.
    Raises ValueError for a folder without the weights or of another model, ImportError without transformers.
    """

    def __init__(self, folder: str | Path, device: torch.device | str = "cpu"):
        try:
            from transformers import VideoMAEModel
        except ImportError as error:
            raise ImportError(
                f"the VideoMAE distance needs transformers (pip install 'everanimate[cli]'); got {error}."
            ) from error
        if not (Path(folder) / VIDEOMAE_WEIGHTS).is_file():
            raise InputError(
                "videomae", f"must be a folder with {VIDEOMAE_WEIGHTS} and config.json", "", one_line(folder)
            )
        check_model(folder, ("videomae",), "videomae")
        self._network = load_model(VideoMAEModel, folder, "videomae").to(device).eval()
        self._device = device
        config = self._network.config
        self.size, self.frames, self._side = config.hidden_size, config.num_frames, config.image_size

    @torch.no_grad()
    def __call__(self, clip: Tensor) -> Tensor:
        """Features [1, size] on the CPU of one clip [frames, H, W, 3] in 0..1: the mean of the last layer's tokens.

        The clip is scaled to cover the network's square and cut to its centre, as in VideoMAE's own evaluation.
        """
        square = fit_frames(clip, self._side, self._side, "crop")
        pixels = ((square - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).movedim(-1, 1)[None]
        return self._network(pixels.to(self._device)).last_hidden_state.mean(dim=1).cpu()
