"""Restorative targets against closed solutions and the authors' arithmetic; explicit restoration by hand."""

from dataclasses import replace
from math import exp

import pytest
import torch
from refusals import refusal

from everanimate_core.everanimate.flow import interpolate, sigma_schedule, velocity
from everanimate_core.everanimate.memory import ContextMemory
from everanimate_core.everanimate.restoration import (
    SCHEDULES,
    TARGETS,
    TRAINING_SIGMAS,
    Restoration,
    bounded_target,
    clean_target,
    correction,
    correction_of_statistics,
    exact_target,
    lasting,
    loss_weight,
    low_pass,
    masked_region,
    match_statistics,
    reach,
    restoration_weight,
    restorative_loss,
    restored,
    static_region,
    training_pair,
)
from everanimate_core.everanimate.sampling import euler
from everanimate_core.latents import channel_statistics
from everanimate_core.noise import draw_noise

ANCHORS, LATENTS = 2, 3


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def at(*levels):
    return torch.tensor(levels, dtype=torch.float64)


@pytest.fixture
def clip():
    """clean, drifted (the chunk alone) and noise of two samples, float32, and a noise level for each."""
    clean = randn(2, 16, ANCHORS + LATENTS, 4, 6, seed=1, dtype=torch.float32)
    drifted = clean[:, :, ANCHORS:] * 1.3 + 0.2
    return clean, drifted, randn(*clean.shape, seed=2, dtype=torch.float32), torch.tensor([0.75, 0.5])


def memory_of(identity, statistics=None):
    return ContextMemory(
        references=torch.zeros(0, 8 * identity.shape[3], 8 * identity.shape[4], 3),
        reference_latents=identity[:, :, :0],
        identity=identity,
        motion_count=1,
        frozen=True,
        statistics=statistics,
    )


# --- weights


def test_gaussian_weight_at_the_documented_levels():
    # 4.98 is the lowest of the 1000 shifted timesteps: 5 / (1000 + 4) of 1000.
    weights = restoration_weight(torch.tensor([1.0, 0.5, 5 / 1004]))
    assert weights[0] == 0
    assert abs(weights[1] - 1) <= 1e-5
    assert abs(weights[2] - 0.0154) <= 5e-5


def test_gaussian_weight_by_hand_between_the_training_levels():
    # (g(800) - g(1000)) / (g(500) - g(1000)) with g(500) = 1, g(800) = exp(-0.18), g(1000) = exp(-0.5)
    expected = (exp(-0.18) - exp(-0.5)) / (1 - exp(-0.5))
    assert float(restoration_weight(at(0.8))) == pytest.approx(expected, abs=1e-5)
    assert float(restoration_weight(at(0.2))) == pytest.approx(expected, abs=1e-5)


def test_gaussian_weight_is_bounded_and_pulls_most_at_0643():
    sigma = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    pull = restoration_weight(sigma) * sigma
    assert 0.577 < pull.max() <= 0.578
    assert abs(sigma[pull.argmax()] - 0.643) < 5e-4
    assert (restoration_weight(sigma) >= 0).all()


def test_gaussian_weight_is_the_min_max_normalisation_over_the_training_timesteps():
    # The authors' arithmetic: a float32 ramp of 1000, shifted by 5, in timesteps.
    u = torch.linspace(1, 0, 1001)[:-1]
    tau = 1000 * (5 * u / (1 + 4 * u))
    g = torch.exp(-2 * ((tau - 500) / 1000) ** 2)
    official = (g - g.min()) / (g.max() - g.min())
    torch.testing.assert_close(restoration_weight(tau / 1000), official, rtol=0, atol=1e-6)


def test_the_other_weights_by_hand():
    sigma = torch.tensor([1.0, 0.5, 0.25])
    low = 5 / 1004
    ramp = torch.tensor([1.0, (0.5 - low) / (1 - low), (0.25 - low) / (1 - low)])
    torch.testing.assert_close(restoration_weight(sigma, "sigma_ramp"), ramp, rtol=0, atol=1e-7)
    assert torch.equal(restoration_weight(sigma, "fixed"), torch.ones(3))
    assert torch.equal(restoration_weight(sigma, "exact"), torch.tensor([1.0, 2.0, 4.0]))
    assert torch.equal(restoration_weight(sigma, "none"), torch.zeros(3))


