"""The plot shows what the report says."""

from math import isnan

import pytest
import torch
from matplotlib import pyplot
from matplotlib.colors import same_color

from everanimate_core.evaluation.evaluate import evaluate
from everanimate_core.evaluation.plot import FLASH, JOIN, SEAM, TRUTH, plot, save_plot, to_image
from everanimate_core.media.frames import TensorFrames
from everanimate_core.media.reader import VideoFrames
from everanimate_core.toy.world.world import World


@pytest.fixture(scope="module")
def report(noise):
    """Two joins, the second one visible; a flash; a cast from frame 20 on."""
    truth = noise(1) + torch.linspace(0, 0.05, 48).view(-1, 1, 1, 1)
    video = truth.clone()
    video[20:] += torch.tensor([0.1, 0, -0.1])
    video[10] += 0.2
    return evaluate(TensorFrames(video.clamp(0, 1)), TensorFrames(truth.clamp(0, 1)), truth[0].clamp(0, 1), [15, 20])


def lines(axes, colour):
    return [line for line in axes.get_lines() if same_color(line.get_color(), colour)]


def test_curves(report):
    panels = {axes.get_ylabel(): axes for axes in plot(report).axes}
    # Without weights there is no LPIPS, without boxes no face.
    assert list(panels) == [
        "PSNR (dB)",
        "SSIM, LPIPS",
        "colour cast (ΔE)",
        "sharpness ratio",
        "identity (ΔE)",
        "contrast (L)",
    ]
    shown = {line.get_label().split()[0]: line.get_ydata() for axes in panels.values() for line in axes.get_lines()}
    assert list(shown["colour_cast"]) == report.curves["colour_cast"]
    assert list(shown["identity"]) == report.curves["identity"]
    assert "lpips" not in shown
    (true,) = lines(panels["contrast (L)"], TRUTH)
    assert list(true.get_ydata()) == report.truth["contrast"]


def test_marks(report):
    assert (report.findings.flashes, report.findings.seams, report.findings.colour) == ([10], [20], 20)
    for axes in plot(report).axes:
        assert [line.get_xdata()[0] for line in lines(axes, JOIN)] == [15]
        assert [line.get_xdata()[0] for line in lines(axes, SEAM)] == [20]
        flashes = [line for line in lines(axes, FLASH) if line.get_marker() == "^"]
        assert [line.get_xdata()[0] for line in flashes] == [10]
        departed = [line.get_xdata()[0] for line in lines(axes, FLASH) if line.get_linestyle() == "--"]
        assert departed == ([20] if axes.get_ylabel().startswith("colour") else [])


def test_without_a_truth(noise):
    figure = plot(evaluate(TensorFrames(noise(3))))
    assert [axes.get_ylabel() for axes in figure.axes] == ["colour cast (ΔE)", "sharpness ratio", "contrast (L)"]
    assert to_image(figure).shape[0] == 1


def test_image_and_file_are_the_same_picture(report, tmp_path):
    image = to_image(plot(report))
    assert image.dtype == torch.float32
    assert image.shape[3] == 3
    assert 0 <= image.min() < 0.5 < image.max() <= 1
    save_plot(report, tmp_path / "plot.png")
    with VideoFrames(tmp_path / "plot.png") as file:
        assert torch.allclose(file.read([0]), image, atol=1e-6)


def test_equal_frames_are_gaps(noise):
    truth = noise(4)
    video = truth.clone()
    video[2] += 0.1
    figure = plot(evaluate(TensorFrames(video.clamp(0, 1)), TensorFrames(truth)))
    (curve,) = (line for line in figure.axes[0].get_lines() if line.get_label().startswith("psnr"))
    assert [isnan(value) for value in curve.get_ydata()] == [True, True, False, True]
    assert curve.get_label() == "psnr (none per 100 frames)"
    assert to_image(figure).shape[0] == 1
    everything_equal = plot(evaluate(TensorFrames(truth), TensorFrames(truth)))
    assert "psnr none" in everything_equal.get_suptitle()


def test_lost_steps_are_in_the_title():
    frames = World(1).frames(range(60))
    title = plot(evaluate(TensorFrames(frames[2:]), TensorFrames(frames[:-2]))).get_suptitle()
    assert title.endswith("\nthe video runs 2 frames ahead from its start on")


def test_frames_shown_again_are_in_the_title():
    frames = World(3).frames(range(60))
    chained = torch.cat([frames[:30], frames[25:]])
    title = plot(evaluate(TensorFrames(chained), joins=[30])).get_suptitle()
    assert title.endswith("\nthe last 5 frames are shown again at 30")


def test_no_global_state(report):
    to_image(plot(report))
    assert pyplot.get_fignums() == []
