"""What is drawn for a sample, and that it becomes what the method's own context has in it."""

from dataclasses import replace

import pytest
import torch

from everanimate_core.cli.toy_training import ToyEntry
from everanimate_core.everanimate.context import chunk_context
from everanimate_core.everanimate.memory import build_memory, encode_singly, retake_identity
from everanimate_core.everanimate.perturbation import Clahe, Perturbation, apply
from everanimate_core.everanimate.restoration import TRAINING_SIGMAS
from everanimate_core.training.augmentation import Affine, augment
from everanimate_core.training.precompute import precompute
from everanimate_core.training.recipe import Recipe, generator
from everanimate_core.training.records import FilmSet, as_frames, candidate_frames, write_record
from everanimate_core.training.samples import (
    Choices,
    assemble,
    choose,
    film_of,
    held_out_sample,
    join,
    make_sample,
)

DRAWS = 4000
PLAIN = Choices(reference=2, carried=True, anchors=(0, 2, 3, 5), black_pose=False, level=400)


def noise():
    return torch.Generator().manual_seed(5)


def frames_of(settings, film):
    """All frames of a film of the toy's set, as 8 bits hold them."""
    with ToyEntry(film).open(settings.demands) as source:
        return as_frames((source.frames.read(range(22)) * 255).round().byte())


# --- what is drawn ---


@pytest.fixture(scope="module")
def draws(settings):
    return [choose(Recipe(2, seed=3), settings, number) for number in range(DRAWS)]


def share(values):
    values = list(values)
    return sum(values) / len(values)


def test_shares_are_those_of_the_recipe(draws):
    tolerance = 0.025  # three spreads of a coin of 0.5 over 4000 throws
    assert share(not draw.carried for draw in draws) == pytest.approx(0.2, abs=tolerance)
    assert share(draw.anchors is None for draw in draws if draw.carried) == pytest.approx(0.05, abs=0.015)
    assert all(draw.anchors is None for draw in draws if not draw.carried)
    assert share(draw.black_pose for draw in draws) == pytest.approx(0.05, abs=0.015)
    assert share(draw.affine is not None for draw in draws if draw.anchors) == pytest.approx(0.5, abs=tolerance)
    assert all(draw.affine is None for draw in draws if not draw.anchors)
    assert share(draw.perturbation is not None for draw in draws) == pytest.approx(0.53, abs=tolerance)
    assert all(draw.sigma >= 0.5 for draw in draws if draw.perturbation)


def test_references_anchors_and_levels_are_uniform(draws):
    for reference in range(4):
        assert share(draw.reference == reference for draw in draws) == pytest.approx(0.25, abs=0.025)
    chosen = [draw.anchors for draw in draws if draw.anchors]
    for place in range(6):
        assert share(place in anchors for anchors in chosen) == pytest.approx(4 / 6, abs=0.03)
    assert all(len(set(anchors)) == 4 and list(anchors) == sorted(anchors) for anchors in chosen)
    assert share(draw.level for draw in draws) == pytest.approx(499.5, abs=15)
    assert {min(draw.level for draw in draws) < 10, max(draw.level for draw in draws) > 989} == {True}
    assert draws[0].sigma == TRAINING_SIGMAS[draws[0].level].item()


def test_stage_one_draws_the_same_without_drift_and_augmentation(draws, settings):
    for number in range(100):
        plain = replace(draws[number], affine=None, perturbation=None)
        assert choose(Recipe(1, seed=3), settings, number) == plain


def test_the_share_of_augmented_samples_is_the_recipes(draws, settings):
    for number in range(100):
        none, all_of_them = (choose(Recipe(2, seed=3, augmented=share), settings, number) for share in (0, 1))
        assert none == replace(draws[number], affine=None)
        assert (all_of_them.affine is None) == (all_of_them.anchors is None)


def test_a_sample_depends_on_seed_and_number_alone(draws, settings):
    torch.manual_seed(77)
    assert choose(Recipe(2, seed=3, rank=4, batch=16), settings, 1234) == draws[1234]
    others = [choose(Recipe(2, seed=4), settings, number) for number in range(20)]
    assert others != draws[:20]