def test_sigma_ramp_does_not_turn_round_below_the_training_levels():
    assert torch.equal(restoration_weight(torch.tensor([5 / 1004, 0.001, 0.0]), "sigma_ramp"), torch.zeros(3))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_depend_on_each_sigma_alone(schedule, dtype):
    sigma = torch.rand(2, 5, generator=torch.Generator().manual_seed(3), dtype=dtype) * 0.9 + 0.05
    weights = restoration_weight(sigma, schedule)
    assert (weights.shape, weights.dtype) == (sigma.shape, dtype)
    alone = torch.stack([restoration_weight(level, schedule) for level in sigma.flatten()])
    torch.testing.assert_close(weights.flatten(), alone, rtol=1e-6, atol=0)


def test_loss_weight_has_minimum_0_and_mean_1_over_the_training_levels():
    weights = loss_weight(TRAINING_SIGMAS)
    assert len(weights) == 1000
    assert weights.min() == 0
    assert abs(weights.double().mean() - 1) <= 1e-6
    tau = 1000 * TRAINING_SIGMAS.double()
    g = torch.exp(-2 * ((tau - 500) / 1000) ** 2)
    official = (g - g.min()) * (1000 / (g - g.min()).sum())
    torch.testing.assert_close(weights.double(), official, rtol=0, atol=1e-6)


# --- training


def test_no_perturbation_is_plain_flow_matching_bit_for_bit(clip):
    clean, _, noise, sigma = clip
    level = sigma.view(2, 1, 1, 1, 1)
    prediction = randn(*clean.shape, seed=4, dtype=torch.float32)
    plain = (prediction - (noise - clean)).square().flatten(1).mean(dim=1) * loss_weight(sigma)
    for schedule in SCHEDULES:
        pair = training_pair(clean, clean[:, :, ANCHORS:], noise, sigma, schedule)
        assert torch.equal(pair.state, (1 - level) * clean + level * noise)
        assert torch.equal(pair.target, noise - clean)
        assert torch.equal(restorative_loss(prediction, pair.target, sigma), plain.mean())


def test_pair_against_the_authors_arithmetic(clip):
    # Theirs, from METHOD.md, at a training timestep: add_noise to both, v + (x~ - x) w, w looked up among 1000.
    clean, drifted, noise, _ = clip
    u = torch.linspace(1, 0, 1001)[:-1]
    sigmas = 5 * u / (1 + 4 * u)
    g = torch.exp(-2 * ((1000 * sigmas - 500) / 1000) ** 2)
    whole = clean.clone()
    whole[:, :, ANCHORS:] = drifted
    for index in (0, 1, 250, 640, 832, 833, 990, 999):
        sigma = sigmas[index]
        x, x_drifted = (1 - sigma) * clean + sigma * noise, (1 - sigma) * whole + sigma * noise
        weights = {
            "gaussian": (g[index] - g.min()) / (g.max() - g.min()),
            "sigma_ramp": (sigma - sigmas.min()) / (sigmas.max() - sigmas.min()),
            "fixed": 1.0,
        }
        for schedule, weight in weights.items():
            pair = training_pair(clean, drifted, noise, sigma, schedule)
            torch.testing.assert_close(pair.state, x_drifted, rtol=0, atol=1e-6)
            official = noise - clean + (x_drifted - x) * weight
            torch.testing.assert_close(pair.target, official, rtol=0, atol=1e-6)


def test_pair_by_hand():
    # sigma 0.5: x~ = 0.5 * 4 + 0.5 * 2 = 3, x = 0.5 * 3 + 1 = 2.5, v = 2 - 3 = -1, v_r = -1 + w (3 - 2.5)
    clean, drifted, noise = (torch.full((1, 1, 1, 1, 1), value) for value in (3.0, 4.0, 2.0))
    for schedule, expected in (("fixed", -0.5), ("exact", 0.0), ("none", -1.0)):
        pair = training_pair(clean, drifted, noise, torch.tensor(0.5), schedule)
        assert (float(pair.state), float(pair.target)) == (3.0, expected)


