"""The embedded toy inside the host: its stock network and VAE object against the core's own."""

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from base_folder import PACK
from kept import latents_of
from torch.nn.functional import avg_pool2d

from everanimate_core.evaluation.frame_metrics import psnr
from everanimate_core.studies.rows import ROWS
from everanimate_core.toy.network.engine import load_toy, roll_out
from everanimate_core.toy.network.state import TOYS, read_state
from everanimate_core.toy.network.vae import ToyCodec, load_vae
from everanimate_core.toy.world.scene import LIGHTS, Scene
from everanimate_core.toy.world.world import World

FRAMES = 62
WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows" / "api"
# Of the graph of blocks: three chunks of 33 that share 4. Of the graph of drift: four; those of the chain as it is.
BLOCKS_FRAMES, DRIFT_FRAMES = 91, 120
DRIFT_CHUNKS = ("12", "22", "32", "42")


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


@pytest.mark.parametrize("light", LIGHTS)
def test_the_world_comes_in_the_light_that_is_asked_for(comfy, light):
    world = World(3, scene=Scene(light=light))
    *_, reference, pose, truth = comfy.call("EverAnimateLoadToy", seed=3, frames=9, light=light)
    assert torch.equal(reference, world.reference()[None]) and torch.equal(truth, world.frames(range(9)))
    assert torch.equal(pose, World(3).pose(range(9)))


@pytest.mark.parametrize("network", TOYS)
def test_the_network_is_the_one_that_is_asked_for(comfy, network):
    loaded = comfy.call("EverAnimateLoadToy", seed=0, frames=1, network=network)[0].model.diffusion_model.state_dict()
    for name, value in read_state(TOYS[network]).items():
        assert torch.equal(loaded[name], value)


@pytest.mark.parametrize("method", ["Latent2RGB", "TAESD"])
def test_previews_are_in_the_colours_of_the_world(toy, method):
    from comfy.cli_args import LatentPreviewMethod, args
    from comfy.latent_formats import Wan21
    from latent_preview import Latent2RGBPreviewer, get_previewer

    def off(previewer):
        """How far each colour of the first frame's preview is from that of the picture, as a share of white."""
        seen = torch.from_numpy(np.array(previewer.decode_latent_to_preview(latents))).float() / 255
        return (seen - small).abs()

    small = avg_pool2d(toy["truth"][:1].movedim(-1, 1), 8)[0].movedim(0, -1)
    latents = toy["model"].model.latent_format.process_in(toy["vae"].encode(toy["truth"][:1]))
    kept, args.preview_method = args.preview_method, LatentPreviewMethod[method]
    try:
        own = off(get_previewer(toy["model"].load_device, toy["model"].model.latent_format))
    finally:
        args.preview_method = kept
    wan = off(Latent2RGBPreviewer(Wan21().latent_rgb_factors, Wan21().latent_rgb_factors_bias))
    # The host rounds down to 255 levels.
    assert own.max() < 0.05 and own.mean() < 0.01 < 20 * own.mean() < wan.mean()
    # Wan's own networks keep theirs.
    assert Wan21.latent_rgb_factors == Wan21().latent_rgb_factors != toy["model"].model.latent_format.latent_rgb_factors


def test_the_host_vae_is_the_toy_vae(toy):
    vae, codec = toy["vae"], ToyCodec(load_vae())
    frames = toy["truth"][:33]
    raw = vae.encode(frames)
    assert torch.allclose(raw, load_vae().encode(frames.movedim(-1, 0)[None] * 2 - 1), atol=1e-5)
    assert torch.allclose(vae.decode(raw)[0], codec.decode(codec.encode(frames)), atol=1e-5)


def test_a_clip_is_given_as_much_memory_to_decode_as_to_encode(toy):
    vae, pixels = toy["vae"], (1, 3, 33, 64, 64)
    latents = vae.encode(toy["truth"][:33])
    needed = vae.memory_used_decode(latents.shape, vae.vae_dtype)
    assert needed == vae.memory_used_encode(pixels, vae.vae_dtype)
    # More than the clip itself in float32.
    assert needed > 4 * 3 * 33 * 64 * 64


def test_tiled_decoding_covers_the_picture(toy):
    raw = toy["vae"].encode(toy["truth"][:33])
    tiled = toy["vae"].decode_tiled(raw, tile_x=8, tile_y=8, overlap=2, tile_t=raw.shape[2])
    assert torch.allclose(tiled, toy["vae"].decode(raw), atol=1e-5)


@pytest.fixture(scope="module")
def shipped_run(server):
    """The shipped graph as it is, but for its length."""
    prompt = json.loads((WORKFLOWS / "toy_world.json").read_text())
    prompt["1"]["inputs"]["frames"] = FRAMES
    return server.run(prompt)