def test_films_come_in_rounds_of_all_each_in_an_order_of_its_own():
    rounds = [[film_of(0, 7 * index + place, 7) for place in range(7)] for index in range(4)]
    assert all(sorted(films) == list(range(7)) for films in rounds)
    assert len({tuple(films) for films in rounds}) == 4
    assert rounds[1] != [film_of(1, 7 + place, 7) for place in range(7)]


# --- what becomes of it ---


def test_a_carried_sample_has_the_context_of_an_animation(films, settings, codec):
    """The memory that inference builds from the same frames gives the same y and mask, bit for bit."""
    frames = frames_of(settings, 1)
    batch = assemble(PLAIN, films, 1, None, noise())
    keyframes = [candidate_frames(settings, 1)[place] - 4 for place in PLAIN.anchors]
    memory = build_memory(frames[2:3], codec)
    memory = replace(memory, identity=encode_singly(frames[4:17][keyframes], codec), frozen=True)
    memory = replace(memory, motion=codec.encode(frames[4:17])[:, :, -1:])
    context = chunk_context(settings.geometry, memory, codec)
    assert torch.equal(batch.context, torch.cat([context.mask, context.y], dim=1))


def test_by_hand(films, settings, codec):
    frames = frames_of(settings, 1)
    batch = assemble(PLAIN, films, 1, None, noise())
    singles = encode_singly(frames[[candidate_frames(settings, 1)[place] for place in PLAIN.anchors]], codec)
    motion, target = codec.encode(frames[4:17])[:, :, 3:], codec.encode(frames[13:22])
    assert torch.equal(batch.clean, torch.cat([singles, target], dim=2))
    assert torch.equal(batch.drifted, target)
    expected = torch.zeros(1, 20, 7, 4, 4)
    expected[:, :4, :4] = 1
    expected[:, 4:, :4] = singles
    expected[:, 4:, 4:5] = motion
    assert torch.equal(batch.context, expected)
    assert torch.equal(batch.noise, torch.randn(1, 16, 7, 4, 4, generator=noise()))
    assert batch.sigma.tolist() == [PLAIN.sigma]
    assert batch.pose.shape == (1, 16, 3, 4, 4) and not torch.equal(batch.pose, films.black_pose)
    assert batch.clip is None and batch.face is None


def test_a_first_chunk_knows_its_reference_alone(films, settings, codec):
    batch = assemble(replace(PLAIN, carried=False, anchors=None), films, 1, None, noise())
    reference = codec.encode(frames_of(settings, 1)[2:3])
    expected = torch.zeros(1, 20, 7, 4, 4)
    expected[:, :4, :4] = 1
    expected[:, 4:, :4] = reference
    assert torch.equal(batch.context, expected)
    assert torch.equal(batch.clean[:, :, :4], reference.expand(-1, -1, 4, -1, -1))
    # As before the first chunk of an animation.
    context = chunk_context(settings.geometry, build_memory(frames_of(settings, 1)[2:3], codec), codec)
    assert torch.equal(batch.context, torch.cat([context.mask, context.y], dim=1))


def test_a_carried_sample_may_have_the_reference_for_all_anchors(films):
    batch = assemble(replace(PLAIN, anchors=None), films, 1, None, noise())
    carried = assemble(PLAIN, films, 1, None, noise())
    first = assemble(replace(PLAIN, anchors=None, carried=False), films, 1, None, noise())
    assert torch.equal(batch.context[:, :, 4:], carried.context[:, :, 4:])
    assert torch.equal(batch.context[:, :, :4], first.context[:, :, :4])


def test_a_black_pose_is_the_encoded_black_video(films):
    batch = assemble(replace(PLAIN, black_pose=True), films, 1, None, noise())
    assert torch.equal(batch.pose, films.black_pose)


def test_a_perturbation_changes_the_state_and_neither_target_nor_memory(films, settings, codec):
    perturbation = Perturbation(clahe=Clahe(8.0, 2), saturation=1.5)
    batch = assemble(replace(PLAIN, perturbation=perturbation), films, 1, codec, noise())
    plain = assemble(PLAIN, films, 1, None, noise())
    assert torch.equal(batch.drifted, codec.encode(apply(perturbation, frames_of(settings, 1)[13:])))
    assert (batch.drifted - plain.drifted).abs().mean() > 0.05
    for name in ("clean", "noise", "context", "pose", "text", "sigma"):
        assert torch.equal(getattr(batch, name), getattr(plain, name)), name