def test_anchors_stay_clean(clip):
    clean, drifted, noise, sigma = clip
    pair, plain = (training_pair(clean, chunk, noise, sigma) for chunk in (drifted, clean[:, :, ANCHORS:]))
    assert torch.equal(pair.state[:, :, :ANCHORS], plain.state[:, :, :ANCHORS])
    assert torch.equal(pair.target[:, :, :ANCHORS], (noise - clean)[:, :, :ANCHORS])
    assert not (pair.state == plain.state)[:, :, ANCHORS:].any()


def test_state_moves_by_what_is_left_of_the_drift(clip):
    clean, drifted, noise, sigma = clip
    moved = (
        training_pair(clean, drifted, noise, sigma).state
        - training_pair(clean, clean[:, :, ANCHORS:], noise, sigma).state
    )
    drift = (1 - sigma.view(2, 1, 1, 1, 1)) * (drifted - clean[:, :, ANCHORS:])
    torch.testing.assert_close(moved[:, :, ANCHORS:], drift, rtol=0, atol=1e-6)


@pytest.mark.parametrize("start", [1.0, 0.9, 0.3, 5 / 1004])
@pytest.mark.parametrize("steps", [1, 7])
def test_exact_target_leads_from_any_state_to_the_clean_clip(start, steps):
    clean, state = randn(1, 16, 3, 4, 4, seed=5), randn(1, 16, 3, 4, 4, seed=6)
    constant = exact_target(state, clean, start)
    sigmas = torch.linspace(start, 0, steps + 1, dtype=torch.float64)
    torch.testing.assert_close(euler(lambda x, sigma: constant, state, sigmas), clean, rtol=0, atol=1e-12)
    # Asked anew on the way it says the same: a straight line.
    followed = euler(lambda x, sigma: exact_target(x, clean, sigma), state, sigmas)
    torch.testing.assert_close(followed, clean, rtol=0, atol=1e-12)


def test_bounded_target_with_weight_one_by_sigma_is_the_exact_one():
    clean, drifted, noise = randn(3, 1, 16, 3, 4, 4, seed=7)
    sigma = at(0.4)
    x, x_drifted = interpolate(clean, noise, sigma), interpolate(drifted, noise, sigma)
    bounded = bounded_target(velocity(clean, noise), x_drifted, x, restoration_weight(sigma, "exact"))
    torch.testing.assert_close(bounded, exact_target(x_drifted, clean, sigma), rtol=0, atol=1e-12)
    pair = training_pair(clean, drifted, noise, sigma, "exact")
    torch.testing.assert_close(pair.target, bounded, rtol=0, atol=1e-12)


def test_loss_weighs_each_sample_by_its_own_level():
    target = torch.zeros(2, 16, 5, 2, 2)
    prediction = torch.stack([torch.full_like(target[0], 2.0), torch.full_like(target[0], 3.0)])
    sigma = torch.tensor([0.5, 0.8])
    expected = (4 * loss_weight(sigma[0]) + 9 * loss_weight(sigma[1])) / 2
    torch.testing.assert_close(restorative_loss(prediction, target, sigma), expected)
    # At sigma = 1 nothing is learned: y is 0 there.
    assert restorative_loss(prediction, target, torch.ones(2)) == 0


# --- explicit restoration: targets


@pytest.fixture
def memory():
    """N identity latents of a 6 x 10 grid and the statistics of a first chunk."""
    identity = randn(1, 16, ANCHORS, 6, 10, seed=8)
    return memory_of(identity, channel_statistics(2 * randn(1, 16, LATENTS, 6, 10, seed=9) + 0.5))


@pytest.fixture
def estimate():
    return randn(1, 16, ANCHORS + LATENTS, 6, 10, seed=10)


def test_matched_statistics_are_the_first_chunks(memory):
    x0 = randn(1, 16, LATENTS, 6, 10, seed=11)
    matched = match_statistics(x0, memory.statistics)
    torch.testing.assert_close(channel_statistics(matched), memory.statistics, rtol=0, atol=1e-12)
    # Matching again changes nothing, and neither does a change of mean or spread before.
    torch.testing.assert_close(match_statistics(matched, memory.statistics), matched)
    torch.testing.assert_close(match_statistics(3 * x0 - 7, memory.statistics), matched)


