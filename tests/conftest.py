"""Fixtures shared by the core's tests: a real Wan VAE, seeded and tiny, and random pictures and latents for it."""

import gc
import os
import sys
from pathlib import Path

# Read by torch when it is imported, here and in the processes that tests start. Networks this small gain nothing from
# threads, which wait for each other on a busy machine; and two kinds of addition are two results.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

from everanimate_core.backends.wan_codec import WanCodec

# For the modules that tests share: pytest's importlib mode does not find them.
sys.path.append(str(Path(__file__).resolve().parent))


def _keep_for_the_parent():
    """Free what can be freed now, and let no child that is forked do it.

    Frames of videos hold threads of the process that read them: freed in a child, they are waited for without end.
    """
    gc.collect()
    gc.freeze()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_keep_for_the_parent, after_in_parent=gc.unfreeze)

# Wider than high, so that swapped sides are seen.
WIDTH, HEIGHT = 32, 16


class CountingCodec(WanCodec):
    """The real codec, with a list of the work that it did: frames encoded, latents decoded."""

    def __init__(self, vae):
        super().__init__(vae)
        self.work = []

    def encode(self, frames):
        self.work.append(("encode", len(frames)))
        return super().encode(frames)

    def decode(self, latents):
        self.work.append(("decode", latents.shape[2]))
        return super().decode(latents)


@pytest.fixture(scope="session")
def tiny_vae():
    """The real architecture with few channels and random weights: every shape and all causality is the true one."""
    # Imported here: the other tests also run where diffusers, which the cli extra brings, is not installed.
    from diffusers import AutoencoderKLWan

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1).eval()


@pytest.fixture
def codec(tiny_vae):
    return WanCodec(tiny_vae)


@pytest.fixture
def counting(codec):
    """The same codec, which keeps in `work` what it did."""
    return CountingCodec(codec.vae)


@pytest.fixture(scope="session")
def lpips_file():
    """The published weights, where they have been fetched."""
    from everanimate_core.evaluation.lpips_weights import default_path  # of the extra eval

    if not default_path().is_file():
        pytest.skip("LPIPS weights missing, get them with `everanimate evaluate --fetch-lpips`")
    return default_path()


@pytest.fixture(scope="session")
def pictures():
    """pictures(count, seed) -> [count, HEIGHT, WIDTH, 3] in 0..1."""

    def draw(count, seed=0):
        return torch.rand(count, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture(scope="session")
def latents():
    """latents(frames, seed) -> [1, 16, frames, HEIGHT / 8, WIDTH / 8], standard normal."""

    def draw(frames, seed=0):
        return torch.randn(1, 16, frames, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(seed))

    return draw
