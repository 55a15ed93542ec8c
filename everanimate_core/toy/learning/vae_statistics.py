"""What the toy VAE takes from data without training: principal components to begin with, latent statistics to end."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ..network.vae import LATENT_CHANNELS, PATCH, ToyVae, to_patches


@torch.no_grad()
def start_from_components(vae: ToyVae, clips: Iterable[Tensor]) -> None:
    """Set the linear paths to the 16 principal components of clips [3, F, 64, 64] in -1..1, whitened."""
    patches = torch.cat([to_patches(clip[None])[0].movedim(1, -1).flatten(0, 2) for clip in clips]).double()
    mean = patches.mean(dim=0)
    variance, axes = torch.linalg.eigh(torch.cov((patches - mean).T))
    spread, axes = variance[-LATENT_CHANNELS:].flip(0).sqrt(), axes[:, -LATENT_CHANNELS:].flip(1)
    # The sign of a component is arbitrary and differs between libraries: fix it.
    axes = axes * axes.sum(dim=0).sign()
    inward, outward = (axes / spread).T, axes * spread
    vae.encoder.linear.weight.copy_(inward.reshape(LATENT_CHANNELS, PATCH, 1, 1))
    vae.encoder.linear.bias.copy_(-inward @ mean)
    vae.decoder.linear.weight.copy_(outward.reshape(PATCH, LATENT_CHANNELS, 1, 1))
    vae.decoder.linear.bias.copy_(mean)


@torch.no_grad()
def fold_statistics(vae: ToyVae, clips: Iterable[Tensor]) -> None:
    """Scale the latents to mean 0 and variance 1 in every channel over clips [3, F, 64, 64] in -1..1.

    The scale goes into the weights of the encoder, its inverse into those of the decoder: pictures stay as they were.
    """
    latents = torch.cat([vae.normalised(clip[None]).transpose(0, 1).flatten(1) for clip in clips], dim=1)
    spread, mean = (value.float() for value in torch.std_mean(latents.double(), dim=1))
    for layer in (vae.encoder.linear, vae.encoder.head):
        layer.weight.div_(spread.view(-1, 1, 1, 1))
        layer.bias.div_(spread)
    vae.encoder.linear.bias.sub_(mean / spread)
    for layer in (vae.decoder.linear, vae.decoder.stem):
        layer.bias.add_(layer.weight[:, :, 0, 0] @ mean)
        layer.weight.mul_(spread.view(1, -1, 1, 1))
