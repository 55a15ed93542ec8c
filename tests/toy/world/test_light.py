"""Light that wanders: a pure function of seed and frame, even light changes nothing, each value does what it says."""

from math import exp

import pytest
import torch

from everanimate_core.toy.world.light import PERIOD, SPREAD, apply_light, light_at
from everanimate_core.toy.world.world import World

NAMES = list(SPREAD)


def only(name, value):
    light = torch.zeros(6)
    light[NAMES.index(name)] = value
    return light


@pytest.fixture(scope="module")
def frames():
    """Pictures that no value of the tests drives out of 0..1."""
    return 0.3 + 0.4 * torch.rand(3, 6, 5, 3, generator=torch.Generator().manual_seed(0))


def test_light_is_a_pure_function_of_seed_and_frame():
    whole = light_at("7", range(1000))
    assert torch.equal(light_at("7", [999, 3, 500]), whole[[999, 3, 500]])
    assert torch.equal(light_at("7", range(100, 110)), whole[100:110])
    assert not torch.allclose(light_at("8", range(1000)), whole, atol=0.05)


def test_light_wanders_slowly_and_as_far_as_is_said():
    seeds = [light_at(str(seed), range(0, 60_000, 40)) for seed in range(20)]
    spread = torch.cat(seeds).std(dim=0)
    assert torch.allclose(spread, torch.tensor(list(SPREAD.values())), rtol=0.05)
    assert torch.cat(seeds).mean(dim=0).abs().max() < 0.03
    # The fastest sine takes 600 frames: in a chunk of 33, next to nothing happens, and in a minute nearly all.
    near = (light_at("0", range(33, 33_000, 33)) - light_at("0", range(0, 32_967, 33))).square().mean(0).sqrt()
    far = (light_at("0", range(1500, 33_000, 33)) - light_at("0", range(0, 31_500, 33))).square().mean(0).sqrt()
    assert (near < 0.4 * spread).all() and (far > 0.7 * spread).all()
    assert PERIOD == (600, 3000)


def test_even_light_changes_nothing(frames):
    assert torch.allclose(apply_light(frames, torch.zeros(6)), frames, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "gains"),
    [
        ("exposure", 0.2, (0.2, 0.2, 0.2)),
        ("temperature", 0.1, (0.1, 0.0, -0.1)),
        ("tint", 0.1, (-0.05, 0.1, -0.05)),
    ],
)
def test_gains(frames, name, value, gains):
    expected = frames * torch.tensor([exp(gain) for gain in gains])
    assert torch.allclose(apply_light(frames, only(name, value)), expected, atol=1e-6)


def test_contrast_and_saturation(frames):
    harder = apply_light(frames, only("contrast", 0.3))
    assert torch.allclose(harder - 0.5, exp(0.3) * (frames - 0.5), atol=1e-6)
    grey = (frames * torch.tensor([0.299, 0.587, 0.114])).sum(-1, keepdim=True)
    paler = apply_light(frames, only("saturation", -0.5))
    assert torch.allclose(paler - grey, exp(-0.5) * (frames - grey), atol=1e-6)


def test_focus():
    dot = torch.full((1, 5, 5, 3), 0.4)
    dot[0, 2, 2] = 0.8
    # The middle of a 3x3 binomial filter is a quarter: three quarters of the dot are fine detail.
    soft, sharp = (apply_light(dot, only("focus", value))[0, 2, 2, 0].item() for value in (-1, 0.5))
    assert soft == pytest.approx(0.5) and sharp == pytest.approx(0.95)
    flat = torch.full((1, 4, 4, 3), 0.3)
    assert torch.allclose(apply_light(flat, only("focus", 2.0)), flat)


def test_every_frame_has_its_own_light_whatever_company_it_is_in():
    frames, light = World(3).frames(range(40)), light_at("3", range(0, 8000, 200))
    whole = apply_light(frames, light)
    assert whole.min() >= 0 and whole.max() <= 1
    assert torch.equal(apply_light(frames[7:20], light[7:20]), whole[7:20])
    for place in (0, 13, 39):
        assert torch.equal(apply_light(frames[place : place + 1], light[place])[0], whole[place])
