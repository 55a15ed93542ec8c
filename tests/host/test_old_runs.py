"""A run folder that Animate Long Video of 0.1.0 left goes on, with nothing that it made sampled again."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from base_folder import PACK
from exact_parts import exact_pictures
from graphs import aligned, network_inputs
from kept import latents_of
from safetensors.torch import load_file
from test_animate import animate

OLD = Path(__file__).resolve().parents[1] / "data" / "old_runs" / "host"
CHUNKS, FRAMES = 3, 19


@pytest.fixture
def old_run(comfy):
    """The folder, under a name of its own in the host's output folder; the name."""
    output, name = comfy.base / "output" / "everanimate", "dance"
    output.mkdir(exist_ok=True)
    shutil.copytree(OLD / "dance", output / name)
    shutil.copy(OLD / "dance.mp4", output / f"{name}.mp4")
    yield name
    shutil.rmtree(output / name)
    for video in output.glob(f"{name}*.mp4"):
        video.unlink()


def made_by_0_1_0(comfy, name):
    """The latents in the files that it wrote."""
    folder = comfy.base / "output" / "everanimate" / name
    return [load_file(path)["latents"] for path in sorted(folder.glob("chunk_*.safetensors"))]


def go_on(comfy, name, model=None, **changes):
    """The node with the inputs of tests/data/old_runs/make_host.py; the report."""
    from exact_vae import ExactVae

    text = comfy.conditioning()
    inputs = {
        "vae": ExactVae(),
        "positive": text,
        "negative": text,
        "reference_images": exact_pictures(1, 64, 64),
        "pose_video": exact_pictures(FRAMES, 64, 64, seed=1),
        "steps": 2,
        "chunk_frames": 9,
        "overlap": 4,
    }
    return json.loads(animate(comfy, name, aligned(comfy) if model is None else model, **(inputs | changes))[3])


def test_what_0_1_0_knew_the_run_by_is_still_known(comfy):
    from comfy import samplers

    old = comfy.module(PACK, "nodes.fingerprint_0_1_0")
    sigmas = comfy.call("EverAnimateSigmas", steps=2)[0]
    text = comfy.conditioning()
    made_with = aligned(comfy), samplers.sampler_object("euler"), sigmas, 1.0, text, comfy.clip_vision()
    known = old.earlier(*made_with, False, [text])
    manifest = json.loads((OLD / "dance" / "manifest.json").read_text(encoding="utf-8"))
    settings, prompts = known.pop(manifest["format"])
    assert known == {}
    assert settings.items() <= manifest["run"]["settings"].items()
    assert len(prompts) == 1


def test_with_a_sampler_that_has_no_name_0_1_0_knew_no_run(comfy):
    from comfy import samplers
    from comfy.k_diffusion import sampling

    sampler = samplers.KSAMPLER(partial(sampling.sample_euler, s_churn=0.0))
    sigmas, text = comfy.call("EverAnimateSigmas", steps=2)[0], comfy.conditioning()
    old = comfy.module(PACK, "nodes.fingerprint_0_1_0")
    assert old.earlier(aligned(comfy), sampler, sigmas, 1.0, text, None, False, [text]) == {}


def test_all_chunks_are_kept(comfy, old_run):
    before, model = made_by_0_1_0(comfy, old_run), aligned(comfy)
    with network_inputs(model.model.diffusion_model) as calls:
        report = go_on(comfy, old_run, model)
    assert not calls
    assert [chunk["noise_seed"] for chunk in report["chunks"]] == [0, 42, 84]
    assert report["take"] == 1
    folder = comfy.base / "output" / "everanimate" / old_run
    assert all(torch.equal(*pair) for pair in zip(before, latents_of(folder), strict=True))
    # It keeps what it left where it left it.
    assert files_of(folder) >= files_of(OLD / "dance")
    assert folder.with_name("dance.mp4").read_bytes() == (OLD / "dance.mp4").read_bytes()


def files_of(folder):
    return {(path.name, path.read_bytes()) for path in folder.iterdir() if path.is_file()}


def test_a_longer_animation_goes_on_from_it(comfy, old_run):
    before, model = made_by_0_1_0(comfy, old_run), aligned(comfy)
    with network_inputs(model.model.diffusion_model) as calls:
        report = go_on(comfy, old_run, model, total_frames=FRAMES + 5)
    assert len(calls) == 2  # two steps of one chunk
    assert (len(report["chunks"]), report["take"]) == (CHUNKS + 1, 1)
    folder = comfy.base / "output" / "everanimate" / old_run
    kept = latents_of(folder)
    assert all(torch.equal(*pair) for pair in zip(before, kept[:CHUNKS], strict=True))
    # What is new is what the same run would have made in one go.
    go_on(comfy, "whole", total_frames=FRAMES + 5)
    torch.testing.assert_close(kept[3], latents_of(folder.with_name("whole"))[3], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changed", ["steps", "positive"])
def test_other_inputs_open_a_take_beside_it(comfy, old_run, changed, caplog):
    change = {"steps": 3, "positive": comfy.conditioning(1)}
    report = go_on(comfy, old_run, **{changed: change[changed]})
    assert report["take"] == 2
    assert "EverAnimate: take 2 is opened: " in caplog.text
    folder = comfy.base / "output" / "everanimate" / old_run
    assert files_of(folder) >= files_of(OLD / "dance")
