"""The material of the toy network: every latent is the encoding of the frames that it should be."""

from random import Random

import pytest
import torch
from safetensors.torch import load_file

from everanimate_core.everanimate.perturbation import apply, draw
from everanimate_core.toy.learning import films
from everanimate_core.toy.learning.films import (
    FIRST_SEED,
    MOMENTS,
    STARTS,
    STRIDE,
    make_film,
    make_lit_film,
    read_shards,
    write_shard,
)
from everanimate_core.toy.network.state import GEOMETRY
from everanimate_core.toy.network.vae import ToyCodec, load_vae
from everanimate_core.toy.world.light import apply_light, light_at
from everanimate_core.toy.world.world import World


@pytest.fixture(scope="module")
def codec():
    return ToyCodec(load_vae())


@pytest.fixture(scope="module")
def film(codec):
    return make_film(7, codec)


def test_two_chunks_of_one_world(film, codec):
    start, world = Random("film 7").randrange(STARTS), World(FIRST_SEED + 7)
    assert STRIDE == 29
    for chunk, first in enumerate((start, start + STRIDE)):
        seen = range(first, first + 33)
        assert torch.allclose(film["chunks"][chunk], codec.encode(world.frames(seen))[0], atol=1e-5)
        assert torch.allclose(film["poses"][chunk], codec.encode(world.pose(seen))[0], atol=1e-5)
    assert torch.allclose(film["reference"], codec.encode(world.reference()[None])[0], atol=1e-5)


def test_the_carried_frames_and_grey(film, codec):
    start = Random("film 7").randrange(STARTS)
    shared = World(FIRST_SEED + 7).frames(range(start + 29, start + 33))
    clip = torch.cat([shared, torch.full((29, 64, 64, 3), 0.5)])
    assert torch.allclose(film["carried"], codec.encode(clip)[0], atol=1e-5)
    # The first of them is the first frame of the second chunk.
    assert torch.allclose(film["carried"][:, 0], film["chunks"][1][:, 0], atol=1e-5)


@pytest.mark.parametrize("number", range(6))
def test_single_frames_are_near_or_from_the_beginning(number, codec):
    chance = Random(f"film {number}")
    start, near = chance.randrange(STARTS), chance.random() < 0.5
    chosen = sorted(chance.sample(range(1, 33), 6))
    world = World(FIRST_SEED + number)
    frames = world.frames([start + index if near else index for index in chosen])
    singles = torch.cat([codec.encode(frame[None])[0] for frame in frames], dim=1)
    assert torch.allclose(make_film(number, codec)["singles"], singles, atol=1e-5)


@pytest.mark.parametrize("number", [1, 4])
def test_a_lit_film_is_a_film_in_the_light_of_its_moment(number, codec):
    chance = Random(f"lit film {number}")
    start, near = chance.randrange(STARTS), chance.random() < 0.5
    chosen = sorted(chance.sample(range(1, 33), 6))
    moment, other = chance.randrange(MOMENTS), chance.randrange(MOMENTS)
    world, seed = World(FIRST_SEED + number), f"{FIRST_SEED + number}"
    light = light_at(seed, range(moment, moment + 62))
    frames = apply_light(world.frames(range(start, start + 62)), light)
    made = make_lit_film(number, codec)

    def encoded(clip):
        return codec.encode(clip)[0]

    def close(name, expected):
        return torch.allclose(made[name], expected, atol=1e-5)

    assert close("chunks", torch.stack([encoded(frames[:33]), encoded(frames[29:])]))
    # Light never reaches the pose maps.
    assert close("poses", torch.stack([encoded(world.pose(range(at, at + 33))) for at in (start, start + 29)]))
    assert close("carried", encoded(torch.cat([frames[29:33], torch.full((29, 64, 64, 3), 0.5)])))
    assert close("reference", encoded(apply_light(world.reference()[None], light[0])))
    assert close("far", encoded(apply_light(world.reference()[None], light_at(seed, [other]))))
    views = [frames[at] if near else apply_light(world.frame(at)[None], light[at])[0] for at in chosen]
    assert close("singles", torch.cat([encoded(view[None]) for view in views], dim=1))
    for recipe in ("released", "light"):
        own, drift = (
            draw(recipe, 64, 64, torch.Generator().manual_seed(chance.randrange(2**32)), smallest=1) for _ in range(2)
        )
        assert close(f"motion_{recipe}", encoded(apply(own, frames[:33]))[:, -1:])
        assert close(f"drifted_{recipe}", encoded(apply(drift, frames[29:])))
        assert close(f"shared_{recipe}", encoded(apply(drift, frames[:33]))[:, -1:])


def test_shards(tmp_path, codec, monkeypatch):
    monkeypatch.setattr(films, "SHARD", 2)
    write_shard(tmp_path, 0, codec, make_film)
    write_shard(tmp_path, 1, codec, make_film)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films-0000.safetensors", "films-0001.safetensors"]
    stored = load_file(tmp_path / "films-0001.safetensors")
    assert stored["chunks"].dtype == torch.float16
    assert torch.equal(stored["chunks"][1], make_film(3, codec)["chunks"].half())
    before = (tmp_path / "films-0000.safetensors").stat().st_mtime_ns
    write_shard(tmp_path, 0, codec, make_film)
    assert (tmp_path / "films-0000.safetensors").stat().st_mtime_ns == before
    assert torch.equal(read_shards(tmp_path, [1])["chunks"], stored["chunks"])
    whole = read_shards(tmp_path, range(2))
    assert whole["singles"].shape == (4, 16, GEOMETRY.anchors + 2, 8, 8)
    assert torch.equal(whole["chunks"][2:], stored["chunks"])
