"""What holds for the latents of every method: sizes, what is refused, ends, statistics, drift, previews."""

import numpy as np
import pytest
import torch
from refusals import refusal

from everanimate_core.latents import (
    channel_drift,
    channel_statistics,
    check_frames,
    check_latents,
    check_size,
    preview_map,
    with_end,
)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (832, 480), (480, 832), (1280, 720)])
def test_sizes_in_patches_of_16_pixels(width, height):
    check_size(width, height)


@pytest.mark.parametrize(
    ("width", "height", "wrong"),
    [
        (0, 480, "width must be a multiple of 16 (832); got 0."),
        (832, 0, "height must be a multiple of 16 (480); got 0."),
        (-16, 480, "width must be a multiple of 16 (832); got -16."),
        (832, -16, "height must be a multiple of 16 (480); got -16."),
        (840, 480, "width must be a multiple of 16 (832); got 840."),
        (832, 472, "height must be a multiple of 16 (480); got 472."),
        (8, 16, "width must be a multiple of 16 (832); got 8."),
        (30, 30, "width must be a multiple of 16 (832); got 30."),
    ],
)
def test_other_sizes_are_refused_by_the_name_of_the_side(width, height, wrong):
    assert refusal(check_size, width, height) == wrong


def test_latents_of_the_right_shape_pass(latents):
    check_latents(latents(3), (1, 16, 3, 2, 4), 0)


def with_bad_numbers(latents):
    latents[0, 3, 0, 0, 1], latents[0, 5, 2, 1, 0] = float("nan"), float("-inf")
    return latents


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda chunk: None, "a chunk's latents must be a float32 tensor; got NoneType for chunk 2."),
        (lambda chunk: chunk.half(), "a chunk's latents must be a float32 tensor; got torch.float16 for chunk 2."),
        (
            lambda chunk: chunk[:, :, 1:],
            "a chunk's latents must be of shape [1, 16, 3, 2, 4] (one video, channels, frames, height, width; what "
            "stands in front of the chunk is cut); got [1, 16, 2, 2, 4] for chunk 2.",
        ),
        (
            with_bad_numbers,
            "a chunk's latents must be finite numbers (sample with the model in bf16 or fp32 instead of fp16, without "
            "fast modes, with a lower cfg, or with another sampler or other sigmas); got 2 of 384 values that are NaN "
            "or infinite in chunk 2.",
        ),
    ],
)
def test_other_latents_are_refused(latents, change, message):
    assert refusal(check_latents, change(latents(3)), (1, 16, 3, 2, 4), 2) == message


def test_frames_that_are_no_numbers_are_refused(pictures):
    frames = pictures(9)
    check_frames(frames, 1)
    frames[4, 3, 2, 1] = float("inf")
    assert refusal(check_frames, frames, 1) == (
        "the decoded frames of chunk 1 must be finite numbers (decode with the VAE in bf16 or fp32 instead of fp16); "
        "got NaN or infinity."
    )


def test_channel_statistics_by_hand():
    latents = torch.zeros(1, 16, 1, 1, 4)
    latents[0, 0] = torch.tensor([1.0, 3.0, 1.0, 3.0])  # mean 2, deviation 1 (of the population)
    latents[0, 5] = 7
    statistics = channel_statistics(latents)
    assert statistics.shape == (2, 16)
    assert statistics[:, 0].tolist() == [2, 1]
    assert statistics[:, 5].tolist() == [7, 0]
    assert statistics[:, 1].tolist() == [0, 0]


def test_channel_statistics_against_numpy(latents):
    chunk = latents(5) * torch.arange(1, 17).view(1, -1, 1, 1, 1) + 3
    values = chunk[0].double().numpy().reshape(16, -1)
    expected = np.stack([values.mean(axis=1), values.std(axis=1)])
    np.testing.assert_allclose(channel_statistics(chunk).numpy(), expected, rtol=1e-5)


def test_channel_drift_by_hand():
    # Each channel is -1 or 1 (mean 0) times its number (its spread).
    signs = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 1, 1, 1, 4)
    spread = torch.arange(1.0, 17.0).view(1, -1, 1, 1, 1)
    chunk = signs * spread
    statistics = channel_statistics(chunk)
    assert channel_drift(chunk, statistics) == 0
    assert channel_drift(3 * chunk, statistics) == 0  # means alone count
    assert channel_drift(chunk - 2 * spread, statistics) == pytest.approx(2)
    # Root of the mean square: one channel of 16 that is 8 spreads off counts sqrt(64 / 16).
    chunk[:, 4] += 8 * 5
    assert channel_drift(chunk, statistics) == pytest.approx(2)


# --- previews --------------------------------------------------------------------------------------------------------


def test_a_preview_map_is_found_again():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(16, 6, 8, generator=generator)
    factors, bias = torch.randn(16, 3, generator=generator) / 40, torch.tensor([0.1, -0.2, 0.3])
    colours = torch.einsum("chw,cr->hwr", latents, factors) + bias
    # Each cell is a square of eight pixels, with a pattern in it that has mean zero.
    picture = (colours / 2 + 0.5).repeat_interleave(8, 0).repeat_interleave(8, 1)
    picture += 0.02 * torch.tensor([1.0, -1.0]).repeat(32)[None, :, None]
    found = preview_map(latents, picture)
    torch.testing.assert_close(found[0], factors, rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1], bias, rtol=0, atol=1e-5)


def test_a_plain_picture_has_a_preview_map():
    factors, bias = preview_map(torch.ones(16, 2, 2), torch.full((16, 16, 3), 0.75))
    torch.testing.assert_close(factors.sum(dim=0) + bias, torch.full((3,), 0.5))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_end_takes_the_last_places(count):
    latents, end = torch.arange(3.0).view(1, 1, 3, 1, 1), torch.arange(10.0, 10 + count).view(1, 1, -1, 1, 1)
    assert with_end(latents, end).flatten().tolist() == [0, 1, 2][: 3 - count] + [10, 11, 12][:count]
    assert latents.flatten().tolist() == [0, 1, 2]
