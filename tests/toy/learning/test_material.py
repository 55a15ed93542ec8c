"""A training batch has the layout that the engine builds when it animates."""

from dataclasses import replace

import pytest
import torch

from everanimate_core.everanimate.context import METHOD, chunk_context
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.toy.learning.films import FIRST_SEED, grey_behind, make_film
from everanimate_core.toy.learning.material import WAN_ANIMATE, baseline_batch, memory_batch
from everanimate_core.toy.network.state import GEOMETRY
from everanimate_core.toy.network.vae import ToyCodec, load_vae
from everanimate_core.toy.world.world import World

SIZE = 64


@pytest.fixture(scope="module")
def codec():
    return ToyCodec(load_vae())


@pytest.fixture(scope="module")
def film(codec):
    return make_film(0, codec)


@pytest.fixture(scope="module")
def films(film):
    return {name: value[None] for name, value in film.items()}


@pytest.fixture(scope="module")
def grey(codec):
    return codec.encode(grey_behind(torch.zeros(0, 64, 64, 3)))[0]


def generator():
    return torch.Generator().manual_seed(0)


def shares(batch, slot):
    """Which samples have nothing carried in that slot."""
    return [not sample[4:, slot].any() for sample in batch.context]


def test_the_baseline_is_conditioned_as_wan_animate_is(films, film, grey, codec):
    batch = baseline_batch(films, grey, SIZE, generator())
    world = World(FIRST_SEED)
    memory = build_memory(world.reference()[None], codec, 1)
    first = chunk_context(replace(GEOMETRY, anchors=1), memory, codec, policy=WAN_ANIMATE)
    shared = codec.decode(film["chunks"][None, 1])[:4]
    later = chunk_context(replace(GEOMETRY, anchors=1), replace(memory, last_frames=shared), codec, policy=WAN_ANIMATE)
    expected = [torch.cat([context.mask, context.y], dim=1)[0] for context in (first, later)]
    # Where the engine has decoded frames the material has true ones.
    expected[1][4:, 1:] = film["carried"]
    counts = [0, 0]
    for context, clean, pose in zip(batch.context, batch.clean, batch.pose, strict=True):
        carried = int(context[0, 1].any())
        counts[carried] += 1
        assert torch.allclose(context, expected[carried], atol=1e-4)
        chunk = 1 if carried or torch.equal(pose, film["poses"][1]) else 0
        assert torch.equal(clean, torch.cat([film["reference"], film["chunks"][chunk]], dim=1))
        assert torch.equal(pose, film["poses"][chunk])
    # One in five is a first chunk.
    assert counts[0] == pytest.approx(SIZE / 5, abs=8) and counts[1] == SIZE - counts[0]


def test_the_memory_network_is_conditioned_by_the_method(films, film, codec):
    batch = memory_batch(films, SIZE, generator())
    memory = build_memory(World(FIRST_SEED).reference()[None], codec, GEOMETRY.anchors)
    carried = replace(memory, motion=film["chunks"][None, 0, :, -1:])
    contexts = [chunk_context(GEOMETRY, state, codec, policy=METHOD) for state in (memory, carried)]
    counts = {"first": 0, "alone": 0, "views": 0}
    for context, clean, pose in zip(batch.context, batch.clean, batch.pose, strict=True):
        mask, y = context[:4], context[4:]
        later = bool(y[:, 4].any())
        assert torch.equal(mask, contexts[later].mask[0])
        assert torch.allclose(y[:, 4:], contexts[later].y[0, :, 4:], atol=1e-5)
        anchors = y[:, :4]
        repeated = torch.allclose(anchors, memory.identity[0], atol=1e-5)
        counts["first" if not later else "alone" if repeated else "views"] += 1
        if not repeated:
            assert later and torch.equal(anchors[:, 3:], film["reference"])
            order = [
                int((film["singles"] - anchor[:, None]).abs().sum(dim=(0, 2, 3)).argmin())
                for anchor in anchors[:, :3].unbind(1)
            ]
            assert order == sorted(set(order))
            assert torch.equal(anchors[:, :3], film["singles"][:, order])
        chunk = 1 if later or torch.equal(pose, film["poses"][1]) else 0
        assert torch.equal(clean, torch.cat([anchors, film["chunks"][chunk]], dim=1))
        assert torch.equal(pose, film["poses"][chunk])
    assert counts["first"] == pytest.approx(SIZE / 5, abs=8)
    assert counts["views"] > 5 * counts["alone"] > 0


def test_parts_are_samples(films, grey):
    batch = baseline_batch(films, grey, 4, generator())
    part = batch.part(slice(1, 3))
    assert torch.equal(part.clean, batch.clean[1:3])
    assert torch.equal(part.context, batch.context[1:3])
    assert torch.equal(part.pose, batch.pose[1:3])
