"""Drift Report: the core's evaluation of what is on the wires."""

import json
import sys

import pytest
import torch
from base_folder import PACK
from graphs import plan

from everanimate_core.evaluation.evaluate import evaluate
from everanimate_core.media.frames import TensorFrames
from everanimate_core.toy.world.world import World

FRAMES = 24


@pytest.fixture(scope="module")
def clip():
    return World(1).frames(range(FRAMES))


def report(comfy, clip, **inputs):
    plot, text = comfy.call("EverAnimateDriftReport", **({"video": clip, "reference_images": clip[:1]} | inputs))
    assert plot.ndim == 4 and plot.shape[-1] == 3 and plot.std() > 0
    return json.loads(text)


def test_it_is_the_cores_evaluation(comfy, clip):
    tinted = (clip * torch.linspace(1, 0.4, FRAMES).view(-1, 1, 1, 1)).clamp(0, 1)
    found = report(comfy, tinted, truth=clip, plan=plan(comfy, total=FRAMES))
    joins = [9, 14, 19]
    expected = evaluate(TensorFrames(tinted), TensorFrames(clip), clip[0], joins)
    expected = json.loads(expected.to_json())
    # Least squares round by where a tensor lies in memory.
    assert found.pop("slopes") == pytest.approx(expected.pop("slopes"))
    assert found == expected
    assert found["joins"] == joins and found["findings"]["colour"] is not None


def test_without_truth_it_compares_with_the_first_frame(comfy, clip):
    found = report(comfy, clip)
    assert found["compared_with"] == "first frame" and "psnr" not in found["curves"] and found["joins"] == []


def test_it_compares_with_the_first_of_several_references(comfy, clip):
    first = report(comfy, clip)["curves"]["identity"]
    others = (1 - clip[:1], clip[5:6])
    assert report(comfy, clip, reference_images=torch.cat([clip[:1], *others]))["curves"]["identity"] == first
    assert report(comfy, clip, reference_images=torch.cat([*others, clip[:1]]))["curves"]["identity"] != first


def test_another_length_is_refused(comfy, clip):
    with pytest.raises(ValueError, match=r"^Drift Report: plan must be of the video's length \(24 frames\); got 30\.$"):
        report(comfy, clip, plan=plan(comfy, total=30))
    with pytest.raises(ValueError, match="true video must have as many frames"):
        report(comfy, clip, truth=clip[:20])
    with pytest.raises(ValueError, match=r"^Drift Report: video must have at least 1 frame; got 0\.$"):
        report(comfy, clip[:0])


def test_without_its_packages_it_says_what_to_install(comfy, clip, monkeypatch):
    evaluation = comfy.module(PACK, "everanimate_core.evaluation").__name__
    for name in [name for name in sys.modules if name == evaluation or name.startswith(f"{evaluation}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError) as missing:
        report(comfy, clip)
    assert str(missing.value).startswith(
        "Drift Report: evaluation needs scikit-image, torchmetrics and matplotlib (pip install 'everanimate[eval]', "
        "or pip install scikit-image torchmetrics matplotlib); got "
    )
