"""A training batch has the layout that the engine builds when it animates."""

from dataclasses import replace

import pytest
import torch

from everanimate_core.everanimate.context import METHOD, chunk_context
from everanimate_core.everanimate.memory import build_memory
from everanimate_core.toy.learning.films import FIRST_SEED, grey_behind, make_film, make_lit_film
from everanimate_core.toy.learning.material import PIXEL_CARRY, WAN_ANIMATE, Recipe, draw_batch
from everanimate_core.toy.network.state import GEOMETRY
from everanimate_core.toy.network.vae import ToyCodec, load_vae
from everanimate_core.toy.world.world import World

SIZE = 64
EVEN_BASELINE, EVEN_MEMORY = (Recipe(policy, lit=False, far=False) for policy in (WAN_ANIMATE, METHOD))


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
    batch = draw_batch(EVEN_BASELINE, films, grey, SIZE, generator())
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


def test_the_memory_network_is_conditioned_by_the_method(films, film, grey, codec):
    batch = draw_batch(EVEN_MEMORY, films, grey, SIZE, generator())
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


def test_pixel_carry_has_the_anchors_of_the_method_and_the_chunk_of_wan_animate(films, grey):
    """All three draw film, kind and chunk first, and so alike."""
    pixel, memory, baseline = (
        draw_batch(Recipe(policy, lit=False, far=False), films, grey, SIZE, generator())
        for policy in (PIXEL_CARRY, METHOD, WAN_ANIMATE)
    )
    assert torch.equal(pixel.clean, memory.clean) and torch.equal(pixel.pose, baseline.pose)
    assert torch.equal(pixel.context[:, :, :4], memory.context[:, :, :4])
    assert torch.equal(pixel.context[:, :, 4:], baseline.context[:, :, 1:])


def test_parts_are_samples(films, grey):
    batch = draw_batch(EVEN_BASELINE, films, grey, 4, generator())
    part = batch.part(slice(1, 3))
    assert torch.equal(part.clean, batch.clean[1:3])
    assert torch.equal(part.context, batch.context[1:3])
    assert torch.equal(part.pose, batch.pose[1:3])
    assert torch.equal(part.drifted, batch.drifted[1:3])


# --- light


@pytest.fixture(scope="module")
def lit(codec):
    film = make_lit_film(0, codec)
    return film, {name: value[None] for name, value in film.items()}


@pytest.mark.parametrize("policy", [WAN_ANIMATE, METHOD])
def test_a_far_reference_stands_beside_what_is_carried_and_a_near_one_in_first_chunks(lit, grey, policy):
    film, films = lit
    assert not torch.allclose(film["far"], film["reference"], atol=0.1)
    for recipe, carried in ((Recipe(policy), "far"), (Recipe(policy, far=False), "reference")):
        seen = set()
        for context in draw_batch(recipe, films, grey, SIZE, generator()).context:
            later = bool(context[:4, recipe.anchors].any()) if policy is WAN_ANIMATE else bool(context[4:, 4].any())
            reference = context[4:, recipe.anchors - 1]
            assert torch.equal(reference, film[carried if later else "reference"][:, 0])
            seen.add(later)
        assert seen == {False, True}


@pytest.mark.parametrize("perturbation", ["released", "light"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_share_of_the_motion_memory_is_perturbed(lit, grey, perturbation, shared):
    film, films = lit
    kind = "shared" if shared else "motion"
    clean, perturbed = film["chunks"][0, :, -1], film[f"{kind}_{perturbation}"][:, 0]
    counts = []
    for share in (0.0, 0.5, 1.0):
        recipe = Recipe(METHOD, perturbed_motion=share, perturbation=perturbation, shared=shared)
        batch = draw_batch(recipe, films, grey, 4 * SIZE, generator())
        slots = [context[4:, 4] for context in batch.context if context[4:, 4].any()]
        hits = sum(torch.equal(slot, perturbed) for slot in slots)
        assert hits + sum(torch.equal(slot, clean) for slot in slots) == len(slots)
        counts.append(hits / len(slots))
        # The anchors, the chunk and all other slots stay as they are.
        assert not batch.context[:, 4:, 5:].any()
    assert counts[0] == 0 and counts[1] == pytest.approx(0.5, abs=0.12) and counts[2] == 1


def test_what_drifts_is_the_second_chunk_and_only_where_it_is_hit(lit, grey):
    film, films = lit
    batch = draw_batch(Recipe(METHOD, perturbation="light"), films, grey, SIZE, generator())
    kinds = set()
    for clean, drifted in zip(batch.clean, batch.drifted, strict=True):
        second = torch.equal(clean[:, 4:], film["chunks"][1])
        assert torch.equal(drifted, film["drifted_light"] if second else film["chunks"][0])
        kinds.add(second)
    assert kinds == {False, True}
    hit = torch.arange(SIZE) % 2 == 0
    some = batch.drifted_where(hit)
    assert torch.equal(some.drifted[::2], batch.drifted[::2])
    assert torch.equal(some.drifted[1::2], batch.clean[1::2, :, 4:])


def test_films_in_even_light_do_not_drift(films, grey):
    batch = draw_batch(EVEN_MEMORY, films, grey, 8, generator())
    assert torch.equal(batch.drifted, batch.clean[:, :, 4:])
