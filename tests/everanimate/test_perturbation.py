"""The drift simulator: what is drawn, how often, and what each operator does to a frame."""

import json
from dataclasses import asdict
from math import log, sqrt

import cv2
import numpy as np
import pytest
import torch

from everanimate_core.everanimate.perturbation import (
    RECIPES,
    Clahe,
    ErasedPatch,
    Perturbation,
    apply,
    draw,
    is_perturbed,
)

HEIGHT, WIDTH = 48, 64
DRAWS = 2000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def clip():
    """Three frames of smooth colour and some noise, of 8-bit values."""
    picture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 5, generator=generator(1)), (HEIGHT, WIDTH), mode="bilinear"
    )
    frames = picture.movedim(1, -1) * 0.8 + 0.2 * torch.rand(3, HEIGHT, WIDTH, 3, generator=generator(2))
    return (frames * 255).round() / 255


@pytest.fixture(scope="module")
def released():
    source = generator()
    return [draw("released", HEIGHT, WIDTH, source) for _ in range(DRAWS)]


@pytest.fixture(scope="module")
def paper():
    source = generator()
    return [draw("paper", HEIGHT, WIDTH, source) for _ in range(DRAWS)]


@pytest.fixture(scope="module")
def light():
    source = generator()
    return [draw("light", HEIGHT, WIDTH, source) for _ in range(DRAWS)]


def assert_frequency(hits, probability):
    """Within 4 standard errors."""
    error = sqrt(probability * (1 - probability) / len(hits))
    assert abs(sum(hits) / len(hits) - probability) <= 4 * error


def assert_normal(values, mean, spread):
    """Mean and spread within 4 standard errors."""
    values = torch.tensor(values, dtype=torch.float64)
    assert abs(values.mean() - mean) <= 4 * spread / sqrt(len(values))
    assert abs(values.std() - spread) <= 4 * spread / sqrt(2 * len(values))


def assert_uniform(values, low, high):
    """Inside low..high, and their mean within 4 standard errors of the middle."""
    values = torch.tensor(values, dtype=torch.float64)
    assert low <= values.min() and values.max() <= high
    assert abs(values.mean() - (low + high) / 2) <= 4 * (high - low) / sqrt(12 * len(values))


# --- draws


def test_released_frequencies(released):
    assert_frequency([p.clahe is not None for p in released], 0.9)
    assert_frequency([p.saturation != 1 for p in released], 0.3)
    assert_frequency([p.brightness != 1 for p in released], 0.1)
    assert_frequency([bool(p.erased) for p in released], 0.9)
    # The four are independent of each other.
    assert_frequency([p.clahe is not None and p.saturation != 1 for p in released], 0.27)
    assert_frequency([p.clahe is not None and bool(p.erased) for p in released], 0.81)
    assert all(p.sharpness == 1 and p.colour_shift == (0, 0, 0) for p in released)


def test_released_ranges(released):
    equalised = [p.clahe for p in released if p.clahe]
    assert_uniform([c.clip_limit for c in equalised], 1, 64)
    assert {c.grid for c in equalised} == set(range(1, 33))
    assert_uniform([p.saturation for p in released if p.saturation != 1], 1.3, 3.0)
    assert_uniform([p.brightness for p in released if p.brightness != 1], 0.8, 1.2)
    counts = [len(p.erased) for p in released if p.erased]
    for count in (1, 2, 3, 4):
        assert_frequency([c == count for c in counts], 0.25)