def test_matched_statistics_of_a_flat_channel_are_finite(memory):
    matched = match_statistics(torch.ones(1, 16, 2, 6, 10, dtype=torch.float64), memory.statistics)
    torch.testing.assert_close(matched[0, :, 0, 0, 0], memory.statistics[0])


@pytest.mark.parametrize(
    ("schedule", "level", "weight"), [("gaussian", 0.5, 1.0), ("fixed", 0.8, 1.0), ("exact", 0.4, 2.5)]
)
def test_a_tint_shrinks_by_the_predicted_fraction(memory, estimate, schedule, level, weight):
    # A tint alone: the chunk has the first chunk's statistics but for an offset.
    strength, sigma = 0.8, at(level)
    tint = torch.linspace(-1, 1, 16, dtype=torch.float64).view(16, 1, 1, 1)
    estimate[:, :, ANCHORS:] = match_statistics(estimate[:, :, ANCHORS:], memory.statistics) + tint
    correct = correction(Restoration(strength, schedule, "statistics"), memory)
    after = (estimate - sigma * correct(estimate, sigma))[:, :, ANCHORS:]
    left = 1 - level * strength * weight * (1 - level)
    drift = channel_statistics(after)[0] - memory.statistics[0]
    torch.testing.assert_close(drift, left * tint.flatten(), rtol=0, atol=1e-5)
    torch.testing.assert_close(channel_statistics(after)[1], memory.statistics[1], rtol=0, atol=1e-5)


def test_reach_is_a_sixteenth_of_the_longer_side():
    assert [reach(*size) for size in ((60, 104), (104, 60), (8, 8), (2, 4), (64, 64))] == [7, 7, 1, 1, 4]


def test_static_region_by_hand():
    # 6 x 10 cells of 8 pixels, reach 1. A pose pixel in cell (1, 1) of frame 0 and one in cell (4, 8) of frame 2.
    pose = torch.full((3, 48, 80, 3), 0.1)
    pose[0, 8, 8, 0] = 1.0
    pose[2, 39, 71, 2] = 0.2
    expected = torch.ones(6, 10)
    expected[0:3, 0:3] = 0
    expected[3:6, 7:10] = 0
    assert torch.equal(static_region(pose, 6, 10), expected[None, None, None])
    assert torch.equal(static_region(torch.zeros(1, 48, 80, 3), 6, 10), torch.ones(1, 1, 1, 6, 10))


def test_masked_region_is_what_the_mask_covers_in_all_frames():
    mask = torch.ones(2, 16, 32)
    mask[0, 3, 5] = 0.25
    mask[1, 9:, 31] = 0
    expected = torch.tensor([[0.25, 1, 1, 1], [1, 1, 1, 0]])
    assert torch.equal(masked_region(mask, 2, 4), expected[None, None, None])


def test_low_pass_by_hand_keeps_the_outside_out():
    # One row, reach 1: means over the neighbours inside the region.
    row = torch.tensor([1.0, 3.0, 100.0, 5.0, 8.0, 2.0]).view(1, 1, 1, 1, 6)
    region = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 1.0]).view(1, 1, 1, 1, 6)
    result = low_pass(row, region).flatten()
    torch.testing.assert_close(result[region.flatten() == 1], torch.tensor([2.0, 2.0, 6.5, 5.0, 5.0]))
    torch.testing.assert_close(
        low_pass(torch.full((2, 16, 3, 6, 10), 7.0), torch.ones(1, 1, 1, 6, 10)), torch.full((2, 16, 3, 6, 10), 7.0)
    )


def test_lasting_ignores_what_only_one_of_the_anchors_shows():
    scene = randn(1, 16, 1, 6, 10, seed=12)
    identity = scene.repeat(1, 1, 4, 1, 1)
    identity[:, :, 1, :3] += 50
    identity[:, :, 3, 3:] -= 50
    torch.testing.assert_close(lasting(identity), scene)