def read_back(server, saved):
    """Frames, width, height and fps of a video that Save Video wrote."""
    with av.open(str(server.output / saved["subfolder"] / saved["filename"])) as container:
        stream = container.streams.video[0]
        return sum(1 for _ in container.decode(stream)), stream.width, stream.height, stream.average_rate


def test_the_shipped_graph_shows_pose_animation_and_truth(server, shipped_run):
    assert read_back(server, shipped_run.outputs["8"]["images"][0]) == (FRAMES, 768, 256, 25)


@pytest.mark.usefixtures("shipped_run")
def test_its_latents_are_those_of_the_core(server):
    with torch.inference_mode(False):
        chunks = list(roll_out(load_toy(), World(0), FRAMES))
    kept = latents_of(server.output / "everanimate" / "toy_world")
    assert len(chunks) == 2
    for made, theirs in zip(chunks, kept, strict=True):
        assert (made.latents - theirs).norm() / theirs.norm() < 1e-3


@pytest.fixture(scope="module")
def blocks_run(server):
    """The graph of blocks as it is, with the latents of each chunk written out."""
    prompt = json.loads((WORKFLOWS / "toy_blocks.json").read_text())
    handed = [node_id for node_id, node in prompt.items() if node["class_type"] == "EverAnimatePropagate"]
    for index, node_id in enumerate(handed):
        inputs = {"samples": [node_id, 2], "name": f"toy_blocks_{index}"}
        prompt[f"dump{index}"] = {"class_type": "TestDumpLatent", "inputs": inputs}
    return server.run(prompt)


def test_the_blocks_show_pose_animation_and_truth(server, blocks_run):
    assert read_back(server, blocks_run.outputs["54"]["images"][0]) == (BLOCKS_FRAMES, 768, 256, 25)


@pytest.mark.usefixtures("blocks_run")
def test_the_blocks_give_the_latents_of_one_node_that_restores(comfy, server):
    """Memory from latents, any SAMPLER and KSampler, restored around and in front: all as in Animate Long Video."""
    shipped = json.loads((WORKFLOWS / "toy_world.json").read_text())
    prompt = {node_id: shipped[node_id] for node_id in ("1", "2")}
    prompt["1"]["inputs"]["frames"] = BLOCKS_FRAMES
    prompt["views"] = {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 4], "amount": 4}}
    prompt["2"]["inputs"] |= {"reference_images": ["views", 0], "restore_strength": 1.0, "run_name": "as_blocks"}
    server.run(prompt)
    to_raw = comfy.module(PACK, "nodes.host").to_raw
    kept = latents_of(server.output / "everanimate" / "as_blocks")
    assert len(kept) == 3
    for index, latents in enumerate(kept):
        assert torch.equal(server.latent(f"toy_blocks_{index}"), to_raw(latents))


def run_drift(server, label, **changes):
    """The latents of each chunk of the graph of drift, {node id: latents}, and the run. changes: inputs of its tint."""
    prompt = json.loads((WORKFLOWS / "toy_drift.json").read_text())
    (blend,) = (node for node in prompt.values() if node["class_type"] == "ImageBlend")
    blend["inputs"] |= changes
    handed = [node_id for node_id, node in prompt.items() if node["class_type"] == "EverAnimatePropagate"]
    for node_id in handed:
        inputs = {"samples": [node_id, 2], "name": f"{label}_{node_id}"}
        prompt[f"dump{node_id}"] = {"class_type": "TestDumpLatent", "inputs": inputs}
    run = server.run(prompt)
    return {node_id: server.latent(f"{label}_{node_id}") for node_id in handed}, run


def test_without_the_tint_the_chain_is_the_drifting_row_of_the_ablation(comfy, server):
    """The host's own conditioning of chunk after chunk, against the core's."""
    latents, _ = run_drift(server, "plain", blend_factor=0.0)
    row = ROWS["baseline"]
    settings = replace(row.settings, seed=0)
    to_raw = comfy.module(PACK, "nodes.host").to_raw
    with torch.inference_mode(False):
        chunks = list(roll_out(row.load(None), World(0), DRIFT_FRAMES, settings, row.policy))
    for node_id, made in zip(DRIFT_CHUNKS, chunks, strict=True):
        theirs, ours = latents[node_id], to_raw(made.latents)
        assert (ours - theirs).norm() / theirs.norm() < 1e-3


def test_restoration_takes_the_tint_out_of_the_chain(server, toy):
    latents, run = run_drift(server, "tinted")
    assert read_back(server, run.outputs["105"]["images"][0]) == (DRIFT_FRAMES, 1024, 256, 25)
    truth = World(0).frames(range(DRIFT_FRAMES))

    def last_chunk(node_id):
        return float(psnr(toy["vae"].decode(latents[node_id])[0][4:], truth[-29:]).mean())

    assert last_chunk(DRIFT_CHUNKS[-1]) + 2 < last_chunk("82")
