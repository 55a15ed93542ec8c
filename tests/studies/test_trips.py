"""Finding 1: a trip through the VAE is a decode and an encode, of one picture or of a chunk that stands still."""

from itertools import pairwise

import pytest
import torch

from everanimate_core.studies.ablation_plot import save_ablation_plot
from everanimate_core.studies.trips import carried_trips, finding_one, round_trips
from everanimate_core.toy.learning.scores import psnr
from everanimate_core.toy.network.vae import ToyCodec, load_vae
from everanimate_core.toy.world.world import World


@pytest.fixture(scope="module")
def codec():
    return ToyCodec(load_vae())


def test_trips_that_lose_nothing(tmp_path):
    class Lossless:
        def encode(self, frames):
            return frames

        def decode(self, latents):
            return latents

    picture = World(1).reference()[None]
    trips = round_trips(Lossless(), picture, 2)
    assert trips == [float("inf")] * 2
    save_ablation_plot({"row": [float("inf"), float("nan")] * 30}, {"trips": trips}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_round_trips_by_hand(codec):
    picture = World(1).reference()[None]
    once = codec.decode(codec.encode(picture))
    twice = codec.decode(codec.encode(once))
    assert round_trips(codec, picture, 2) == pytest.approx([psnr(once, picture), psnr(twice, picture)])


def test_carried_trips_by_hand(codec):
    frame = World(1).reference()
    last = codec.decode(codec.encode(frame.expand(5, -1, -1, -1)))[-1]
    second = codec.decode(codec.encode(last.expand(5, -1, -1, -1)))[-1]
    assert carried_trips(codec, frame, 5, 2) == pytest.approx([psnr(last, frame), psnr(second, frame)])


def test_finding_one_is_the_mean_over_worlds(codec):
    found = finding_one((1, 2), 2)
    single = [round_trips(codec, World(seed).reference()[None], 2) for seed in (1, 2)]
    carried = [carried_trips(codec, World(seed).reference(), 33, 2) for seed in (1, 2)]
    expected = {"static picture": single, "static chunk, last frame carried": carried}
    for name, both in expected.items():
        assert found[name] == pytest.approx([(one + other) / 2 for one, other in zip(*both, strict=True)]), name


def test_every_trip_loses(codec):
    values = round_trips(codec, World(1).reference()[None], 10)
    assert all(after < before for before, after in pairwise(values))
    assert torch.tensor(values).isfinite().all()