def test_low_frequency_removes_a_tint_where_the_scene_is_static_and_nothing_else():
    scene = randn(1, 16, 1, 6, 10, seed=13)
    memory = memory_of(scene.repeat(1, 1, ANCHORS, 1, 1))
    pose = torch.zeros(5, 48, 80, 3)
    pose[:, :8, :8] = 1.0
    static = static_region(pose, 6, 10)[0, 0, 0].bool()
    x0 = scene + 0.7 + torch.zeros(1, 1, LATENTS, 1, 1)
    x0[..., ~static] = 30.0  # the person
    result = clean_target("low_frequency", memory, pose=pose)(x0)
    torch.testing.assert_close(result[..., static], (x0 - 0.7)[..., static], rtol=0, atol=1e-6)
    assert torch.equal(result[..., ~static], x0[..., ~static])
    # A mask, where there is one, says what is static instead of the pose.
    masked = clean_target("low_frequency", memory, pose=pose, mask=torch.zeros(1, 48, 80))(x0)
    assert torch.equal(masked, x0)


def test_low_frequency_keeps_detail():
    memory = memory_of(torch.zeros(1, 16, ANCHORS, 8, 16, dtype=torch.float64))
    # A checkerboard of the latent grid is detail: inside, its mean over 3 x 3 is a ninth of it.
    board = torch.ones(8, 16, dtype=torch.float64)
    board[::2, ::2] = board[1::2, 1::2] = -1
    x0 = board.expand(1, 16, LATENTS, 8, 16)
    result = clean_target("low_frequency", memory, mask=torch.ones(1, 64, 128))(x0)
    torch.testing.assert_close(result[..., 1:-1, 1:-1], (x0 * 8 / 9)[..., 1:-1, 1:-1])


# --- explicit restoration: in the sampler


@pytest.mark.parametrize("target", ["statistics", "low_frequency"])
@pytest.mark.parametrize("schedule", ["gaussian", "sigma_ramp", "fixed", "exact"])
def test_velocity_and_clean_estimate_forms_agree(memory, target, schedule):
    x, v = randn(2, 1, 16, ANCHORS + LATENTS, 6, 10, seed=14)
    correct = correction(Restoration(0.6, schedule, target), memory, mask=torch.ones(1, 48, 80))
    for level in (0.999, 0.643, 0.5, 0.1):
        sigma = at(level)[0]
        corrected = restored(lambda x, sigma: v, correct)(x, sigma)
        x0 = x - sigma * v
        torch.testing.assert_close(x - sigma * corrected, x0 - sigma * correct(x0, sigma), rtol=0, atol=1e-12)
        # From the equations: v' - v = strength w (1 - sigma) (x0 - R(x0)) on the chunk.
        chunk = x0[:, :, ANCHORS:]
        d = chunk - clean_target(target, memory, mask=torch.ones(1, 48, 80))(chunk)
        expected = 0.6 * restoration_weight(sigma, schedule) * (1 - sigma) * d
        torch.testing.assert_close((corrected - v)[:, :, ANCHORS:], expected, rtol=0, atol=1e-12)
        assert expected.abs().max() > 0
        assert torch.equal(corrected[:, :, :ANCHORS], v[:, :, :ANCHORS])


@pytest.mark.parametrize(("schedule", "strength"), [("gaussian", 4), ("sigma_ramp", 4), ("fixed", 4), ("exact", 1)])
def test_up_to_the_documented_strength_the_estimate_does_not_overshoot(schedule, strength):
    sigma = torch.linspace(1e-3, 1, 1000, dtype=torch.float64)
    fraction = strength * restoration_weight(sigma, schedule) * sigma * (1 - sigma)
    assert fraction.min() >= 0
    assert fraction.max() <= 1 + 1e-5


def test_a_whole_sampling_shrinks_a_tint_by_the_product_of_its_steps(memory):
    # A network whose velocity does not change: the estimate moves with the state, by c (sigma' - sigma) a step.
    clean = match_statistics(randn(1, 16, ANCHORS + LATENTS, 6, 10, seed=16), memory.statistics)
    clean[:, :, ANCHORS:] = match_statistics(clean[:, :, ANCHORS:], memory.statistics) + 1.0
    noise, sigmas = randn(*clean.shape, seed=17), sigma_schedule(20).double()
    correct = correction(Restoration(2.0), memory)
    result = euler(restored(lambda x, sigma: noise - clean, correct), noise, sigmas)
    fractions = 2 * restoration_weight(sigmas[:-1]) * (1 - sigmas[:-1]) * -sigmas.diff()
    left = channel_statistics(result[:, :, ANCHORS:])[0] - memory.statistics[0]
    torch.testing.assert_close(left, (1 - fractions).prod().expand(16), rtol=0, atol=1e-10)
    torch.testing.assert_close(result[:, :, :ANCHORS], clean[:, :, :ANCHORS], rtol=0, atol=1e-12)


