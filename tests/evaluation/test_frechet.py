"""Fréchet distances against their formula; the networks take the right pictures and no other weights."""

import pytest
import torch
from scipy.linalg import sqrtm
from transformers import VideoMAEConfig, VideoMAEModel

from everanimate_core.digests import sha256
from everanimate_core.evaluation import frechet
from everanimate_core.evaluation.frechet import FrechetDistance, Inception, VideoMae


def features(seed, count, size=6):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return torch.randn(count, size, generator=generator, dtype=torch.float64) @ mix + torch.randn(
        size, generator=generator, dtype=torch.float64
    )


def by_formula(mine, true):
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2))."""
    one, two = torch.cov(mine.T), torch.cov(true.T)
    root = torch.from_numpy(sqrtm((one @ two).numpy()).real)
    return float((mine.mean(0) - true.mean(0)).square().sum() + (one + two - 2 * root).trace())


def test_the_distance_is_its_formula_in_whatever_blocks():
    mine, true = features(0, 80), features(1, 80)
    distance = FrechetDistance(6)
    for rows in (slice(0, 1), slice(1, 50), slice(50, 80)):
        distance.update(mine[rows], true[rows])
    assert distance.value() == pytest.approx(by_formula(mine, true), rel=1e-6)


def test_equal_sets_and_shifted_ones():
    true = features(0, 50)
    same, shifted = FrechetDistance(6), FrechetDistance(6)
    same.update(true.flip(0), true)
    shifted.update(true + 2, true)
    assert same.value() == pytest.approx(0, abs=1e-6)
    assert shifted.value() == pytest.approx(6 * 4, rel=1e-6)


def test_one_feature_has_no_distance():
    distance = FrechetDistance(6)
    distance.update(features(0, 1), features(1, 1))
    assert distance.value() != distance.value()


class Detector(torch.nn.Module):
    """Called like the file that FID uses: its features are the mean of each channel, in 0..255."""

    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features
        assert pictures.dtype == torch.uint8
        return pictures.float().mean(dim=(2, 3))


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "inception.pt"
    torch.jit.save(torch.jit.script(Detector()), path)
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_inception_sees_bytes(detector, noise, monkeypatch):
    monkeypatch.setattr(frechet, "INCEPTION_SHA256", sha256(detector))
    pictures = noise(3)
    assert torch.allclose(Inception(detector)(pictures), (255 * pictures).round().mean(dim=(1, 2)), atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_another_inception_is_refused(detector):
    with pytest.raises(ValueError, match=rf"^inception must be .*; got sha256 {sha256(detector)} in .*\.$"):
        Inception(detector)


@pytest.fixture(scope="module")
def videomae_folder(tmp_path_factory):
    """VideoMAE as it is, few and narrow layers, random weights."""
    folder = tmp_path_factory.mktemp("videomae")
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = VideoMAEConfig(image_size=32, patch_size=8, num_frames=4, tubelet_size=2, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        VideoMAEModel(config).save_pretrained(folder)
    return folder


def test_videomae(videomae_folder, noise):
    network = VideoMae(videomae_folder)
    assert (network.size, network.frames) == (24, 4)
    clip = noise(4, height=32, width=48)
    square = clip[:, :, 8:40]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    model = VideoMAEModel.from_pretrained(videomae_folder).eval()
    with torch.no_grad():
        tokens = model(((square - mean) / deviation).permute(0, 3, 1, 2)[None]).last_hidden_state
    assert tokens.shape == (1, 2 * 4 * 4, 24)
    assert torch.allclose(network(clip), tokens.mean(dim=1), atol=1e-5)


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(ValueError, match=r"^videomae must be a folder with model\.safetensors and config\.json; got"):
        VideoMae(tmp_path)
