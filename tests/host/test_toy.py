"""The embedded toy inside the host: its stock network and VAE object against the core's own."""

import json
from pathlib import Path

import av
import pytest
import torch
from safetensors.torch import load_file

from everanimate_core import cli
from everanimate_core.toy.vae import ToyCodec, load_vae
from everanimate_core.toy.world import World

FRAMES = 62
WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "api" / "toy_world.json"


@pytest.fixture(scope="module")
def toy(comfy):
    return dict(
        zip(
            ("model", "vae", "positive", "negative", "reference", "pose", "truth"),
            comfy.call("EverAnimateLoadToy", seed=3, frames=FRAMES),
            strict=True,
        )
    )


def test_the_world_comes_along(toy):
    world = World(3)
    assert torch.equal(toy["reference"], world.reference()[None])
    assert torch.equal(toy["pose"], world.pose(range(FRAMES)))
    assert torch.equal(toy["truth"], world.frames(range(FRAMES)))


def test_the_host_vae_is_the_toy_vae(toy):
    vae, codec = toy["vae"], ToyCodec(load_vae())
    frames = toy["truth"][:33]
    raw = vae.encode(frames)
    assert torch.allclose(raw, load_vae().encode(frames.movedim(-1, 0)[None] * 2 - 1), atol=1e-5)
    assert torch.allclose(vae.decode(raw)[0], codec.decode(codec.encode(frames)), atol=1e-5)


def test_tiled_decoding_covers_the_picture(toy):
    raw = toy["vae"].encode(toy["truth"][:33])
    tiled = toy["vae"].decode_tiled(raw, tile_x=8, tile_y=8, overlap=2, tile_t=raw.shape[2])
    assert torch.allclose(tiled, toy["vae"].decode(raw), atol=1e-5)


@pytest.fixture(scope="module")
def shipped_run(server):
    """The shipped graph as it is, but for its length."""
    prompt = json.loads(WORKFLOW.read_text())
    prompt["1"]["inputs"]["frames"] = FRAMES
    return server.run(prompt)


def test_the_shipped_graph_shows_pose_animation_and_truth(server, shipped_run):
    saved = shipped_run.outputs["8"]["images"][0]
    with av.open(str(server.output / saved["subfolder"] / saved["filename"])) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (768, 256, 25)
        assert sum(1 for _ in container.decode(stream)) == FRAMES


def test_its_latents_are_those_of_the_command_line(server, shipped_run, tmp_path):
    with torch.inference_mode(False):
        assert cli.main(["demo", "--out", str(tmp_path), "--seconds", str(FRAMES / 25), "--seed", "0"]) == 0
    for index in range(2):
        ours, theirs = (
            load_file(folder / f"chunk_{index:04d}.safetensors")["latents"]
            for folder in (tmp_path / "animation.run", server.output / "everanimate" / "toy_world")
        )
        assert (ours - theirs).norm() / theirs.norm() < 1e-3