def test_released_patches(released):
    patches = [patch for p in released for patch in p.erased]
    # 10-30 % of 48 and of 64 pixels, to the nearest pixel, and 8 at least.
    assert {p.height for p in patches} == set(range(8, 15))
    assert {p.width for p in patches} == set(range(8, 20))
    assert {p.reduction for p in patches} == set(range(8, 33))
    assert all(p.top >= 0 and p.top + p.height <= HEIGHT for p in patches)
    assert all(p.left >= 0 and p.left + p.width <= WIDTH for p in patches)
    # Every place is taken: the edges too.
    assert {p.top for p in patches} >= {0, HEIGHT // 2}
    assert any(p.top + p.height == HEIGHT for p in patches) and any(p.left + p.width == WIDTH for p in patches)


def test_patches_are_as_small_as_is_asked_for_and_never_larger_than_the_frame():
    for smallest, height, width, heights, widths in ((1, 48, 64, range(5, 15), range(6, 20)), (8, 6, 8, [6], [8])):
        source = generator()
        draws = [draw("released", height, width, source, smallest) for _ in range(400)]
        patches = [patch for p in draws for patch in p.erased]
        assert ({p.height for p in patches}, {p.width for p in patches}) == (set(heights), set(widths))
    # What is drawn at real sizes does not depend on it.
    assert draw("released", 480, 832, generator(5), smallest=1) == draw("released", 480, 832, generator(5))


def test_paper_draws(paper):
    shifted = [p.colour_shift for p in paper if p.colour_shift != (0, 0, 0)]
    assert_frequency([p.colour_shift != (0, 0, 0) for p in paper], 0.8)
    for channel in range(3):
        assert_uniform([shift[channel] for shift in shifted], -0.1, 0.1)
    assert_frequency([p.sharpness != 1 for p in paper], 0.8)
    assert_uniform([p.sharpness for p in paper if p.sharpness != 1], 0, 3)
    assert_frequency([p.saturation != 1 for p in paper], 0.8)
    assert_uniform([p.saturation for p in paper if p.saturation != 1], 0.5, 2)
    assert all(p.clahe is None and p.brightness == 1 and not p.erased for p in paper)


def test_light_draws(light):
    red, green, blue = torch.tensor([p.gains for p in light], dtype=torch.float64).log().unbind(-1)
    assert_normal(((red + green + blue) / 3).tolist(), 0, 0.08)
    assert_normal(((red - blue) / 2).tolist(), 0, 0.06)
    # Green without the exposure is the tint, which red and blue have half of the other way.
    assert_normal(((green - (red + blue) / 2) / 1.5).tolist(), 0, 0.025)
    assert_normal([log(p.contrast) for p in light], 0.05, 0.15)
    assert_normal([log(p.saturation) for p in light], 0.08, 0.2)
    assert_normal([p.sharpness for p in light], 1.1, 0.4)
    assert min(p.sharpness for p in light) >= 0
    assert all(p.clahe is None and p.brightness == 1 and not p.erased and not any(p.colour_shift) for p in light)


def test_only_noisy_states_are_perturbed_and_not_always():
    source = generator()
    assert_frequency([is_perturbed(0.5, source) for _ in range(DRAWS)], 0.64)
    assert not any(is_perturbed(0.499, source) for _ in range(100))
    # 0.64 of the 5/6 of the shifted training levels that lie at 0.5 or above: 0.53 of all samples.
    u = torch.linspace(1, 0, 1001)[:-1]
    sigmas = 5 * u / (1 + 4 * u)
    assert_frequency([is_perturbed(float(sigma), source) for sigma in sigmas.repeat(3)], 0.533)


@pytest.mark.parametrize("recipe", RECIPES)
def test_same_seed_same_clip(recipe, clip):
    first, again = (draw(recipe, HEIGHT, WIDTH, generator(7)) for _ in range(2))
    assert first == again != draw(recipe, HEIGHT, WIDTH, generator(8))
    assert torch.equal(apply(first, clip), apply(again, clip))
    # What comes next from the generator does not depend on the noise level.
    noisy, quiet = generator(9), generator(9)
    is_perturbed(0.9, noisy)
    is_perturbed(0.1, quiet)
    assert draw(recipe, HEIGHT, WIDTH, noisy) == draw(recipe, HEIGHT, WIDTH, quiet)


def test_draws_neither_read_nor_move_the_global_generator():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = draw("released", HEIGHT, WIDTH, generator(3))
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert draw("released", HEIGHT, WIDTH, generator(3)) == first


def test_parameters_are_json(released, paper, light):
    for perturbation in (*released[:20], *paper[:20], *light[:20]):
        values = json.loads(json.dumps(asdict(perturbation)))
        values["gains"] = tuple(values["gains"])
        values["colour_shift"] = tuple(values["colour_shift"])
        values["clahe"] = values["clahe"] and Clahe(**values["clahe"])
        values["erased"] = tuple(ErasedPatch(**patch) for patch in values["erased"])
        assert Perturbation(**values) == perturbation


def test_unknown_recipe():
    with pytest.raises(ValueError) as caught:
        draw("helios", HEIGHT, WIDTH, generator())
    assert str(caught.value) == "recipe must be one of released, paper, light; got 'helios'."


# --- application


def test_identity_is_bit_for_bit(clip):
    # Values that are not 8-bit ones, so that any rounding on the way would be seen.
    frames = torch.rand(2, HEIGHT, WIDTH, 3, generator=generator(4))
    result = apply(Perturbation(), frames)
    assert torch.equal(result, frames)
    assert result.data_ptr() != frames.data_ptr()


def test_every_frame_gets_the_same(released, paper, light, clip):
    for perturbation in (*released[:10], *paper[:10], *light[:10]):
        whole = apply(perturbation, clip)
        alone = torch.cat([apply(perturbation, frame[None]) for frame in clip])
        assert torch.equal(whole, alone)
        still = apply(perturbation, clip[:1].expand(3, -1, -1, -1))
        assert torch.equal(still[0], still[2])


def test_results_are_frames_and_the_input_is_left_alone(released, paper, light, clip):
    before = clip.clone()
    channels_first = clip.movedim(-1, 1).contiguous().movedim(1, -1)
    for perturbation in (*released[:20], *paper[:20], *light[:20]):
        result = apply(perturbation, clip)
        assert (result.shape, result.dtype) == (clip.shape, torch.float32)
        assert result.min() >= 0 and result.max() <= 1
        assert torch.equal(result, clip) == (perturbation == Perturbation())
        assert torch.equal(apply(perturbation, channels_first), result)
    assert torch.equal(clip, before)


def test_saturation_and_brightness_by_hand():
    # Grey of (0.6, 0.4, 0.2): 0.299 * 0.6 + 0.587 * 0.4 + 0.114 * 0.2 = 0.437
    frame = torch.tensor([0.6, 0.4, 0.2]).expand(1, 16, 16, 3)
    doubled = apply(Perturbation(saturation=2.0), frame)[0, 5, 5]
    torch.testing.assert_close(doubled, torch.tensor([0.763, 0.363, 0.0]), rtol=0, atol=1e-6)
    darker = apply(Perturbation(brightness=0.8), frame)[0, 5, 5]
    torch.testing.assert_close(darker, torch.tensor([0.48, 0.32, 0.16]), rtol=0, atol=1e-6)
    assert apply(Perturbation(brightness=2.0), frame).max() == 1


def test_gains_and_contrast_by_hand():
    frame = torch.tensor([0.5, 0.9, 0.25]).expand(1, 16, 16, 3)
    warmer = apply(Perturbation(gains=(1.2, 1.2, 0.8)), frame)[0, 5, 5]
    torch.testing.assert_close(warmer, torch.tensor([0.6, 1.0, 0.2]), rtol=0, atol=1e-6)
    harder = apply(Perturbation(contrast=1.5), frame)[0, 5, 5]
    torch.testing.assert_close(harder, torch.tensor([0.5, 1.0, 0.125]), rtol=0, atol=1e-6)


def test_colour_shift_by_hand():
    frame = torch.tensor([0.95, 0.5, 0.05]).expand(1, 16, 16, 3)
    result = apply(Perturbation(colour_shift=(0.1, 0.0, -0.1)), frame)[0, 5, 5]
    torch.testing.assert_close(result, torch.tensor([1.0, 0.5, 0.0]), rtol=0, atol=1e-6)


def test_sharpness_scales_what_a_blur_takes_away(clip):
    frame = 0.3 + 0.4 * clip[:1]  # far from 0 and 1, where clipping would be seen
    blurred = apply(Perturbation(sharpness=0.0), frame)
    expected = torch.from_numpy(cv2.GaussianBlur(frame[0].numpy(), (7, 7), 1.0))
    torch.testing.assert_close(blurred[0], expected, rtol=0, atol=1e-3)
    sharp = apply(Perturbation(sharpness=1.5), frame)
    torch.testing.assert_close(sharp - frame, 0.5 * (frame - blurred), rtol=0, atol=1e-6)


def test_clahe_spreads_lightness_and_keeps_hue(clip):
    perturbation = Perturbation(clahe=Clahe(clip_limit=8.0, grid=4))
    dull = (0.4 + 0.2 * clip).contiguous()
    result = apply(perturbation, dull)
    lab = [cv2.cvtColor(frames[0].numpy(), cv2.COLOR_RGB2LAB) for frames in (dull, result)]
    assert lab[1][..., 0].std() > 1.5 * lab[0][..., 0].std()
    # Hue, where it does not run out of the RGB cube: within what 8 bits can hold.
    assert np.median(np.abs(lab[1][..., 1:] - lab[0][..., 1:])) < 1.5


def test_clahe_is_that_of_the_8_bit_frames(clip):
    # As the authors have it, on L of 8-bit Lab; the fixture's values are exact 8-bit ones.
    lightness, a, b = cv2.split(cv2.cvtColor((clip[0] * 255).round().byte().numpy(), cv2.COLOR_RGB2LAB))
    lightness = cv2.createCLAHE(clipLimit=12.5, tileGridSize=(5, 5)).apply(lightness)
    expected = torch.from_numpy(cv2.cvtColor(cv2.merge([lightness, a, b]), cv2.COLOR_LAB2RGB)) / 255
    assert torch.equal(apply(Perturbation(clahe=Clahe(12.5, 5)), clip)[0], expected)


def test_clahe_of_one_tile_without_limit_is_histogram_equalisation():
    # A ramp of greys 100..163, each as often: equalised, it fills 0..255.
    ramp = (torch.arange(64.0) + 100).repeat(64, 1)[None, ..., None].expand(1, 64, 64, 3) / 255
    result = apply(Perturbation(clahe=Clahe(clip_limit=1000.0, grid=1)), ramp)[0, :, :, 0]
    assert (result.diff(dim=1) >= 0).all()
    assert result.min() < 0.03 and result.max() == 1
    assert torch.equal(result[0], result[63])


def test_erased_patch_is_its_mean_when_reduced_to_a_point(clip):
    patch = ErasedPatch(top=5, left=9, height=12, width=10, reduction=16)
    result = apply(Perturbation(erased=(patch,)), clip)
    inside = np.s_[:, 5:17, 9:19]
    mean = clip[inside].mean(dim=(1, 2), keepdim=True).expand(-1, 12, 10, -1)
    torch.testing.assert_close(result[inside], mean, rtol=0, atol=1e-6)
    outside = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    outside[5:17, 9:19] = False
    assert torch.equal(result[:, outside], clip[:, outside])


def test_erased_patch_is_area_reduced_and_bilinearly_enlarged(clip):
    patch = ErasedPatch(top=0, left=0, height=32, width=48, reduction=8)
    result = apply(Perturbation(erased=(patch,)), clip)[:, :32, :48].movedim(-1, 1)
    inside = clip[:, :32, :48].movedim(-1, 1)
    reduced = torch.nn.functional.interpolate(inside, (4, 6), mode="area")
    expected = torch.nn.functional.interpolate(reduced, (32, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_operators_follow_each_other_in_their_order(released, clip):
    perturbation = Perturbation(
        clahe=Clahe(5.0, 3),
        gains=(1.1, 1.0, 0.9),
        colour_shift=(0.05, -0.02, 0.01),
        contrast=1.2,
        sharpness=1.7,
        saturation=1.4,
        brightness=0.9,
        erased=(ErasedPatch(2, 3, 10, 12, 9), ErasedPatch(6, 8, 14, 9, 30)),
    )
    step = clip
    for name, value in vars(perturbation).items():
        step = apply(Perturbation(**{name: value}), step)
    assert torch.equal(apply(perturbation, clip), step)
    # Erased patches may overlap: the later one erases what the earlier one left.
    one_by_one = clip
    for patch in perturbation.erased:
        one_by_one = apply(Perturbation(erased=(patch,)), one_by_one)
    assert torch.equal(apply(Perturbation(erased=perturbation.erased), clip), one_by_one)