def test_explicit_restoration_is_the_training_target_of_a_known_drift(clip):
    # With x0 the drifted clip and R(x0) the clean one, v' - v is what training adds: w (x~ - x).
    clean, drifted, noise, _ = (value[:1] for value in clip)
    sigma = torch.tensor(0.6)
    memory = replace(memory_of(clean[:, :, :ANCHORS]), statistics=channel_statistics(clean[:, :, ANCHORS:]))
    correct = correction(Restoration(1.0), memory)
    trained = training_pair(clean, drifted, noise, sigma).target - (noise - clean)
    x0 = torch.cat([clean[:, :, :ANCHORS], drifted], dim=2)
    torch.testing.assert_close(correct(x0, sigma), trained, rtol=0, atol=1e-5)


def test_levels_of_a_batch_are_each_its_own(memory):
    x0 = randn(2, 16, ANCHORS + LATENTS, 6, 10, seed=15)
    correct = correction(Restoration(0.7), memory)
    both = correct(x0, at(0.9, 0.4))
    for sample, level in enumerate((0.9, 0.4)):
        torch.testing.assert_close(both[sample : sample + 1], correct(x0[sample : sample + 1], at(level)[0]))


@pytest.mark.parametrize("target", ["statistics", "low_frequency"])
def test_the_head_is_the_memorys_anchors_and_the_rest_is_corrected_to_the_last_bit(memory, estimate, target):
    mask, sigma = torch.ones(1, 48, 80), at(0.6)[0]
    correct = correction(Restoration(0.7, target=target), memory, mask=mask)
    chunk, aim = estimate[:, :, ANCHORS:], clean_target(target, memory, mask=mask)
    expected = 0.7 * restoration_weight(sigma) * (1 - sigma) * (chunk - aim(chunk))
    c = correct(estimate, sigma)
    assert (correct.head, correct.shape) == (ANCHORS, (16, 6, 10))
    assert torch.equal(c[:, :, ANCHORS:], expected) and expected.any()
    assert not c[:, :, :ANCHORS].any()


@pytest.mark.parametrize("held", [0, 1, 2])
def test_held_slots_are_neither_measured_nor_corrected(memory, estimate, held):
    sigma, free = at(0.6), ANCHORS + held
    c = correction(Restoration(0.7), memory).behind(held)(estimate, sigma)
    assert not c[:, :, :free].any()
    # What is behind them is corrected as if it were all that there is.
    alone = correction_of_statistics(Restoration(0.7), memory.statistics, 0)(estimate[:, :, free:], sigma)
    assert torch.equal(c[:, :, free:], alone) and alone.any()


def test_without_held_slots_the_network_s_guess_there_moves_the_rest(memory, estimate):
    sigma, correct = at(0.6), correction(Restoration(0.7), memory)
    other = estimate.clone()
    other[:, :, ANCHORS] += 1
    free = ANCHORS + 1
    assert torch.equal(correct.behind(1)(other, sigma), correct.behind(1)(estimate, sigma))
    assert not torch.isclose(correct(other, sigma)[:, :, free:], correct(estimate, sigma)[:, :, free:]).any()


@pytest.mark.parametrize("target", ["statistics", "low_frequency"])
def test_where_all_is_held_nothing_is_corrected(memory, estimate, target):
    correct = correction(Restoration(0.7, target=target), memory, mask=torch.ones(1, 48, 80))
    assert not correct.behind(LATENTS)(estimate, at(0.6)).any()