def test_the_perturbation_that_does_nothing_gives_the_plain_sample_bit_for_bit(films, codec):
    batch = assemble(replace(PLAIN, perturbation=Perturbation()), films, 1, codec, noise())
    assert torch.equal(batch.drifted, assemble(PLAIN, films, 1, None, noise()).drifted)


def test_augmented_anchors_are_encoded_anew_and_are_their_own_target(films, settings, codec):
    affine = Affine(0.9, 0.05, -0.1)
    batch = assemble(replace(PLAIN, affine=affine), films, 1, codec, noise())
    plain = assemble(PLAIN, films, 1, None, noise())
    frames = frames_of(settings, 1)[[candidate_frames(settings, 1)[place] for place in PLAIN.anchors]]
    identity = encode_singly(augment(affine, frames), codec)
    assert torch.equal(batch.context[:, 4:, :4], identity) and torch.equal(batch.clean[:, :, :4], identity)
    assert torch.equal(batch.context[:, :, 4:], plain.context[:, :, 4:])
    assert torch.equal(batch.clean[:, :, 4:], plain.clean[:, :, 4:])


def test_a_face_stands_in_minus_one_to_one_beside_the_target(films, tmp_path):
    names = ("references", "motion", "singles", "target", "pose", "text", "target_pixels", "single_pixels")
    face = torch.zeros(9, 512, 512, 3, dtype=torch.uint8)
    face[3, 2, 5] = torch.tensor([0, 51, 255])
    record = films.read(0, names) | {"face": face, "clip": torch.full((1, 257, 16), 0.5)}
    write_record(tmp_path / "0.safetensors", record, "", "")
    batch = assemble(PLAIN, FilmSet(tmp_path, films.settings, ("0.safetensors",)), 0, None, noise())
    assert batch.face.shape == (1, 3, 9, 512, 512)
    assert batch.face[0, :, 3, 2, 5].tolist() == pytest.approx([-1, -0.6, 1])
    assert torch.equal(batch.clip, record["clip"])


# --- sets whose samples are what an animation has ---


@pytest.fixture(scope="module")
def rolled(toy, codec, settings, tmp_path_factory):
    """Two films in wandering light, each with a reference of its own, and with its first chunk."""
    own = replace(settings, reference="own", anchors="roll-out", motion_pixels=True)
    entries = [ToyEntry(number, lit=True) for number in range(2)]
    return precompute(entries, own, toy, codec, tmp_path_factory.mktemp("rolled"), lambda line: None)


def lit_frames(films):
    """All frames of film 1, and its reference, as 8 bits hold them."""
    with ToyEntry(1, lit=True).open(films.settings.demands) as source:
        return (
            as_frames((part.read(range(count)) * 255).round().byte())
            for part, count in ((source.frames, 22), (source.reference, 1))
        )


def test_a_carried_sample_has_three_views_and_the_reference_of_another_moment(rolled, codec):
    """As the memory of an animation whose reference was taken then, completed from the chunk before."""
    frames, reference = lit_frames(rolled)
    sample = replace(PLAIN, anchors=(0, 2, 5))
    batch = assemble(sample, rolled, 1, None, noise())
    keyframes = [candidate_frames(rolled.settings, 1)[place] - 4 for place in sample.anchors]
    memory = retake_identity(build_memory(reference, codec), frames[4:17], keyframes, codec)
    memory = replace(memory, motion=codec.encode(frames[4:17])[:, :, -1:])
    context = chunk_context(rolled.settings.geometry, memory, codec)
    assert torch.equal(batch.context, torch.cat([context.mask, context.y], dim=1))
    assert torch.equal(batch.clean[:, :, :4], memory.identity)


def test_a_first_chunk_has_a_reference_of_its_own_moment(rolled, codec):
    frames, reference = lit_frames(rolled)
    first = assemble(replace(PLAIN, carried=False, anchors=None), rolled, 1, None, noise())
    assert torch.equal(first.clean[:, :, :4], codec.encode(frames[2:3]).expand(-1, -1, 4, -1, -1))
    alone = assemble(replace(PLAIN, anchors=None), rolled, 1, None, noise())
    assert torch.equal(alone.clean[:, :, :4], codec.encode(reference).expand(-1, -1, 4, -1, -1))


