"""Metrics of single frames, against their formulas and against other libraries."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from everanimate_core.evaluation.frame_metrics import (
    colour_cast,
    colour_curves,
    laplacian,
    psnr,
    region_psnr,
    sharpness,
    sharpness_ratio,
    ssim,
    steps,
    to_lab,
)

XYZ = torch.tensor([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
D65 = torch.tensor([0.95047, 1.0, 1.08883])


@pytest.fixture
def pair(noise):
    """A video and a noisy copy of it."""
    truth = noise(3)
    noisy = truth + torch.tensor([0.01, 0.05, 0.2]).view(3, 1, 1, 1) * (noise(3, 1) - 0.5)
    return noisy.clamp(0, 1), truth


def test_psnr_is_its_formula_and_scikit_images(pair):
    frames, truth = pair
    errors = ((frames - truth) ** 2).mean(dim=(1, 2, 3))
    assert torch.allclose(psnr(frames, truth), -10 * errors.log10(), atol=1e-4)
    theirs = [peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1) for a, b in zip(frames, truth, strict=True)]
    assert psnr(frames, truth).tolist() == pytest.approx(theirs, abs=1e-4)


def test_psnr_of_equal_frames_is_infinite(noise):
    assert psnr(noise(2), noise(2)).tolist() == [torch.inf] * 2


def test_ssim_is_scikit_images_with_wangs_window(pair):
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    theirs = [
        structural_similarity(a.double().numpy(), b.double().numpy(), channel_axis=-1, **settings)
        for a, b in zip(*pair, strict=True)
    ]
    assert ssim(*pair).tolist() == pytest.approx(theirs, abs=1e-4)
    assert ssim(pair[1], pair[1]).tolist() == pytest.approx([1] * 3)
    assert ssim(pair[0][:1], pair[1][:1]).shape == (1,)


def test_region_psnr_sees_its_box_alone(pair):
    frames, truth = pair
    boxes = [(3, 5, 20, 30), None, (0, 0, 56, 40)]
    found = region_psnr(frames, truth, boxes)
    assert found[0] == psnr(frames[:1, 5:30, 3:20], truth[:1, 5:30, 3:20])
    assert found[1].isnan()
    assert found[2] == psnr(frames, truth)[2]
    frames = frames.clone()
    frames[0, :5] = 0
    frames[0, :, 20:] = 0
    assert region_psnr(frames, truth, boxes)[0] == found[0]


def test_lab_is_its_formula(noise):
    pictures = noise(1).double()
    linear = torch.where(pictures > 0.04045, ((pictures + 0.055) / 1.055) ** 2.4, pictures / 12.92)
    xyz = linear @ XYZ.double().T / D65
    f = torch.where(xyz > 0.008856, xyz ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(-1)
    expected = torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)
    assert torch.allclose(to_lab(pictures.float()).double(), expected, atol=1e-3)


def test_colour_curves(noise):
    lab = to_lab(noise(3))
    curves = colour_curves(lab)
    assert list(curves) == ["lightness", "a", "b", "contrast", "saturation"]
    for channel, name in enumerate(("lightness", "a", "b")):
        assert torch.allclose(curves[name], torch.stack([frame[..., channel].mean() for frame in lab]), atol=1e-4)
    assert curves["contrast"].numpy() == pytest.approx(np.std(lab[..., 0].numpy(), axis=(1, 2)), abs=1e-4)
    chroma = np.hypot(lab[..., 1].numpy(), lab[..., 2].numpy())
    assert curves["saturation"].numpy() == pytest.approx(chroma.mean(axis=(1, 2)), abs=1e-4)


def test_colour_cast_is_what_most_of_the_picture_shares(noise):
    lab = to_lab(noise(2))
    shifted = lab + torch.tensor([3.0, -4.0, 12.0])
    shifted[:, :15] = 0
    assert colour_cast(shifted, lab).tolist() == pytest.approx([13, 13], abs=1e-4)
    # One picture to compare with will do for all.
    assert colour_cast(lab, lab[:1])[0] == 0
    other = lab.clone()
    other[:, :15] += 50
    assert colour_cast(other, lab).tolist() == [0, 0]


def test_sharpness_is_the_variance_of_the_laplacian(noise):
    pictures = noise(2)
    luma = pictures @ torch.tensor([0.299, 0.587, 0.114])
    # The border is mirrored without repeating the outermost pixel.
    p = torch.nn.functional.pad(luma[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]
    expected = p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:] - 4 * p[:, 1:-1, 1:-1]
    assert torch.allclose(laplacian(pictures), expected, atol=1e-5)
    assert torch.allclose(sharpness(laplacian(pictures)), expected.var(dim=(1, 2), correction=0), atol=1e-5)


def test_sharpness_ratio(noise):
    edges = laplacian(noise(2, height=64, width=64))
    assert sharpness_ratio(edges, edges).tolist() == [1, 1]
    assert sharpness_ratio(edges * 0.5, edges).tolist() == pytest.approx([0.25] * 2, abs=2e-3)
    # Less than half of the tiles.
    moved = edges.clone()
    moved[:, :24] *= 3
    assert sharpness_ratio(moved, edges).tolist() == [1, 1]
    # Without texture, rounding alone is no difference.
    assert sharpness_ratio(torch.zeros(1, 64, 64), torch.full((1, 64, 64), 1e-5)).item() == pytest.approx(1, abs=1e-3)


def test_steps(noise):
    pictures = noise(4)
    found = steps(pictures[1:], pictures[0])
    expected = [(pictures[i] - pictures[i - 1]).abs().mean() for i in range(1, 4)]
    assert torch.allclose(found, torch.stack(expected))
