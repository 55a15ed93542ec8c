"""LPIPS equals the reference network, and only the published weights are taken for it."""

import pytest
import torch
import torchmetrics.functional.image.lpips as reference
from safetensors.torch import load_file, save_file
from torch import nn

from everanimate_core.evaluation.lpips import Lpips, load_lpips

# Where the convolutions are in torchvision's `alexnet().features`.
PLACES = (0, 3, 6, 8, 10)


def alexnet_features():
    """The layers of torchvision's AlexNet up to the last that LPIPS reads, with random weights."""

    def relu():
        return nn.ReLU(inplace=False)

    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), relu(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), relu(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), relu()),
        *(nn.Conv2d(384, 256, 3, padding=1), relu()),
        *(nn.Conv2d(256, 256, 3, padding=1), relu()),
    )


@pytest.fixture
def theirs(monkeypatch):
    """theirs() -> torchmetrics' own LPIPS network; only AlexNet comes from here instead of from torchvision."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = alexnet_features()
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda *_: features)
    return reference._LPIPS(net="alex"), features


def distances(network, pair):
    return network(*(pictures.movedim(-1, 1) for pictures in pair), normalize=True).flatten()


@pytest.mark.parametrize("size", [(64, 64), (75, 41), (32, 32)])
def test_it_is_the_reference_network(theirs, noise, size):
    network, features = theirs
    mine = Lpips()
    for layer, place in enumerate(PLACES):
        mine.features[layer].load_state_dict(features[place].state_dict())
        mine.linear[layer].copy_(network.lins[layer].model[-1].weight.flatten())
    pair = noise(2, 0, *size), noise(2, 1, *size)
    assert torch.allclose(mine(*pair), distances(network, pair), atol=1e-6)
    assert mine(*pair).min() > 1e-4
    assert mine(pair[0], pair[0]).tolist() == [0, 0]


def test_the_published_weights(theirs, noise, lpips_file):
    network, features = theirs
    state = load_file(lpips_file)
    for layer, place in enumerate(PLACES):
        # torchmetrics brings the linear layers along: the same to the bit.
        assert torch.equal(network.lins[layer].model[-1].weight.flatten(), state[f"linear.{layer}"])
        features[place].load_state_dict({name: state[f"features.{layer}.{name}"] for name in ("weight", "bias")})
    pair = noise(2, 0, 64, 64), noise(2, 1, 64, 64)
    assert torch.allclose(load_lpips(lpips_file)(*pair), distances(network, pair), atol=1e-5)
    assert distances(network, pair).min() > 0.05


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({name: value.contiguous() for name, value in Lpips().state_dict().items()}, path)
    with pytest.raises(
        ValueError, match=r"^lpips must be the published weights of AlexNet v0\.1 .* got .*, which holds others\.$"
    ):
        load_lpips(path)
    path.write_text("no weights")
    with pytest.raises(ValueError, match=r"--fetch-lpips\); got .*, which is not a complete safetensors file"):
        load_lpips(path)