def test_augmentation_leaves_the_reference_where_it_is(rolled, codec):
    frames, reference = lit_frames(rolled)
    affine = Affine(0.9, 0.05, -0.1)
    batch = assemble(replace(PLAIN, anchors=(0, 2, 5), affine=affine), rolled, 1, codec, noise())
    views = frames[[candidate_frames(rolled.settings, 1)[place] for place in (0, 2, 5)]]
    expected = torch.cat([encode_singly(augment(affine, views), codec), codec.encode(reference)], dim=2)
    assert torch.equal(batch.clean[:, :, :4], expected)


def test_a_perturbed_motion_memory_is_that_of_the_perturbed_first_chunk(rolled, codec):
    frames, _ = lit_frames(rolled)
    perturbation, sample = Perturbation(gains=(1.1, 1.0, 0.9), contrast=1.2), replace(PLAIN, anchors=(0, 2, 5))
    batch = assemble(replace(sample, motion=perturbation), rolled, 1, codec, noise())
    plain = assemble(sample, rolled, 1, None, noise())
    expected = plain.context.clone()
    expected[:, 4:, 4:5] = codec.encode(apply(perturbation, frames[4:17]))[:, :, -1:]
    assert not torch.equal(expected, plain.context)
    assert torch.equal(batch.context, expected)
    for name in ("clean", "drifted", "noise", "pose"):
        assert torch.equal(getattr(batch, name), getattr(plain, name)), name


@pytest.mark.parametrize("stage", [1, 2])
def test_the_share_of_perturbed_motion_is_the_recipes_and_changes_no_other_draw(rolled, stage):
    recipe, settings = Recipe(stage, seed=3), rolled.settings
    plain = [choose(recipe, settings, number) for number in range(1000)]
    some = [choose(replace(recipe, perturbed_motion=0.5), settings, number) for number in range(1000)]
    assert [replace(draw, motion=None) for draw in some] == plain
    assert all(draw.motion is None for draw in plain)
    assert share(draw.motion is not None for draw in some if draw.carried) == pytest.approx(0.5, abs=0.06)
    assert all(draw.motion is None for draw in some if not draw.carried)
    assert all(len(draw.anchors) == 3 for draw in plain if draw.anchors)


def test_a_numbered_sample_is_its_choices_film_and_noise(films, settings, codec):
    recipe = Recipe(2, seed=1)
    for number in range(4):
        expected = assemble(
            choose(recipe, settings, number), films, film_of(1, number, 5), codec, generator(1, "noise", number)
        )
        batch = make_sample(recipe, films, number, codec)
        assert all(torch.equal(getattr(batch, name), getattr(expected, name)) for name in ("clean", "drifted", "noise"))


def test_the_last_films_can_be_held_out(films, settings, codec, monkeypatch):
    recipe, seen, read = Recipe(2, seed=1, held_out=2), [], FilmSet.read

    def noted(self, film, names):
        seen.append(film)
        return read(self, film, names)

    monkeypatch.setattr(FilmSet, "read", noted)
    for number in range(12):
        make_sample(recipe, films, number, codec)
    assert set(seen) == {0, 1, 2}
    seen.clear()
    first, again = ([held_out_sample(recipe, films, number, codec) for number in range(2)] for _ in range(2))
    assert seen == [3, 4, 3, 4]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.clean, other.clean) and torch.equal(one.noise, other.noise)
    assert not torch.equal(first[0].noise, make_sample(recipe, films, 0, codec).noise)


def test_a_batch_is_its_samples_one_behind_another(films):
    samples = [make_sample(Recipe(1), films, number, None) for number in range(3)]
    batch = join(samples)
    assert batch.clean.shape == (3, 16, 7, 4, 4) and batch.face is None
    for row, sample in enumerate(samples):
        assert torch.equal(batch.context[row : row + 1], sample.context)
        assert torch.equal(batch.sigma[row : row + 1], sample.sigma)