def test_a_first_chunk_alone_corrects_as_a_memory_with_its_statistics(memory, estimate):
    sigma = at(0.6)
    of_memory = correction(Restoration(0.7, "fixed"), memory)
    of_statistics = correction_of_statistics(Restoration(0.7, "fixed"), memory.statistics, ANCHORS)
    assert torch.equal(of_statistics(estimate, sigma), of_memory(estimate, sigma))
    # Nothing is known of the size of the first chunk.
    assert of_statistics.shape == (16, None, None)


def test_latents_of_another_vae_are_corrected_by_their_own_channels():
    first, later = 2 * randn(1, 48, 3, 4, 4, seed=18) + 0.5, randn(1, 48, 5, 6, 8, seed=19)
    correct = correction_of_statistics(Restoration(1.0, "exact"), channel_statistics(first), 2)
    assert correct.shape == (48, None, None)
    # At strength 1, `exact` goes (1 - sigma) of the way.
    after, sigma = correct.estimate(later, at(0.25))[:, :, 2:], 0.25
    expected = sigma * channel_statistics(later[:, :, 2:])[0] + (1 - sigma) * channel_statistics(first)[0]
    torch.testing.assert_close(channel_statistics(after)[0], expected, rtol=0, atol=1e-12)


def test_nothing_to_correct_leaves_the_sampler_alone(memory):
    def network(x, sigma):
        return torch.sin(x)

    first = replace(memory, statistics=None)
    idle = [
        correction(Restoration(), memory),
        correction(Restoration(0.0, "fixed", "low_frequency"), memory, mask=torch.ones(1, 48, 80)),
        correction(Restoration(1.0, "fixed", "none"), memory),
        correction(Restoration(1.0, "fixed", "statistics"), first),
        correction_of_statistics(Restoration(), memory.statistics, ANCHORS),
        correction_of_statistics(Restoration(1.0, "fixed", "none"), memory.statistics, ANCHORS),
        correction_of_statistics(Restoration(1.0), None, ANCHORS),
    ]
    noise, sigmas = draw_noise((1, 16, ANCHORS + LATENTS, 6, 10), 0), sigma_schedule(4)
    for correct in idle:
        assert restored(network, correct) is network
    active = restored(network, correction(Restoration(1.0), memory))
    assert not torch.equal(euler(active, noise, sigmas), euler(network, noise, sigmas))


def test_nothing_is_corrected_at_pure_noise_nor_by_schedule_none(memory, estimate):
    for schedule in SCHEDULES:
        correct = correction(Restoration(2.0, schedule), memory)
        assert torch.equal(correct(estimate, at(1.0)), torch.zeros_like(estimate))
    assert torch.equal(correction(Restoration(2.0, "none"), memory)(estimate, at(0.5)), torch.zeros_like(estimate))


def test_correction_keeps_the_type_of_the_latents(memory, estimate):
    correct = correction(Restoration(1.0), memory)
    assert correct(estimate.float(), torch.tensor(0.5)).dtype == torch.float32
    before = estimate.clone()
    correct(estimate, at(0.5))
    assert torch.equal(estimate, before)


def test_errors(memory):
    assert refusal(Restoration, -0.5) == "strength must be at least 0 and finite (1.0); got -0.5."
    assert refusal(Restoration, 1.0, "linear") == (
        "schedule must be one of gaussian, sigma_ramp, fixed, exact, none; got 'linear'."
    )
    assert refusal(Restoration, 1.0, "fixed", "mean") == (f"target must be one of {', '.join(TARGETS)}; got 'mean'.")
    assert refusal(restoration_weight, at(0.5), "linear").startswith("schedule must be one of gaussian")
    assert refusal(clean_target, "mean", memory).startswith("target must be one of statistics")
    needs = "target low_frequency must be told what is static (a pose_video or a mask); got neither."
    assert refusal(correction, Restoration(1.0, target="low_frequency"), memory) == needs
    # Said even where strength 0 makes it harmless: before any sampling starts.
    assert refusal(correction, Restoration(0.0, target="low_frequency"), memory) == needs
    for strength in (1.0, 0.0):
        static = Restoration(strength, target="low_frequency")
        assert refusal(correction_of_statistics, static, memory.statistics, 0) == (
            "target must be statistics without a memory (only a memory shows what stands still); got low_frequency."
        )
